"""File systems of this machine, from /proc/self/mounts."""

import re
from pathlib import Path

_LOCAL = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "bcachefs", "tmpfs", "ramfs", "overlay", "apfs")
)
_SHARED = frozenset(
    ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "fhgfs", "ceph", "wekafs", "panfs", "pvfs2", "orangefs", "afs", "cifs",
     "smb3", "glusterfs", "9p", "virtiofs", "daos", "quobyte", "ocfs2", "gfs2")
)  # fmt: skip
_OCTAL = re.compile(r"\\([0-7]{3})")

UNKNOWN = "unknown"


def file_system_of(path: Path, mounts: str | None = None) -> str:
    """Return the type of the file system that contains `path`; `UNKNOWN` when no mount point matches.

    `mounts`: text in the form of /proc/self/mounts (`man 5 fstab`: space, tab, newline and backslash are octal
    escapes); None: read that file.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return UNKNOWN
    resolved = path.resolve()
    depth, file_system = -1, UNKNOWN
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        mount_point = Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), fields[1]))
        # Of two mounts on one mount point, the later one hides the earlier.
        if len(mount_point.parts) >= depth and resolved.is_relative_to(mount_point):
            depth, file_system = len(mount_point.parts), fields[2]
    return file_system


def is_local(file_system: str) -> bool:
    """Return whether one kernel alone manages file systems of this type; False for an unknown type."""
    return file_system in _LOCAL


def is_shared(file_system: str) -> bool:
    """Return whether several machines can mount file systems of this type; `fuse.` types count as their name."""
    return file_system.removeprefix("fuse.") in _SHARED

"""Whether a file lies on a file system where SQLite's write-ahead log is safe."""

import re
from pathlib import Path

_LOCAL = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "bcachefs", "tmpfs", "ramfs", "overlay", "apfs")
)
_OCTAL = re.compile(r"\\([0-7]{3})")


def locks_are_local(path: Path, mounts: str | None = None) -> bool:
    """True when `path` is on a file system that one kernel alone keeps.

    The write-ahead log shares memory between processes of one host, so on NFS, Lustre, GPFS and such two login nodes
    would corrupt it (https://www.sqlite.org/wal.html). A file system that is not known counts as shared.
    `mounts`: text in the form of /proc/self/mounts (`man 5 fstab`); None: that file.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return False
    resolved = path.resolve()
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), fields[1]))
        # Of two mounts on one point the later one hides the earlier.
        if len(point.parts) >= best and resolved.is_relative_to(point):
            best, kind = len(point.parts), fields[2]
    return kind in _LOCAL

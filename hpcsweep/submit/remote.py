"""Sweeps on a host over SSH: the folder is written here, staged there, and what the nodes write is fetched back.

The copy here stays the truth for the login side; the copy there is what the nodes read and write.
"""

import posixpath
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpcsweep.errors import HostError
from hpcsweep.hosts.ssh import SshHost
from hpcsweep.sweep.layout import SweepFolder

APPEND_ONLY = frozenset({"events.jsonl", "server.log", "client.log"})
"""Files that only grow: of these, only the new bytes are fetched."""

_FETCHED = ("runs", "jobs")
_WHOLE_FILE_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class RemoteSweep:
    """A sweep folder here, and the same below `home` on the host."""

    folder: SweepFolder
    host: SshHost
    home: str

    @property
    def path(self) -> str:
        """The folder as the nodes see it."""
        return remote_sweep_dir(self.home, self.folder.name)

    def claim(self) -> None:
        """Make the folder there. Raises FileExistsError when the name is taken on that side."""
        self.host.make_folder(self.path, exist_ok=False)

    def stage(self) -> None:
        """Copy everything that is here and not there. Raises HostError."""
        there = dict(self.host.files_below(self.path))
        for source in sorted(p for p in self.folder.path.rglob("*") if not p.name.startswith(".")):
            relative = source.relative_to(self.folder.path).as_posix()
            target = posixpath.join(self.path, relative)
            if source.is_dir():
                self.host.make_folder(target)
            elif source.is_file() and there.get(relative) != source.stat().st_size and not _written_there(relative):
                self.host.put_file(source, target)

    def fetch(self) -> int:
        """Bring what the nodes have written since the last time; bytes that came. Raises HostError."""
        fetched = 0
        for part in _FETCHED:
            for below, size_bytes in self.host.files_below(posixpath.join(self.path, part)):
                fetched += self._fetch_file(f"{part}/{below}", size_bytes)
        return fetched

    def _fetch_file(self, relative: str, size_bytes: int) -> int:
        name = PurePosixPath(relative).name
        target = self.folder.path / relative
        have_bytes = target.stat().st_size if target.is_file() else 0
        if name.startswith(".") or have_bytes == size_bytes or not _written_there(relative):
            return 0
        grows = name in APPEND_ONLY and have_bytes < size_bytes
        if size_bytes - (have_bytes if grows else 0) > _WHOLE_FILE_MAX_BYTES and name not in APPEND_ONLY:
            return 0
        data = self.host.read_from(posixpath.join(self.path, relative), have_bytes if grows else 0)
        target.parent.mkdir(parents=True, exist_ok=True)
        _store(target, data, append=grows)
        return len(data)


def remote_sweep_dir(home: str, name: str) -> str:
    """Path of a sweep below HPCSWEEP_HOME of the other side."""
    return posixpath.join(home, "sweeps", name)


def _written_there(relative: str) -> bool:
    """Whether the node writes this file (run folders, logs, the ends of elements), and not the login side."""
    parts = PurePosixPath(relative).parts
    if parts[0] == "runs":
        return len(parts) > 2
    return parts[0] == "jobs" and ("logs" in parts or parts[-1].endswith(".exit.json"))


def _store(target: Path, data: bytes, *, append: bool) -> None:
    try:
        if append:
            with target.open("ab") as stream:
                stream.write(data)
            return
        beside = target.with_name(f".{target.name}.fetched")
        beside.write_bytes(data)
        beside.replace(target)
    except OSError as exc:
        raise HostError(f"{target} cannot be written: {exc}") from exc

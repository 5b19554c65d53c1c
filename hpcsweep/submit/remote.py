"""Sweeps on a remote host: copy the sweep's folder to the host, and fetch the files that the nodes write.

The local copy is authoritative for the login side; the nodes read and write the remote copy. The remote host is not
trusted: a listed file is fetched only if a sweep has such a file, into folders below the sweep's, and never through a
symbolic link.
"""

import errno
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpcsweep.errors import HostError
from hpcsweep.hosts.remote_files import RemoteFile
from hpcsweep.hosts.ssh import SshHost
from hpcsweep.sweep.layout import SweepFolder

APPEND_ONLY = frozenset({"events.jsonl", "server.log", "client.log"})
"""Append-only files: only the new bytes are fetched."""

RECORDS = frozenset({"events.jsonl", "exit.json", "owner.json", "not_run.json"})
"""Files that determine a run's state: if one of them cannot be fetched, the state is unknown."""

_LAST = ("exit.json", "not_run.json")
"""Names, or ends of names, of end records: they are fetched last."""

_FETCHED = ("runs", "jobs")
_RECORD_MAX_BYTES = 4 << 20
_WHOLE_FILE_MAX_BYTES = 64 << 20
_LOG_MAX_BYTES = 256 << 20
"""The agent limits a log well below this."""
_EVENTS_MAX_BYTES = 16 << 30


@dataclass(frozen=True)
class RemoteSweep:
    """A local sweep folder, and its copy below `home` on the host."""

    folder: SweepFolder
    host: SshHost
    home: str

    @property
    def path(self) -> str:
        """The path of the folder on the nodes."""
        return remote_sweep_dir(self.home, self.folder.name)

    def claim(self) -> None:
        """Create the remote folder. Raises FileExistsError when the name is used there."""
        self.host.make_folder(self.path, exist_ok=False)

    def stage(self) -> None:
        """Copy local files that the remote folder does not have; skip links. Raises HostError."""
        sizes = {file.path: file.size_bytes for file in self.host.files_below(self.path)}
        for source in sorted(p for p in self.folder.path.rglob("*") if not p.name.startswith(".")):
            relative = source.relative_to(self.folder.path).as_posix()
            target = posixpath.join(self.path, relative)
            if source.is_symlink():
                continue
            if source.is_dir():
                self.host.make_folder(target)
            elif source.is_file() and sizes.get(relative) != source.stat().st_size and not _written_there(relative):
                self.host.put_file(source, target)

    def fetch(self) -> int:
        """Fetch what the nodes have written since the last call; return the number of bytes.

        Raises HostError when a file cannot be fetched: the absence of a file then proves nothing.
        """
        listed = [
            (f"{part}/{file.path}", file)
            for part in _FETCHED
            for file in self.host.files_below(posixpath.join(self.path, part))
        ]
        labels = {path.name for path in self.folder.path.glob("runs/*")}
        numbers = {str(number) for number in self.folder.job_numbers()}
        wanted = [(relative, file) for relative, file in listed if _belongs(relative, labels, numbers)]
        wanted.sort(key=lambda entry: entry[0].endswith(_LAST))
        return sum(self._fetch_file(relative, file) for relative, file in wanted)

    def _fetch_file(self, relative: str, file: RemoteFile) -> int:
        *folders, name = PurePosixPath(relative).parts
        if not file.regular:
            if name in RECORDS:
                raise HostError(
                    f"{self.host.name}: {self.path}/{relative} is not a regular file", code="remote_file_refused"
                )
            return 0
        with _folder_below(self.folder.path, folders) as folder:
            have_bytes = _size(folder, name, relative)
            if have_bytes == file.size_bytes:
                return 0
            grows = name in APPEND_ONLY and have_bytes is not None and have_bytes < file.size_bytes
            offset = have_bytes if grows and have_bytes is not None else 0
            limit_bytes = _limit_bytes(name)
            if file.size_bytes > limit_bytes and name not in APPEND_ONLY:
                if name in RECORDS or name.endswith(_LAST):
                    raise HostError(
                        f"{self.host.name}: {self.path}/{relative} has {file.size_bytes} bytes",
                        code="remote_file_refused",
                    )
                return 0  # for example a dump of an engine
            if offset >= limit_bytes:
                if name in RECORDS:
                    raise HostError(
                        f"{self.host.name}: {self.path}/{relative} has more than {limit_bytes} bytes",
                        code="remote_file_refused",
                    )
                return 0
            return self._copy(relative, folder, name, offset, limit_bytes - offset, append=grows)

    def _copy(self, relative: str, folder: int, name: str, offset: int, limit_bytes: int, *, append: bool) -> int:
        """Fetch a file. If the connection breaks, a log keeps its fetched part; other files are complete or absent."""
        written = name if append else f".{name}.fetched"
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_APPEND if append else os.O_TRUNC)
        try:
            with os.fdopen(os.open(written, flags, 0o666, dir_fd=folder), "ab" if append else "wb") as target:
                received = self.host.copy_from(posixpath.join(self.path, relative), offset, target, limit_bytes)
            if not append:
                os.replace(written, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as exc:
            raise HostError(f"{self.folder.path / relative} cannot be written: {exc}", code="fetch_failed") from exc
        return received


def remote_sweep_dir(home: str, name: str) -> str:
    """Return the path of a sweep below the remote HPCSWEEP_HOME."""
    return posixpath.join(home, "sweeps", name)


def _belongs(relative: str, labels: set[str], numbers: set[str]) -> bool:
    """Return whether the nodes write such a file for a sweep with these runs and jobs."""
    parts = PurePosixPath(relative).parts
    if any(part.startswith(".") for part in parts) or not _written_there(relative):
        return False
    return parts[1] in (labels if parts[0] == "runs" else numbers)


def _written_there(relative: str) -> bool:
    """Return whether the nodes write this file (run folders, logs, end records, attempts of preparations)."""
    parts = PurePosixPath(relative).parts
    if parts[0] == "runs":
        return len(parts) > 2
    if parts[0] != "jobs" or len(parts) <= 2:
        return False
    return parts[2] == "logs" or parts[2].startswith("attempt-") or parts[-1].endswith(".exit.json")


def _limit_bytes(name: str) -> int:
    if name == "events.jsonl":
        return _EVENTS_MAX_BYTES
    if name in APPEND_ONLY:
        return _LOG_MAX_BYTES
    return _RECORD_MAX_BYTES if name in RECORDS or name.endswith(_LAST) else _WHOLE_FILE_MAX_BYTES


@contextmanager
def _folder_below(root: Path, folders: Sequence[str]) -> Iterator[int]:
    """Open a folder below `root`, creating it, and yield its descriptor. Raises HostError for a symbolic link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    fd = -1
    try:
        fd = os.open(root, flags)
        for name in folders:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=fd)
            inner = os.open(name, flags | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = inner
    except OSError as exc:
        if fd >= 0:
            os.close(fd)
        link = "the path contains a symbolic link or a file that is not a folder"
        why = link if exc.errno in (errno.ELOOP, errno.ENOTDIR) else str(exc)
        raise HostError(
            f"{root.joinpath(*folders)}: {why}; nothing was fetched into it", code="fetch_target_refused"
        ) from exc
    try:
        yield fd
    finally:
        os.close(fd)


def _size(folder: int, name: str, relative: str) -> int | None:
    """Return the size of a file; None when it does not exist. Raises HostError when it is not a regular file."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise HostError(f"the local {relative} is not a regular file; nothing was fetched", code="fetch_target_refused")
    return status.st_size

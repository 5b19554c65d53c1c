"""Read files through SFTP from a host that is not trusted: names, sizes and types are checked."""

import errno
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import paramiko

from hpcsweep.errors import HostError
from hpcsweep.terminal_text import one_line

_MOST_FILES = 1_000_000
_DEEPEST = 16
_LONGEST_NAME_BYTES = 255
_REQUEST_BYTES = 32 << 10
_WINDOW_REQUESTS = 64
"""Concurrent requests for pieces of a file: 2 MiB of memory, and of data per round trip."""


@dataclass(frozen=True)
class RemoteFile:
    """A file below a folder. `path`: relative to it. `regular`: neither a link nor a FIFO, device or socket."""

    path: str
    size_bytes: int
    regular: bool = True


def files_below(sftp: paramiko.SFTPClient, folder: str) -> Iterator[RemoteFile]:
    """Yield every file below a folder; links are listed but not followed.

    Raises HostError for a name that is not a plain file name: `../x` would be written elsewhere.
    """
    waiting = [("", 0)]
    count = 0
    while waiting:
        below, depth = waiting.pop()
        for entry in sftp.listdir_iter(posixpath.join(folder, below)):
            count += 1
            if count > _MOST_FILES:
                raise HostError(
                    f"remote folder {folder} lists more than {_MOST_FILES} files", code="remote_too_many_files"
                )
            check_name(entry.filename, posixpath.join(folder, below))
            path = posixpath.join(below, entry.filename)
            mode = entry.st_mode or 0
            if stat.S_ISDIR(mode):
                if depth >= _DEEPEST:
                    raise HostError(
                        f"remote folder {folder}/{path} is nested deeper than {_DEEPEST} folders",
                        code="remote_too_deep",
                    )
                waiting.append((path, depth + 1))
            else:
                yield RemoteFile(path, max(0, entry.st_size or 0), stat.S_ISREG(mode))


def check_name(name: str, folder: str) -> None:
    """Raise HostError unless `name` is a plain file name."""
    plain = bool(name) and name not in (".", "..") and "/" not in name and name.isprintable()
    if not plain or len(name.encode("utf-8", "replace")) > _LONGEST_NAME_BYTES:
        raise HostError(
            f"remote folder {one_line(folder)} lists an invalid file name, {name[:100]!a}; nothing was written",
            code="remote_file_name",
            hint="no file of a sweep has such a name: check that only you can write to this folder of the host",
        )


def copy_from(sftp: paramiko.SFTPClient, path: str, offset: int, target: IO[bytes], limit_bytes: int) -> int:
    """Copy a file from byte `offset` to `target`; return the number of bytes, at most `limit_bytes`.

    Raises OSError if it is not a regular file, or is shorter than its stated size.
    """
    with sftp.open(path, "rb") as stream:
        attributes = stream.stat()
        if not stat.S_ISREG(attributes.st_mode or stat.S_IFREG):
            raise OSError(errno.EINVAL, "is not a regular file")
        end = min(attributes.st_size or 0, offset + limit_bytes)
        at = offset
        while at < end:
            window = min(end - at, _REQUEST_BYTES * _WINDOW_REQUESTS)
            wanted = [(at + done, min(_REQUEST_BYTES, window - done)) for done in range(0, window, _REQUEST_BYTES)]
            for (_, size), piece in zip(wanted, stream.readv(wanted), strict=True):
                if len(piece) != size:
                    raise OSError(errno.EIO, f"ended at byte {at + len(piece)} of {end}")
                target.write(piece)
                at += size
    return max(0, end - offset)

"""A log of bounded size that contains the start and the end of a server's output."""

import contextlib
import os
from pathlib import Path

from hpcsweep.units import format_bytes

HEAD_LIMIT_BYTES = 64 << 20
TAIL_LIMIT_BYTES = 32 << 20


class CappedLog:
    """Writes whole lines to a file up to `head_limit_bytes`, and after that keeps the last `tail_limit_bytes`.

    The latest lines are in NAME.tail.log and NAME.tail-before.log, and are appended to the file when the log is closed,
    so that the file itself only grows. When the agent is killed, they remain there.
    """

    def __init__(
        self, path: Path, head_limit_bytes: int = HEAD_LIMIT_BYTES, tail_limit_bytes: int = TAIL_LIMIT_BYTES
    ) -> None:
        self._path = path
        self._tail_path = path.with_name(f"{path.stem}.tail.log")
        self._before_path = path.with_name(f"{path.stem}.tail-before.log")
        self._head_limit_bytes, self._segment_limit_bytes = head_limit_bytes, tail_limit_bytes // 2
        self._file = path.open("ab", buffering=0)
        self._head_bytes = os.fstat(self._file.fileno()).st_size
        self._tail_bytes = 0
        self._in_tail = False
        self._dropped_bytes = 0

    def write(self, lines: bytes) -> None:
        """Append whole lines. Raises OSError when the disk is full."""
        if not self._in_tail:
            if self._head_bytes + len(lines) <= self._head_limit_bytes:
                self._head_bytes += self._file.write(lines) or 0
                return
            self._begin_tail()
        if self._tail_bytes + len(lines) > self._segment_limit_bytes:
            self._turn_over()
        self._tail_bytes += self._file.write(lines) or 0

    def close(self) -> None:
        """Append the end to the start, with a line between them that reports how much is missing."""
        self._file.close()
        if not self._in_tail:
            return
        with contextlib.suppress(OSError), self._path.open("ab", buffering=0) as head:
            if self._dropped_bytes:
                head.write(f"[hpcsweep: {format_bytes(self._dropped_bytes)} of the log were dropped here]\n".encode())
            for path in (self._before_path, self._tail_path):
                if path.exists():
                    head.write(path.read_bytes())
                    path.unlink()

    def _begin_tail(self) -> None:
        name = self._tail_path.name
        self._file.write(
            f"[hpcsweep: the log has reached {format_bytes(self._head_limit_bytes)}; the latest lines are in {name} "
            "and are appended here when the server exits]\n".encode()
        )
        self._file.close()
        self._file = self._tail_path.open("wb", buffering=0)
        self._in_tail = True

    def _turn_over(self) -> None:
        self._file.close()
        if self._before_path.exists():
            self._dropped_bytes += self._before_path.stat().st_size
        self._tail_path.replace(self._before_path)
        self._file = self._tail_path.open("wb", buffering=0)
        self._tail_bytes = 0

"""Write the load process's standard output: one JSON object per line."""

import json
import os
import stat
from collections.abc import Mapping
from typing import Any

try:
    import orjson
except ImportError:  # the extra `fast` is not installed
    orjson = None  # type: ignore[assignment]


def dumps(value: Any) -> bytes:
    """Return compact JSON."""
    return orjson.dumps(value) if orjson is not None else json.dumps(value, separators=(",", ":")).encode()


class LineWriter:
    """Collects lines and writes them on `flush`. Waits for a slow reader only in `close`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pending = bytearray()
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.set_blocking(fd, False)

    def add(self, record: Mapping[str, object]) -> None:
        """Add one record for the next `flush`."""
        self._pending += dumps(record)
        self._pending += b"\n"

    def add_lines(self, lines: bytes) -> None:
        """Add complete lines for the next `flush`."""
        self._pending += lines

    def flush(self) -> None:
        """Write what the reader accepts now and keep the rest. Raises BrokenPipeError."""
        try:
            while self._pending:
                del self._pending[: os.write(self._fd, self._pending)]
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Write everything that is left, waiting for the reader. Raises BrokenPipeError."""
        os.set_blocking(self._fd, True)
        self.flush()

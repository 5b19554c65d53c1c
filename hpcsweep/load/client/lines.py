"""The lines that the load process writes on its standard output: JSON objects, one a line, whole or not at all."""

import json
import os
import stat
from typing import Any

try:
    import orjson
except ImportError:  # the extra `fast` is not installed
    orjson = None  # type: ignore[assignment]


def dumps(value: Any) -> bytes:
    """Compact JSON."""
    return orjson.dumps(value) if orjson is not None else json.dumps(value, separators=(",", ":")).encode()


class LineWriter:
    """Collects lines and writes them when told, without ever waiting for a slow reader before `close`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pending = bytearray()
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.set_blocking(fd, False)

    def add(self, record: dict[str, Any]) -> None:
        """Keep one record for the next `flush`."""
        self._pending += dumps(record)
        self._pending += b"\n"

    def add_lines(self, lines: bytes) -> None:
        """Keep whole lines for the next `flush`."""
        self._pending += lines

    def flush(self) -> None:
        """Write what the reader takes now; the rest stays for the next time. Raises BrokenPipeError."""
        try:
            while self._pending:
                del self._pending[: os.write(self._fd, self._pending)]
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Write all that is left, however long the reader takes. Raises BrokenPipeError."""
        os.set_blocking(self._fd, True)
        self.flush()

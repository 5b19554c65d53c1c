"""events.jsonl: append-only, flushed to disk, readable while it is being written."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from hpcsweep.errors import EventError

if TYPE_CHECKING:  # imported where events are read, so that `status` without new events starts fast
    from hpcsweep.events.records import Event

EVENTS_FILE = "events.jsonl"


class EventLog:
    """Appends events to the file of one attempt. Not thread-safe: one writer per attempt."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)  # restricted by the umask

    def append(self, event: "Event", *, sync: bool = True) -> None:
        """Write one line. `sync`: wait until it is on the disk (too expensive for telemetry).

        Raises OSError when the disk is full. A line that was cut short is ended by a newline, so that no other line
        is lost.
        """
        self.append_lines([event.model_dump_json(exclude_defaults=False)], sync=sync)

    def append_lines(self, lines: list[str], *, sync: bool = True) -> None:
        """Write JSON documents, one per line, in one system call. See `append` for `sync` and OSError."""
        data = "".join(line + "\n" for line in lines).encode()
        written = os.write(self._fd, data)
        if written < len(data):
            os.write(self._fd, b"\n")
            raise OSError(28, "disk full: an event was cut short")
        if sync:
            os.fsync(self._fd)

    def close(self) -> None:
        """Flush everything to the disk and close the file."""
        os.fsync(self._fd)
        os.close(self._fd)

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def whole_lines(data: bytes) -> tuple[list[bytes], int]:
    """Return the complete lines of `data` and their size in bytes; an incomplete last line is left out."""
    end = data.rfind(b"\n") + 1
    return [line for line in data[:end].split(b"\n") if line.strip()], end


def read_events(path: Path) -> "Iterator[Event]":
    """Yield every complete event of a file, in order; lines that are not JSON (cut short by a full disk) are skipped.

    A missing file has no events. Raises EventError for a JSON line that is not a known event.
    """
    from pydantic import ValidationError

    from hpcsweep.events.records import EVENT
    from hpcsweep.spec.base import validation_text

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in whole_lines(data)[0]:
        try:
            yield EVENT.validate_json(line)
        except ValidationError as exc:
            if _is_json(line):
                raise EventError(
                    f"{path}: not a known event: {line[:200]!r}", code="unknown_event", detail=validation_text(exc)
                ) from exc


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True

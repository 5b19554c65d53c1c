"""events.jsonl: append-only, one line at a time, flushed to disk; readable while it is written."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from hpcsweep.errors import EventError

if TYPE_CHECKING:  # the models are imported where events are read: a status without news reads none
    from hpcsweep.events.records import Event

EVENTS_FILE = "events.jsonl"


class EventLog:
    """Appends events to one attempt's file. Not thread-safe: one writer an attempt."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)  # less the umask

    def append(self, event: "Event", *, sync: bool = True) -> None:
        """Write one line. `sync`: it is on the disk when this returns (not worth it for a telemetry point).

        Raises OSError when the disk is full; a line cut short by that is completed with a newline by the next
        append, so that only the cut line is lost.
        """
        self.append_lines([event.model_dump_json(exclude_defaults=False)], sync=sync)

    def append_lines(self, lines: list[str], *, sync: bool = True) -> None:
        """Write whole JSON documents, a line each, in one system call."""
        data = "".join(line + "\n" for line in lines).encode()
        written = os.write(self._fd, data)
        if written < len(data):
            os.write(self._fd, b"\n")
            raise OSError(28, "disk full: an event was cut short")
        if sync:
            os.fsync(self._fd)

    def close(self) -> None:
        """Close the file; everything is on the disk."""
        os.fsync(self._fd)
        os.close(self._fd)

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def whole_lines(data: bytes) -> tuple[list[bytes], int]:
    """The complete lines of `data` and how many bytes they take; a torn last line is left for the next read."""
    end = data.rfind(b"\n") + 1
    return [line for line in data[:end].split(b"\n") if line.strip()], end


def read_events(path: Path) -> "Iterator[Event]":
    """Every whole event of a file, in order. A line that is no event (cut short by a full disk) is left out.

    A file that is not there has no events.
    """
    from pydantic import ValidationError

    from hpcsweep.events.records import EVENT

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in whole_lines(data)[0]:
        try:
            yield EVENT.validate_json(line)
        except ValidationError as exc:
            if _is_json(line):
                raise EventError(f"{path}: an event of unknown form: {line[:200]!r}", detail=str(exc)) from exc


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True

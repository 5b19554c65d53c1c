"""Ends of the logs of a run: a bounded part at first, then what was added, safe to show and without secrets."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.api.log_files import job_log
from hpcsweep.foreign_files import open_regular
from hpcsweep.report.formats.html.links import LINKED
from hpcsweep.spec.secret_values import masked
from hpcsweep.sweep.layout import SweepFolder
from hpcsweep.terminal_text import printable
from hpcsweep.units import format_bytes

FIRST_BYTES = 32 << 10
"""The end of a log that a page starts with, and the most that is sent at once."""

_LONGEST_LINE_BYTES = 8 << 10

LOGS: Mapping[str, str] = {"server": "server.log", "client": "client.log", "job": "job output"}
"""Name of a log in addresses and events -> its title."""


@dataclass(frozen=True)
class Piece:
    """A part of a log. `end`: byte after it. `fresh`: it replaces what was shown before, and does not continue it."""

    text: str
    end: int
    fresh: bool = False


def log_path(sweep: SweepFolder, label: str, attempt: int | None, which: str) -> Path | None:
    """Return the file of a log inside the sweep's folder; None: there is none (yet).

    `attempt` None: of the latest. A path that leaves the folder through a link counts as missing.
    """
    if which == "job":
        path = job_log(sweep, label)
    else:
        number = attempt or sweep.attempts(label)
        path = sweep.path / "runs" / label / f"attempt-{number}" / LOGS[which]
    return None if path is None else _inside(sweep, path)


def read_piece(path: Path, start: int | None) -> Piece:
    """Return what a log has after byte `start`, in whole lines; None: its end. Raises OSError.

    If more was added than is sent at once, or the file became shorter, the piece is its end.
    """
    with open_regular(path) as file:
        size = file.seek(0, os.SEEK_END)
        fresh = start is None or not 0 <= start <= size or size - start > FIRST_BYTES
        begin = max(0, size - FIRST_BYTES) if start is None or fresh else start
        file.seek(begin)
        data = file.read(size - begin)
    cut = data.find(b"\n") + 1 if fresh and begin else 0  # the rest of a line, whose start is not shown
    data, begin = data[cut:], begin + cut
    end = data.rfind(b"\n") + 1
    if not end and len(data) > _LONGEST_LINE_BYTES:
        end = len(data)
    text = printable(masked(data[:end].decode("utf-8", "replace")))
    if fresh and begin:
        text = f"[{format_bytes(begin)} before this are in {path.name}]\n{text}"
    return Piece(text, begin + end, fresh)


def attempt_file(sweep: SweepFolder, label: str, attempt: str, name: str) -> Path | None:
    """Return a file or folder of an attempt that a report links to; None: there is none inside the sweep's folder."""
    numbers = {f"attempt-{number}" for number in range(1, sweep.attempts(label) + 1)}
    if attempt not in numbers or name not in LINKED:
        return None
    return _inside(sweep, sweep.path / "runs" / label / attempt / name)


def _inside(sweep: SweepFolder, path: Path) -> Path | None:
    try:
        inside = path.resolve(strict=True).is_relative_to(sweep.path.resolve(strict=True))
    except OSError:
        return None
    return path if inside and not path.is_symlink() else None

"""Relative links from a report to the files of each attempt, so that report and sweep folder can move together."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from hpcsweep.analysis.findings import Findings, RunFinding

LINKED = ("server.log", "client.log", "events.jsonl", "run.json", "command.txt", "exit.json", "diagnostics")
"""Files of an attempt that get a link if they exist."""


@dataclass(frozen=True)
class Link:
    """A link: its name, and its target as a relative URL."""

    name: str
    href: str


class Links:
    """The links of a report. `base`: the folder of the report; None: not known (standard output)."""

    def __init__(self, findings: Findings, base: Path | None) -> None:
        self._sweep_dir = Path(findings.sweep.sweep_dir) if findings.sweep.sweep_dir else None
        self._base = base

    @property
    def from_sweep_folder(self) -> bool:
        """Whether the links work only from the folder of the sweep."""
        return self._base is None

    def of(self, run: RunFinding) -> tuple[Link, ...]:
        """Return links to the files of the attempt that counts; empty without an attempt or its folder."""
        if self._sweep_dir is None or not run.attempt_dir:
            return ()
        folder = self._sweep_dir / run.attempt_dir
        try:
            present = {path.name for path in folder.iterdir()}
        except OSError:
            return ()
        return tuple(Link(name, self._href(folder / name)) for name in LINKED if name in present)

    def _href(self, path: Path) -> str:
        base = self._sweep_dir if self._base is None else self._base
        relative = os.path.relpath(path, base)
        # Without ./, a first part with a colon would be parsed as a scheme.
        return quote(relative if relative.startswith("..") else f"./{relative}")


def folder_of(stream: IO[str]) -> Path | None:
    """Return the folder of the file that a stream writes; None if it does not write a file."""
    name = getattr(stream, "name", None)
    if not isinstance(name, str) or not Path(name).is_file():
        return None
    return Path(name).absolute().parent

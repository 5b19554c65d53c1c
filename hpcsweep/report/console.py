"""The terminal: colours only on one, NO_COLOR honoured, lines wide enough for tables where there is none."""

import shutil
from io import TextIOWrapper
from typing import IO

from rich.console import Console
from rich.text import Text

from hpcsweep.terminal_text import printable

PIPE_WIDTH = 160
"""Columns where the output is no terminal: tables are read with grep and less -S, not squeezed into 80."""


def safe_text(text: str, style: str = "") -> Text:
    """Text from outside, such as a log line: no markup is read in it, and it cannot steer the terminal."""
    return Text(printable(text), style=style)


def make_console(stream: IO[str]) -> Console:
    """A console over `stream`. COLUMNS, where set, is the width of a pipe too."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")  # an engine's log lines in a C locale
    if stream.isatty():
        return Console(file=stream, highlight=False)
    width = shutil.get_terminal_size((PIPE_WIDTH, 24)).columns
    return Console(file=stream, highlight=False, no_color=True, width=width, force_terminal=False)

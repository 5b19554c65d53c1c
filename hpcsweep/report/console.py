"""Output to a terminal or a pipe: colours only on a terminal and without NO_COLOR; wide lines in a pipe."""

import shutil
from io import TextIOWrapper
from typing import IO

from rich.console import Console
from rich.text import Text

from hpcsweep.terminal_text import printable

PIPE_WIDTH = 160
"""Columns in a pipe or a file, where tables are read with grep and less -S."""


def safe_text(text: str, style: str = "") -> Text:
    """Return text from outside, such as a log line, without markup and control characters."""
    return Text(printable(text), style=style)


def make_console(stream: IO[str]) -> Console:
    """Return a console over `stream`. COLUMNS, if set, is also the width of a pipe."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")  # an engine's log lines in a C locale
    if stream.isatty():
        return Console(file=stream, highlight=False)
    width = shutil.get_terminal_size((PIPE_WIDTH, 24)).columns
    return Console(file=stream, highlight=False, no_color=True, width=width, force_terminal=False)

"""The report on a terminal: the first screen, or with `--full` every chapter. NO_COLOR and pipes are honoured."""

from collections.abc import Sequence
from dataclasses import replace
from typing import IO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from hpcsweep.analysis.findings import Findings
from hpcsweep.report.chapters.full_report import build_chapters
from hpcsweep.report.console import make_console, safe_text
from hpcsweep.report.document import Block, Bullets, Code, Document, Paragraph, Section, Table
from hpcsweep.report.first_screen import build_first_screen
from hpcsweep.report.formats.registry import DEFAULTS, Format, ReportOptions
from hpcsweep.report.formats.terminal_screen import screen_lines
from hpcsweep.report.wording import NOTHING, SIMULATED

MAX_ROWS = 40
MAX_ITEMS = 20
MAX_PARTS = 40
"""Parts of one chapter, such as the requests of each run."""

KEPT_WHOLE = 13
"""Characters of the longest cell of a column that is never broken over lines ..."""

NARROW = 100
"""... on a terminal with at least this many columns."""

STACKED_FROM = 1.25
"""A table that needs this many times the width of the terminal is printed row by row."""

EMPTY = ("", NOTHING)


class TerminalFormat(Format):
    """The report for a terminal."""

    name = "terminal"
    meaning = "for reading here: one screen; --full: every chapter"
    options = frozenset({"full"})

    def write(self, findings: Findings, stream: IO[str], options: ReportOptions = DEFAULTS) -> None:
        """Print the first screen, and with `options.full` the chapters below it."""
        console = make_console(stream)
        unicode = console.encoding.lower().startswith("utf")
        for line in screen_lines(build_first_screen(findings), console.width, unicode=unicode):
            console.print(line, soft_wrap=True)
        if options.full:
            _print_sections(console, build_chapters(findings))


def write_document(document: Document, stream: IO[str]) -> None:
    """Print a document as wide as the terminal; into a file or a pipe, `console.PIPE_WIDTH` columns wide."""
    console = make_console(stream)
    console.print(_text(document.title, "bold"))
    _print_sections(console, document.sections)


def _print_sections(console: Console, sections: Sequence[Section]) -> None:
    parts = 0
    for section in sections:
        parts = parts + 1 if section.level > 2 else 0
        if parts <= MAX_PARTS:
            _print_section(console, section)
        elif parts == MAX_PARTS + 1:
            console.print(_more("parts"))


def _more(what: str, number: int | None = None) -> Text:
    count = "" if number is None else f"{number} "
    return Text(f"… {count}more {what}: `hpcsweep report --format markdown` has all of them", style="dim")


def _print_section(console: Console, section: Section) -> None:
    console.print()
    console.print(_text(section.title, "bold cyan" if section.level == 2 else "bold"))
    for block in section.blocks:
        _print_block(console, block)


def _print_block(console: Console, block: Block) -> None:
    if isinstance(block, Paragraph):
        console.print(_text(block.text, "bold" if block.strong else ""))
    elif isinstance(block, Bullets):
        for item in block.items[:MAX_ITEMS]:
            console.print(Padding(_text(f"- {item}"), (0, 0, 0, 2), expand=False))
        if len(block.items) > MAX_ITEMS:
            console.print(_more("lines", len(block.items) - MAX_ITEMS))
    elif isinstance(block, Code):
        # Verbatim, so that it can be copied: no wrapping and no frame.
        console.print(_text(block.text, "green"), soft_wrap=True)
    else:
        _print_table(console, block)


def _print_table(console: Console, block: Table) -> None:
    block = _without_empty_columns(block)
    if block.point:
        console.print(_text(block.point, "italic"))
    if _natural_width(block) > STACKED_FROM * console.width:
        _print_stacked(console, block)
    else:
        _print_columns(console, block)
    if len(block.rows) > MAX_ROWS:
        console.print(_more("rows", len(block.rows) - MAX_ROWS))
    if block.note:
        console.print(_text(block.note, "dim"))


def _without_empty_columns(block: Table) -> Table:
    texts = block.texts()
    kept = [i for i in range(len(block.columns)) if not texts or any(row[i] not in EMPTY for row in texts)]
    rows = tuple(tuple(row[i] for i in kept) for row in block.rows)
    return replace(block, columns=tuple(block.columns[i] for i in kept), rows=rows)


def _natural_width(block: Table) -> int:
    texts = block.texts()
    widths = [max([len(title), *(len(row[i]) for row in texts)]) for i, title in enumerate(block.columns)]
    return sum(widths) + 3 * (len(widths) - 1)


def _print_columns(console: Console, block: Table) -> None:
    table = RichTable(show_edge=False, pad_edge=False, header_style="bold")
    texts = block.texts()
    for i, title in enumerate(block.columns):
        short = max((len(row[i]) for row in texts), default=0) <= KEPT_WHOLE
        table.add_column(_text(title), overflow="fold", no_wrap=short and console.width >= NARROW)
    for row in texts[:MAX_ROWS]:
        table.add_row(*(_text(cell) for cell in row))
    console.print(table)


def _print_stacked(console: Console, block: Table) -> None:
    """Print each row as a short text, where a narrow terminal would cut the columns into single letters."""
    for first, *rest in block.texts()[:MAX_ROWS]:
        cells = [f"{title}: {cell}" for title, cell in zip(block.columns[1:], rest, strict=True) if cell not in EMPTY]
        console.print(_text(first, "bold"))
        console.print(Padding(_text(" | ".join(cells)), (0, 0, 0, 2), expand=False))


def _text(text: str, style: str = "") -> Text:
    """Return plain text with the mark of simulated rows highlighted."""
    shown = safe_text(text, style)
    shown.highlight_words([SIMULATED], "bold yellow")
    return shown

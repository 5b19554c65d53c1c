"""The report as Markdown with GitHub's tables, by the template report.md.j2, which a user's own can replace."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined

from hpcsweep.analysis.findings import Findings
from hpcsweep.report.chapters.full_report import build_document, build_summary
from hpcsweep.report.document import Block, Cell, text_of
from hpcsweep.report.formats.registry import DEFAULTS, Format, ReportOptions
from hpcsweep.terminal_text import printable

TEMPLATE = "report.md.j2"

_SPECIAL = re.compile(
    r"[\\`*<|$]"  # always: escapes, code, emphasis, HTML, columns, formulas
    r"|(?<![^\W_])_|_(?![^\W_])"  # an underscore inside a word is not emphasis
    r"|~~|\](?=[(\[])|&(?=#?\w+;)"  # struck out, links, entities
)
_BACKTICKS = re.compile(r"`+")
_LINE_START = re.compile(r"^(?:[#+>=-]|\d+[.)]|\[)")
"""Starts of a heading, a list, a quotation or a check box."""


class MarkdownFormat(Format):
    """The report as a document to archive."""

    name = "markdown"
    meaning = "a document to archive: the first screen, then every chapter"
    suffixes = (".md", ".markdown")

    options = frozenset({"full"})

    def write(self, findings: Findings, stream: IO[str], options: ReportOptions = DEFAULTS) -> None:
        """Write the first screen and, unless `options.full` is False, the chapters."""
        write(findings, stream, full=options.full is not False)


def write(findings: Findings, stream: IO[str], templates: Sequence[Path] = (), *, full: bool = True) -> None:
    """Write the report. Folders in `templates` are searched before the shipped template."""
    document = build_document(findings) if full else build_summary(findings)
    stream.write(_environment(templates).get_template(TEMPLATE).render(document=document))


def _environment(templates: Sequence[Path]) -> Environment:
    env = Environment(
        loader=ChoiceLoader(
            [*(FileSystemLoader(folder) for folder in templates), PackageLoader("hpcsweep.templates", ".")]
        ),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown, not HTML: every value goes through `inline` or `fence`
    )
    env.filters.update(inline=inline, cell=cell, row=row, fence=fence, kind=kind)
    return env


def cell(text: str) -> str:
    """Return text that Markdown shows verbatim inside a line, such as a cell of a table: without markup."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c.isspace() else "?" for c in text)
    one_line = " ".join(text.split())
    return _SPECIAL.sub(lambda match: "".join("\\" + c for c in match[0]), one_line)


def row(cells: Sequence[Cell]) -> str:
    """Return one line of a table."""
    return f"| {' | '.join(cell(text_of(content)) for content in cells)} |"


def inline(text: str) -> str:
    """Return the same for the beginning of a line, where some characters start a heading, list or quotation."""
    escaped = cell(text)
    begins = _LINE_START.match(escaped)
    if begins is None:
        return escaped
    return f"{escaped[: begins.end() - 1]}\\{escaped[begins.end() - 1 :]}"


def fence(text: str, language: str = "") -> str:
    """Return a code block whose fence is longer than any run of backticks inside it."""
    text = printable(text)
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def kind(block: Block) -> str:
    """Return the name of a block's class, for the template."""
    return type(block).__name__

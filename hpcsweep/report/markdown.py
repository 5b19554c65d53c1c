"""The report as Markdown (GitHub's tables), by the template report.md.j2; a user's own may take its place."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined

from hpcsweep.analysis.findings import Findings
from hpcsweep.report.chapters import build_document
from hpcsweep.report.document import Block

TEMPLATE = "report.md.j2"

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~$&])")
_BACKTICKS = re.compile(r"`+")
_LINE_START = re.compile(r"^(\s*)([#+>-]|\d+[.)])(?=\s|$)")


def write(findings: Findings, stream: IO[str], templates: Sequence[Path] = ()) -> None:
    """Write the report. Folders in `templates` come before the shipped template."""
    document = build_document(findings, scripts=True)
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
    env.filters.update(inline=inline, fence=fence, kind=kind)
    return env


def inline(text: str) -> str:
    """Text that Markdown shows letter by letter, in a paragraph and in a cell of a table alike."""
    one_line = " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in text).split())
    return _LINE_START.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", one_line))


def fence(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks inside it."""
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def kind(block: Block) -> str:
    """The name of a block's class, for the template."""
    return type(block).__name__

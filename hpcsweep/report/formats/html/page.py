"""The report as one HTML file that opens offline: scripts, styles and data are all inside it.

A content security policy in the page forbids every connection.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import IO

from jinja2 import BaseLoader, ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined
from markupsafe import Markup

from hpcsweep import __version__
from hpcsweep.analysis.findings import Findings
from hpcsweep.report.chapters.full_report import build_document
from hpcsweep.report.document import Block, Document, Section, Table, text_of
from hpcsweep.report.formats.html.assets import PLOTLY, Assets
from hpcsweep.report.formats.html.captions import plots_of
from hpcsweep.report.formats.html.links import Links, folder_of
from hpcsweep.report.formats.html.pack import pack, pack_json
from hpcsweep.report.formats.html.plots import plot_data
from hpcsweep.report.formats.html.tables import HtmlTable, kept_whole, of_document, run_table
from hpcsweep.report.formats.registry import DEFAULTS, Format, ReportOptions
from hpcsweep.terminal_text import printable

TEMPLATE = "report.html.j2"
MAX_BULLETS = 40
"""Longer lists are folded after this many items."""

MAX_HEADING = 160

OPEN_PARTS = 6
"""A chapter with more parts shows only their headings; each opens by itself."""


@dataclass(frozen=True)
class Chapter:
    """A chapter of the page with its parts. `id`: its anchor."""

    id: str
    head: Section
    parts: tuple[Section, ...]

    @property
    def parts_open(self) -> bool:
        """Whether the parts are few enough to be read one after the other."""
        return len(self.parts) <= OPEN_PARTS


class HtmlFormat(Format):
    """One page with plots that opens offline."""

    name = "html"
    meaning = "one page with plots that opens offline"
    suffixes = (".html", ".htm")
    telemetry = True

    def write(self, findings: Findings, stream: IO[str], options: ReportOptions = DEFAULTS) -> None:
        """Write the page."""
        write(findings, stream)


def write(findings: Findings, stream: IO[str], templates: Sequence[Path] = ()) -> None:
    """Write the page. Folders in `templates` are searched first. Links start in the folder of the stream."""
    document = build_document(findings)
    runs = run_table(findings, Links(findings, folder_of(stream)))
    tables = _tables(document)
    data = plot_data(findings) | {
        "simulated": findings.sweep.simulated,
        "tables": {
            table.id: table.packed_rows() for table in (runs.table, *tables.values()) if len(table.rows) > table.in_page
        },
        "keys": runs.keys,
    }
    loader = ChoiceLoader(
        [*(FileSystemLoader(folder) for folder in templates), PackageLoader("hpcsweep.templates", ".")]
    )
    env = _environment(loader)
    assets = Assets(loader, env)
    page = env.get_template(TEMPLATE).stream(
        title=document.title,
        chapters=_chapters(document),
        explored_after=1,  # the runs and plots follow the summary
        tables=tables,
        runs=runs,
        sweep=findings.sweep,
        plots=plots_of(data),
        data=pack_json(data),
        plotly=pack(assets.text(PLOTLY)),
        css=assets.styles("web/report.css", "web/report_hover.css"),
        modules=assets.import_map("report"),
        version=__version__,
        max_bullets=MAX_BULLETS,
    )
    stream.writelines(page)


def _environment(loader: BaseLoader) -> Environment:
    env = Environment(
        loader=loader,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
        finalize=_printable,
    )
    env.filters.update(kind=_kind, table=_identity, heading=heading, text=text_of)
    env.tests.update(whole=kept_whole)
    return env


def _printable(value: object) -> object:
    """Return a value as the page shows it: text from a log can neither reorder nor hide what is around it."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def heading(title: str) -> str:
    """Return a title of readable length: that of an axis with 1,000 levels names all of them."""
    return shorten(title, MAX_HEADING, placeholder=" …")


def _kind(block: Block) -> str:
    return type(block).__name__


def _identity(block: Block) -> int:
    return id(block)


def _chapters(document: Document) -> list[Chapter]:
    groups: list[list[Section]] = []
    for section in document.sections:
        if section.level == 2 or not groups:
            groups.append([])
        groups[-1].append(section)
    return [Chapter(f"c{number}", group[0], tuple(group[1:])) for number, group in enumerate(groups, 1)]


def _tables(document: Document) -> dict[int, HtmlTable]:
    """Return the tables of all chapters by the identity of their block, since two chapters may have equal tables."""
    tables: dict[int, HtmlTable] = {}
    for section in document.sections:
        own = [block for block in section.blocks if isinstance(block, Table)]
        for number, table in enumerate(own, 1):
            caption = heading(section.title) + (f" ({number} of {len(own)})" if len(own) > 1 else "")
            tables[id(table)] = of_document(table, len(tables), caption)
    return tables

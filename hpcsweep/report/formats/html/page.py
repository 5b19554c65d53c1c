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
from hpcsweep.report import first_screen_text as words
from hpcsweep.report.chapters.full_report import build_chapters
from hpcsweep.report.chapters.summary import overview_parts
from hpcsweep.report.document import Block, Document, Section, Table, text_of
from hpcsweep.report.first_screen import build_first_screen
from hpcsweep.report.formats.html.assets import BOOT, PLOTLY, Assets
from hpcsweep.report.formats.html.captions import FRONT, plots_of
from hpcsweep.report.formats.html.first_view import first_view
from hpcsweep.report.formats.html.links import Links, folder_of
from hpcsweep.report.formats.html.pack import pack, pack_json
from hpcsweep.report.formats.html.plots import plot_data
from hpcsweep.report.formats.html.tables import HtmlTable, kept_whole, of_document, run_table
from hpcsweep.report.formats.registry import DEFAULTS, Format, ReportOptions
from hpcsweep.terminal_text import printable

TEMPLATE = "report.html.j2"
MAX_BULLETS = 40
"""Longer lists are folded after this many items."""

STYLES = ("web/palette.css", "web/base.css", "web/report.css", "web/report_first.css", "web/report_hover.css")

MAX_HEADING = 160

MAX_OVERVIEW_ROWS = 40
"""Rows of the table of variants in the overview; the chapter on speed has every variant."""

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
    screen = build_first_screen(findings, MAX_OVERVIEW_ROWS)
    overview = Section("Overview", ()), *overview_parts(screen)
    document = Document(words.title(screen), (*overview, *build_chapters(findings)))
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
    plots = plots_of(data)
    page = env.get_template(TEMPLATE).stream(
        title=document.title,
        chapters=_chapters(document),
        explored_after=1,  # the runs and plots follow the overview
        first=first_view(screen),
        front=FRONT if FRONT in plots else None,
        tables=tables,
        runs=runs,
        sweep=findings.sweep,
        plots=[plot for plot in plots if plot is not FRONT],
        data=pack_json(data),
        plotly=pack(assets.text(PLOTLY)),
        css=assets.styles(*STYLES),
        modules=pack_json(assets.modules("report")),
        boot=Markup(assets.text(BOOT)),
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
    return [Chapter(f"chapter-{group[0].title.lower()}", group[0], tuple(group[1:])) for group in groups]


def _tables(document: Document) -> dict[int, HtmlTable]:
    """Return the tables of all chapters by the identity of their block, since two chapters may have equal tables."""
    tables: dict[int, HtmlTable] = {}
    for section in document.sections:
        own = [block for block in section.blocks if isinstance(block, Table)]
        for number, table in enumerate(own, 1):
            caption = heading(section.title) + (f" ({number} of {len(own)})" if len(own) > 1 else "")
            tables[id(table)] = of_document(table, len(tables), caption)
    return tables

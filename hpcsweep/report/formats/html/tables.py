"""Tables of the HTML report: the first rows stand in the page, the others travel packed and appear on demand."""

import re
from dataclasses import dataclass

from hpcsweep.analysis.compared.variants import level_name
from hpcsweep.analysis.findings import Findings, RunFinding
from hpcsweep.analysis.findings.measured import Cell, SampleSet, StartupFinding
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import wording
from hpcsweep.report.document import Table
from hpcsweep.report.formats.html.links import Link, Links
from hpcsweep.report.wording import NOTHING

ROWS_IN_PAGE = 40
"""Rows of a table that stand in the page: more would delay the first paint, and push the decision out of sight."""

WHOLE_UP_TO = 36
"""Letters of the longest cell that stays on one line; report_tables.js has the same number."""

_FIGURE = re.compile(r"[+-]?\d", re.ASCII)

MAX_FACET_LEVELS = 40
"""An axis with more levels is searched by text, not chosen from a list."""

_SHOWN: tuple[tuple[str, SampleSet], ...] = (
    ("ttft_s", "warm"),
    ("tpot_s", "warm"),
    ("e2e_s", "warm"),
    ("tps", "warm"),
    ("output_throughput", "all"),
    ("output_tps_per_gpu", "all"),
)


@dataclass(frozen=True)
class HtmlTable:
    """A table with a name for the page. `links`: of each row, in a last column; empty: there is no such column."""

    id: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    links: tuple[tuple[Link, ...], ...] = ()

    @property
    def in_page(self) -> int:
        """How many rows stand in the page itself."""
        return min(len(self.rows), ROWS_IN_PAGE)

    def packed_rows(self) -> list[list[object]]:
        """The other rows, as JSON values; with links, the last value of a row is a list of (name, href)."""
        rest: list[list[object]] = [list(row) for row in self.rows[ROWS_IN_PAGE:]]
        for row, links in zip(rest, self.links[ROWS_IN_PAGE:], strict=False):
            row.append([(link.name, link.href) for link in links])
        return rest


@dataclass(frozen=True)
class Facet:
    """Something to choose runs by. `column`: of the table of runs; None: an axis, by its place in `axis`."""

    title: str
    values: tuple[str, ...]
    column: int | None = None
    axis: int | None = None


@dataclass(frozen=True)
class RunTable:
    """Every run and workload. `keys`: of each row the place of its run and of its cell (-1: none) in the findings."""

    table: HtmlTable
    facets: tuple[Facet, ...]
    keys: tuple[tuple[int, int], ...]


def kept_whole(text: str) -> bool:
    """A cell that is not broken over lines: a figure with its interval, or a name without a space."""
    return len(text) <= WHOLE_UP_TO and (" " not in text or _FIGURE.match(text) is not None)


def of_document(table: Table, number: int, caption: str) -> HtmlTable:
    """A table of a chapter, under the heading that is its caption."""
    return HtmlTable(f"t{number}", caption, table.columns, table.rows, table.note)


def run_table(findings: Findings, links: Links) -> RunTable:
    """One row a run and workload; a run that came to no workload has one row."""
    startups = {one.run: one for one in findings.startups}
    cells: dict[str, list[int]] = {}
    for place, cell in enumerate(findings.cells):
        cells.setdefault(cell.run, []).append(place)
    rows, keys, files = [], [], []
    for number, run in enumerate(findings.runs):
        own_links = links.of(run)
        for place in cells.get(run.run, [-1]):
            rows.append(_row(findings, run, startups.get(run.run), findings.cells[place] if place >= 0 else None))
            keys.append((number, place))
            files.append(own_links)
    measures = (f"{METRICS[m].title}{' warm' if c == 'warm' else ''} ({METRICS[m].unit})" for m, c in _SHOWN)
    columns = ("Exp", "Run", "Dataset", "Outcome", "Validity", "Startup", *measures, "Host")
    note = "A mean with its 95% interval in brackets, then n. Warm: without the cold first requests."
    if any(files):
        note += " The last column leads to the files of the attempt that counts."
    if any(files) and links.from_sweep_folder:
        note += f" These links work when this report lies in the sweep's folder, {findings.sweep.sweep_dir}."
    table = HtmlTable("runs", "Runs and workloads", columns, tuple(rows), note, tuple(files) if any(files) else ())
    return RunTable(table, tuple(_facets(findings, rows)), tuple(keys))


def _row(findings: Findings, run: RunFinding, startup: StartupFinding | None, cell: Cell | None) -> tuple[str, ...]:
    variant = findings.index.get(run.variant)
    name = (
        wording.marked(NOTHING, run.simulated) if variant is None else wording.marked(variant.short_name, run.simulated)
    )
    head = (name, run.label, NOTHING if cell is None else cell.workload, wording.outcome(run))
    started = NOTHING if startup is None else wording.seconds(startup.startup_s)
    host = run.host or NOTHING
    if cell is None:
        return (*head, NOTHING, started, *(NOTHING for _ in _SHOWN), host)
    if cell.left_out is not None:
        return (*head, wording.not_applicable(cell.left_out), started, *(NOTHING for _ in _SHOWN), host)
    held = wording.validity_in_short(cell.validity) or "valid"
    return (*head, held, started, *(_measured(cell, metric, condition) for metric, condition in _SHOWN), host)


def _measured(cell: Cell, metric: str, condition: SampleSet) -> str:
    if METRICS[metric].of_samples:
        summary = cell.summary(metric, condition)
        return NOTHING if summary is None else wording.figure(summary.figure())
    return wording.figure(cell.throughput.get(metric))


def _facets(findings: Findings, rows: list[tuple[str, ...]]) -> list[Facet]:
    """Lists to choose from, only where there is a choice."""
    found = []
    for title, column in (("Dataset", 2), ("Outcome", 3)):
        values = tuple(dict.fromkeys(row[column] for row in rows if row[column] != NOTHING))
        found.append(Facet(title, values, column=column))
    for place, (axis, levels) in enumerate(findings.sweep.axes.items()):
        found.append(Facet(axis, tuple(level_name(axis, level) for level in levels), axis=place))
    return [one for one in found if 1 < len(one.values) <= MAX_FACET_LEVELS]

"""Tables of the HTML report: the first rows are in the page, the others are packed and appear on demand."""

from dataclasses import dataclass

from hpcsweep.analysis.compared.variants import level_name
from hpcsweep.analysis.findings import Findings, RunFinding
from hpcsweep.analysis.findings.measured import Cell as MeasuredCell
from hpcsweep.analysis.findings.measured import SampleSet, StartupFinding
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import wording
from hpcsweep.report.document import Cell, Quantity, Table, text_of
from hpcsweep.report.formats.html.links import Link, Links
from hpcsweep.report.wording import NOTHING

ROWS_IN_PAGE = 40
"""Rows of a table that are in the page itself: more would delay the first paint, and move the answer out of sight."""

WHOLE_UP_TO = 36
"""Characters of the longest cell that stays on one line; report_tables.js has the same number."""

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
    """A table with a name for the page. `links`: of each row, for a last column; empty: without that column."""

    id: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    links: tuple[tuple[Link, ...], ...] = ()

    @property
    def in_page(self) -> int:
        """The number of rows in the page itself."""
        return min(len(self.rows), ROWS_IN_PAGE)

    def packed_rows(self) -> list[list[object]]:
        """Return the other rows as JSON values.

        A cell is its text, or [text, value] for a number. With links, the last item of a row is a list of (name, href).
        """
        rest = [[_packed(cell) for cell in row] for row in self.rows[ROWS_IN_PAGE:]]
        for row, links in zip(rest, self.links[ROWS_IN_PAGE:], strict=False):
            row.append([(link.name, link.href) for link in links])
        return rest


@dataclass(frozen=True)
class Facet:
    """A property to choose runs by. `column`: of the table of runs; None: an axis, by its position in `axis`."""

    title: str
    values: tuple[str, ...]
    column: int | None = None
    axis: int | None = None


@dataclass(frozen=True)
class RunTable:
    """Every run and workload. `keys`: the indices of the run and cell of each row in the findings (-1: none)."""

    table: HtmlTable
    facets: tuple[Facet, ...]
    keys: tuple[tuple[int, int], ...]


def _packed(cell: Cell) -> object:
    return [cell.text, cell.value] if isinstance(cell, Quantity) and cell.value is not None else text_of(cell)


def kept_whole(cell: Cell) -> bool:
    """Whether a cell stays on one line: a short quantity, or a short name without a space."""
    text = text_of(cell)
    return len(text) <= WHOLE_UP_TO and (" " not in text or isinstance(cell, Quantity))


def value_of(cell: Cell) -> float | None:
    """Return the number that a cell is sorted by; None for text."""
    return cell.value if isinstance(cell, Quantity) else None


def of_document(table: Table, number: int, caption: str) -> HtmlTable:
    """Return a table of a chapter. The caption is its point; `caption`, the heading above it, if it has none."""
    return HtmlTable(f"t{number}", table.point or caption, table.columns, table.rows, table.note)


def run_table(findings: Findings, links: Links) -> RunTable:
    """Return one row per run and workload; a run without a workload has one row."""
    startups = {startup.run: startup for startup in findings.startups}
    cells: dict[str, list[int]] = {}
    for i, cell in enumerate(findings.cells):
        cells.setdefault(cell.run, []).append(i)
    rows, keys, files = [], [], []
    for number, run in enumerate(findings.runs):
        own_links = links.of(run)
        for i in cells.get(run.run, [-1]):
            rows.append(_row(findings, run, startups.get(run.run), findings.cells[i] if i >= 0 else None))
            keys.append((number, i))
            files.append(own_links)
    titles = (
        f"{METRICS[m].title}{', warm' if c == 'warm' else ''} ({wording.unit(METRICS[m].unit)})" for m, c in _SHOWN
    )
    columns = ("Variant", "Run", "Workload", "Outcome", "Validity", "Startup", *titles, "Host")
    note = "Means with their 95 % CI in brackets, then n. Warm: without the cold first requests."
    if any(files):
        note += " Files: of the last attempt that counts."
    if any(files) and links.from_sweep_folder:
        note += f" The links work if this report is in the folder of the sweep, {findings.sweep.sweep_dir}."
    table = HtmlTable("runs", "Runs and workloads", columns, tuple(rows), note, tuple(files) if any(files) else ())
    return RunTable(table, tuple(_facets(findings, rows)), tuple(keys))


def _row(
    findings: Findings, run: RunFinding, startup: StartupFinding | None, cell: MeasuredCell | None
) -> tuple[Cell, ...]:
    variant = findings.index.get(run.variant)
    name = wording.marked(findings, NOTHING if variant is None else variant.short_name, run.simulated)
    head = (name, run.label, NOTHING if cell is None else cell.workload, wording.outcome(run))
    started = NOTHING if startup is None else wording.time_quantity(startup.startup_s)
    host = run.host or NOTHING
    if cell is None:
        return (*head, NOTHING, started, *(NOTHING for _ in _SHOWN), host)
    if cell.left_out is not None:
        return (*head, wording.not_applicable(cell.left_out), started, *(NOTHING for _ in _SHOWN), host)
    validity = wording.validity_in_short(cell.validity) or "valid"
    return (*head, validity, started, *(_measured(cell, metric, condition) for metric, condition in _SHOWN), host)


def _measured(cell: MeasuredCell, metric: str, condition: SampleSet) -> Quantity:
    if METRICS[metric].of_samples:
        summary = cell.summary(metric, condition)
        return wording.quantity(None if summary is None else summary.figure())
    return wording.quantity(cell.throughput.get(metric))


def _facets(findings: Findings, rows: list[tuple[Cell, ...]]) -> list[Facet]:
    """Return lists to choose from, where there is a choice."""
    facets = []
    for title, column in (("Workload", 2), ("Outcome", 3)):
        values = tuple(dict.fromkeys(text for row in rows if (text := text_of(row[column])) != NOTHING))
        facets.append(Facet(title, values, column=column))
    for i, (axis, levels) in enumerate(findings.sweep.axes.items()):
        facets.append(Facet(axis, tuple(level_name(axis, level) for level in levels), axis=i))
    return [facet for facet in facets if 1 < len(facet.values) <= MAX_FACET_LEVELS]

"""Tables of the HTML report: the first rows are in the page, the others are packed and appear on demand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markupsafe import Markup

from hpcsweep.analysis.compared.variants import level_name
from hpcsweep.analysis.findings import Findings, RunFinding
from hpcsweep.analysis.findings.measured import Cell as MeasuredCell
from hpcsweep.analysis.findings.measured import SampleSet, StartupFinding
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import wording
from hpcsweep.report.document import Cell, Quantity, Table, text_of
from hpcsweep.report.formats.html.links import Link, Links
from hpcsweep.report.formats.html.pack import rounded
from hpcsweep.report.wording import NOTHING
from hpcsweep.units import counted

ROWS_IN_PAGE = 40
"""Rows of a table that are in the page itself: more would delay the first paint, and move the answer out of sight."""

WHOLE_UP_TO = 36
"""Characters of the longest cell that stays on one line; tables.js has the same number."""

_DIGITS = 7  # of the number that a column is sorted by: more than any text shows
_INTERVAL_DIGITS = 5

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

    @cached_property
    def shared(self) -> tuple[dict[str, Any], ...]:
        """The metric, unit and caveats that all figures of a column have: they are in its heading only."""
        return tuple(_shared([row[i] for row in self.rows]) for i in range(len(self.columns)))

    def heading_attributes(self, column: int) -> Markup:
        """Return what all figures of a column have, as attributes."""
        return _attributes(self.shared[column])

    def attributes(self, cell: Cell, column: int) -> Markup:
        """Return the value of a figure and what else hovering over it shows, as attributes; empty for text."""
        if not isinstance(cell, Quantity) or cell.value is None:
            return Markup()
        return _attributes({"value": _short(cell.value), **self._own(cell, column)})

    def packed_rows(self) -> list[list[object]]:
        """Return the other rows as JSON values. With links, the last item of a row is a list of (name, href).

        A cell is its text, [text, value], or [text, value, more]; `more` has the keys n, low, high, metric, unit and
        caveats, as far as they are known and not those of the column.
        """
        rest = [[self._packed(cell, i) for i, cell in enumerate(row)] for row in self.rows[ROWS_IN_PAGE:]]
        for row, links in zip(rest, self.links[ROWS_IN_PAGE:], strict=False):
            row.append([(link.name, link.href) for link in links])
        return rest

    def _packed(self, cell: Cell, column: int) -> object:
        if not isinstance(cell, Quantity) or cell.value is None:
            return text_of(cell)
        own = self._own(cell, column)
        return [cell.text, _short(cell.value), own] if own else [cell.text, _short(cell.value)]

    def _own(self, cell: Quantity, column: int) -> dict[str, Any]:
        shared = self.shared[column]
        own: dict[str, Any] = {"n": cell.n} if cell.n else {}
        if cell.low is not None and cell.high is not None:
            own |= {"low": _short(cell.low, _INTERVAL_DIGITS), "high": _short(cell.high, _INTERVAL_DIGITS)}
        return own | {name: value for name, value in _kind_of(cell).items() if value != shared.get(name, "")}


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


def _kind_of(cell: Quantity) -> dict[str, str]:
    return {"metric": cell.metric, "unit": wording.unit(cell.unit), "caveats": " ".join(cell.caveats)}


def _shared(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return the properties on which all figures agree, without empty ones."""
    kinds = [_kind_of(cell) for cell in cells if isinstance(cell, Quantity) and cell.value is not None]
    first = kinds[0] if kinds else {}
    return {name: value for name, value in first.items() if value and all(kind[name] == value for kind in kinds)}


def _short(value: float, digits: int = _DIGITS) -> float:
    """Return a value for sorting and hovering: more digits than any text shows, in few bytes."""
    rounded_value = rounded(value, digits)
    if rounded_value is None:
        return value
    return int(rounded_value) if rounded_value.is_integer() else rounded_value


def _attributes(values: Mapping[str, Any]) -> Markup:
    return Markup().join(Markup(' data-{}="{}"').format(name, value) for name, value in values.items())


def kept_whole(cell: Cell) -> bool:
    """Whether a cell stays on one line: a short quantity, or a short name without a space."""
    text = text_of(cell)
    return len(text) <= WHOLE_UP_TO and (" " not in text or isinstance(cell, Quantity))


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
    completed = sum(run.measured for run in findings.runs)
    point = f"{completed} of {counted(len(findings.runs), 'run')} completed"
    table = HtmlTable("runs", point, columns, tuple(rows), note, tuple(files) if any(files) else ())
    return RunTable(table, tuple(_facets(findings, rows)), tuple(keys))


def _row(
    findings: Findings, run: RunFinding, startup: StartupFinding | None, cell: MeasuredCell | None
) -> tuple[Cell, ...]:
    variant = findings.index.get(run.variant)
    name = wording.marked(findings, NOTHING if variant is None else variant.short_name, run.simulated)
    head = (name, run.label, NOTHING if cell is None else cell.workload, wording.outcome(run))
    started = NOTHING if startup is None else wording.time_quantity(startup.startup_s, "startup_s")
    host = run.host or NOTHING
    if cell is None:
        return (*head, NOTHING, started, *(NOTHING for _ in _SHOWN), host)
    if cell.left_out is not None:
        return (*head, wording.not_applicable(cell.left_out), started, *(NOTHING for _ in _SHOWN), host)
    validity = wording.validity_in_short(cell.validity) or "valid"
    return (*head, validity, started, *(_measured(cell, metric, condition) for metric, condition in _SHOWN), host)


def _measured(cell: MeasuredCell, metric: str, condition: SampleSet) -> Quantity:
    codes = wording.caveat_codes(cell.validity)
    if METRICS[metric].of_samples:
        summary = cell.summary(metric, condition)
        return wording.quantity(None if summary is None else summary.figure(), metric=metric, caveats=codes)
    return wording.quantity(cell.throughput.get(metric), metric=metric, caveats=codes)


def _facets(findings: Findings, rows: list[tuple[Cell, ...]]) -> list[Facet]:
    """Return lists to choose from, where there is a choice."""
    facets = []
    for title, column in (("Workload", 2), ("Outcome", 3)):
        values = tuple(dict.fromkeys(text for row in rows if (text := text_of(row[column])) != NOTHING))
        facets.append(Facet(title, values, column=column))
    for i, (axis, levels) in enumerate(findings.sweep.axes.items()):
        facets.append(Facet(axis, tuple(level_name(axis, level) for level in levels), axis=i))
    return [facet for facet in facets if 1 < len(facet.values) <= MAX_FACET_LEVELS]

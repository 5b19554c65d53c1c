"""The map of a sweep: its variants by the levels of their axes, a layer per workload and one for startup.

Everything is a typed value; a format decides on colours and words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hpcsweep.analysis.findings import RunFinding, Variant
from hpcsweep.analysis.findings.compared import AxisFinding, Comparison, Effect
from hpcsweep.analysis.findings.measured import Figure, Result
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import wording
from hpcsweep.report.first_screen import FirstScreen
from hpcsweep.report.map_layout import Layout, Place, lay_out
from hpcsweep.report.starts import NOT_STARTED, starts_by_variant

MAX_LAYERS = 6
"""Workloads with a layer of their own."""

MAX_RANKED = 16
"""Rows of the list of a sweep without axes."""

STARTUP_LAYER = "Startup"

Kind = Literal["measured", "failed", "not sent", "waiting", "no value"]
"""What a cell shows. `waiting`: a run has not ended; `no value`: completed, but the metric was not measured."""


@dataclass(frozen=True)
class MapCell:
    """A variant on one layer; of a folded map, the best of `variants`.

    `run`: label of the run to open. `figure`: for `measured` only. `relative`: the figure relative to the best of the
    layer, 1 for the best, whatever direction is better. `text`: outcome, or why the workload was not sent.
    """

    variant: Variant
    variants: int
    run: str
    kind: Kind
    figure: Figure | None
    relative: float | None
    text: str
    recommended: bool
    baseline: bool


@dataclass(frozen=True)
class Layer:
    """The cells of one workload, or of startup. `metric`: a name of `METRICS`; `condition`: `warm` or `all`.

    `cells`: by row and column of the layout; None: no variant has these levels. `ranked`: the same, best first.
    """

    name: str
    metric: str
    condition: str
    cells: tuple[tuple[MapCell | None, ...], ...]
    ranked: tuple[MapCell, ...]


@dataclass(frozen=True)
class SweepMap:
    """The map. `layout` None: the variants have no axes in common, and the layers are lists."""

    layout: Layout | None
    layers: tuple[Layer, ...]


def build_map(screen: FirstScreen) -> SweepMap | None:
    """Arrange the variants by their axes; None: fewer than two variants, or nothing has been run."""
    findings = screen.findings
    if len(findings.variants) < 2 or not any(run.outcome is not None for run in findings.runs):
        return None
    layout = lay_out(findings, influence_of(screen))
    maker = _Cells(screen)
    own = findings.recommendation.workload
    sent = [name for name in findings.sweep.workloads if any(r.workload == name for r in findings.results)]
    workloads = sorted(sent, key=lambda name: name != own)[:MAX_LAYERS]
    layers = [
        _layer(layout, workload, screen.metric, screen.condition, maker.speeds(workload)) for workload in workloads
    ]
    starts = maker.starts()
    if any(cell.figure is not None for cell in starts.values()):
        layers.append(_layer(layout, STARTUP_LAYER, "startup_s", "all", starts))
    return SweepMap(layout, tuple(layers)) if layers else None


def influence_of(screen: FirstScreen) -> dict[str, float]:
    """Return how much each axis changes: its largest effect on the shown metric, or on the share of completed runs.

    Both in percent, so that an axis with a level that never starts comes before one that changes the speed a little.
    """
    return {axis.axis: _influence(screen, axis) for axis in screen.findings.axes}


def _influence(screen: FirstScreen, axis: AxisFinding) -> float:
    completed = [level.completed / level.runs for level in axis.levels if level.runs]
    effects: list[Effect | Comparison] = [effect for level in axis.levels for effect in level.main_effects]
    effects += [comparison for level in axis.levels for comparison in level.one_at_a_time]
    changes = [
        abs(effect.percent.value)
        for effect in effects
        if effect.metric == screen.metric and effect.condition == screen.condition and effect.percent.value is not None
    ]
    return max([0.0, 100 * (max(completed) - min(completed)) if completed else 0.0, *changes])


def relative(value: float, best: float, *, higher_is_better: bool) -> float:
    """Return a value relative to the best one: 1 for the best, 0.5 for half as fast or twice as long."""
    low, high = (value, best) if higher_is_better else (best, value)
    return 1.0 if high == low else low / high if high > 0 else 0.0


class _Cells:
    """Makes the cell of each variant, with the findings indexed."""

    def __init__(self, screen: FirstScreen) -> None:
        self._screen = screen
        self._findings = screen.findings
        self._runs: dict[str, list[RunFinding]] = {}
        for run in self._findings.runs:
            self._runs.setdefault(run.variant, []).append(run)
        self._results: dict[tuple[str, str], Result] = {(r.variant, r.workload): r for r in self._findings.results}
        self._starts = starts_by_variant(self._findings.startups)

    def speeds(self, workload: str) -> dict[str, MapCell]:
        """Return the cells of a workload by variant."""
        cells = {}
        for variant in self._findings.variants:
            result = self._results.get((variant.variant, workload))
            figure = None if result is None else result.mean(self._screen.metric, self._screen.condition)
            left_out = None if result is None else result.left_out
            cells[variant.variant] = self._cell(variant, figure, left_out)
        return _with_relative(cells, self._screen.metric)

    def starts(self) -> dict[str, MapCell]:
        """Return the cells of the startup time by variant: launch to the first token."""
        cells = {}
        for variant in self._findings.variants:
            start = self._starts.get(variant.variant, NOT_STARTED)
            figure = None
            if start.ready_s is not None:
                figure = Figure(start.ready_s, "s", start.starts, "starts", simulated=variant.simulated)
            cells[variant.variant] = self._cell(variant, figure, None)
        return _with_relative(cells, "startup_s")

    def _cell(self, variant: Variant, figure: Figure | None, left_out: str | None) -> MapCell:
        runs = self._runs.get(variant.variant, [])
        known = figure is not None and figure.value is not None
        kind: Kind
        text = wording.status(runs)
        if known:
            kind = "measured"
        elif any(run.outcome is None for run in runs):
            kind = "waiting"
        elif not any(run.measured for run in runs):
            kind = "failed"
        elif left_out is not None:
            kind, text = "not sent", wording.left_out_kind(left_out)
        else:
            kind = "no value"
        shown = next((run for run in runs if run.measured), runs[0] if runs else None)
        return MapCell(
            variant=variant,
            variants=1,
            run="" if shown is None else shown.label,
            kind=kind,
            figure=figure if known else None,
            relative=None,
            text=text,
            recommended=variant.variant == self._findings.recommendation.chosen,
            baseline=variant.is_baseline,
        )


def _with_relative(cells: Mapping[str, MapCell], metric: str) -> dict[str, MapCell]:
    higher = METRICS[metric].higher_is_better
    values = [cell.figure.value for cell in cells.values() if cell.figure is not None and cell.figure.value is not None]
    if not values:
        return dict(cells)
    best = max(values) if higher else min(values)
    return {name: _related(cell, best, higher) for name, cell in cells.items()}


def _related(cell: MapCell, best: float, higher: bool) -> MapCell:
    if cell.figure is None or cell.figure.value is None:
        return cell
    return replace(cell, relative=relative(cell.figure.value, best, higher_is_better=higher))


def _layer(layout: Layout | None, name: str, metric: str, condition: str, by_variant: Mapping[str, MapCell]) -> Layer:
    ranked = tuple(sorted(by_variant.values(), key=_order)[:MAX_RANKED])
    if layout is None:
        return Layer(name, metric, condition, (), ranked)
    rows = tuple(tuple(_of_place(variants, by_variant) for variants in row) for row in layout.places)
    return Layer(name, metric, condition, rows, ranked)


def _order(cell: MapCell) -> tuple[bool, float]:
    return cell.relative is None, -(cell.relative or 0.0)


def _of_place(variants: Place, by_variant: Mapping[str, MapCell]) -> MapCell | None:
    """Return the best cell of a place, in place of all of them; None: it is empty."""
    cells = [by_variant[variant] for variant in variants]
    if not cells:
        return None
    best: Sequence[MapCell] = sorted(cells, key=_order)
    return replace(
        best[0],
        variants=len(cells),
        recommended=any(cell.recommended for cell in cells),
        baseline=any(cell.baseline for cell in cells),
    )

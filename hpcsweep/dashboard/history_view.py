"""One variant over sweeps, hosts and engine versions. Only what can be compared is joined by a line."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpcsweep.analysis.findings.measured import Cell, Figure
from hpcsweep.analysis.measured.cells import build_cells
from hpcsweep.analysis.measured.metrics import METRICS, STARTUP_METRICS
from hpcsweep.analysis.rows import RunRow, SweepRow
from hpcsweep.report import wording
from hpcsweep.report.plain import plain_fields

SCHEMA = "hpcsweep.history/1"
CHOICES = tuple(name for name in METRICS if name not in STARTUP_METRICS)
DEFAULT_METRIC = "tps"
_WIDTH, _HEIGHT, _MARGIN = 640.0, 150.0, 14.0
_LEAST_ROOM = 0.1
"""The plot shows at least this part of the largest value."""


@dataclass(frozen=True)
class Point:
    """The value of one run. `at`: Unix seconds at which it started, or its sweep was submitted."""

    sweep: str
    run: str
    at: float
    host: str
    engine_version: str
    validity: str
    figure: Figure


@dataclass(frozen=True)
class Series:
    """Points that differ in time, host and engine version only."""

    workload: str
    engine: str
    gpu: str
    client: str
    dataset_sha256: str | None
    settings: str
    simulated: bool
    points: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Mark:
    """A point of a plot, in the units of its drawing. `low`, `high`: of its interval; None: it has none."""

    x: float
    y: float
    low: float | None
    high: float | None
    title: str


@dataclass(frozen=True)
class Plot:
    """A series as a drawing of `width` x `height`. `line`: its points as SVG writes them."""

    marks: tuple[Mark, ...]
    line: str
    top: str
    bottom: str
    width: float = _WIDTH
    height: float = _HEIGHT


def history(sweeps: Iterable[SweepRow], metric: str) -> list[Series]:
    """Return the series of a variant's runs, the latest first; runs without a value of the metric are left out."""
    series: dict[Series, list[Point]] = {}
    for sweep in sweeps:
        by_run = {run.run: run for run in sweep.runs}
        for cell in build_cells(sweep.runs):
            figure = _figure(cell, metric)
            run = by_run.get(cell.label)
            if figure is None or run is None:
                continue
            key = Series(
                workload=cell.workload,
                engine=run.engine,
                gpu=cell.gpu_name or run.gpu_type or "",
                client=cell.client,
                dataset_sha256=cell.dataset_sha256,
                settings=json.dumps(cell.settings, sort_keys=True, default=str),
                simulated=cell.simulated,
            )
            series.setdefault(key, []).append(_point(sweep, run, cell, figure))
    joined = [replace(key, points=tuple(sorted(points, key=lambda p: p.at))) for key, points in series.items()]
    return sorted(joined, key=lambda item: -item.points[-1].at)


def _figure(cell: Cell, metric: str) -> Figure | None:
    if not METRICS[metric].of_samples:
        return cell.throughput.get(metric)
    summary = cell.summary(metric, "warm") or cell.summary(metric, "all")
    return None if summary is None else summary.figure()


def _point(sweep: SweepRow, run: RunRow, cell: Cell, figure: Figure) -> Point:
    last = run.last
    return Point(
        sweep=sweep.sweep,
        run=run.run,
        at=last.started_at if last is not None and last.started_at else sweep.submitted_at,
        host=cell.host or wording.NOTHING,
        engine_version=last.versions.get("engine", wording.NOTHING) if last is not None else wording.NOTHING,
        validity=wording.validity_in_short(cell.validity),
        figure=figure,
    )


def plot(points: Sequence[Point]) -> Plot | None:
    """Return the drawing of a series; None: it has fewer than two values."""
    valued = [(point, point.figure.value) for point in points if point.figure.value is not None]
    if len(valued) < 2 or not any(value for _, value in valued):
        return None
    lows = [value if point.figure.low is None else point.figure.low for point, value in valued]
    highs = [value if point.figure.high is None else point.figure.high for point, value in valued]
    bottom, top = min(lows), max(highs)
    room = _LEAST_ROOM * max(abs(bottom), abs(top)) - (top - bottom)
    if room > 0:  # noise must not fill the plot
        bottom, top = bottom - room / 2, top + room / 2

    def y(value: float | None) -> float | None:
        if value is None:
            return None
        return round(_HEIGHT - _MARGIN - (value - bottom) / (top - bottom) * (_HEIGHT - 2 * _MARGIN), 1)

    step = (_WIDTH - 2 * _MARGIN) / (len(valued) - 1)
    marks = []
    for i, (point, value) in enumerate(valued):
        text = f"{point.sweep}, {wording.day(point.at)}, {point.engine_version}: {wording.figure(point.figure)}"
        position = y(value)
        assert position is not None
        marks.append(Mark(round(_MARGIN + i * step, 1), position, y(point.figure.low), y(point.figure.high), text))
    line = " ".join(f"{mark.x},{mark.y}" for mark in marks)
    return Plot(tuple(marks), line, wording.number(top), wording.number(bottom))


def history_json(variant: str, metric: str, series: Sequence[Series]) -> dict[str, Any]:
    """Return the history as JSON values."""
    return {
        "schema": SCHEMA,
        "variant": variant,
        "metric": metric,
        "series": [
            {
                **plain_fields(item, "points", "settings"),
                "settings": json.loads(item.settings),
                "points": [plain_fields(point) for point in item.points],
            }
            for item in series
        ],
    }

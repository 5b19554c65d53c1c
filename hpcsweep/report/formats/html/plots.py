"""The data of the plots of the HTML report as JSON values: figures of the findings, rounded and thinned.

Nothing is averaged here. If samples are thinned, their full number is kept and shown.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from hpcsweep.analysis.columns import Floats
from hpcsweep.analysis.compared.variants import level_name
from hpcsweep.analysis.findings import Findings, RunFinding
from hpcsweep.analysis.findings.compared import AxisFinding, LevelFinding
from hpcsweep.analysis.findings.measured import Cell, Figure, StartupFinding
from hpcsweep.analysis.measured.curves import cumulative, marked_indexes, peaks, thin
from hpcsweep.analysis.measured.metrics import METRICS, SAMPLE_METRICS
from hpcsweep.analysis.measured.samples import measure
from hpcsweep.report import wording
from hpcsweep.report.formats.html.pack import rounded
from hpcsweep.spec.phases import STARTUP_PHASES

MAX_SAMPLES = 40_000
MAX_CURVE_POINTS = 60_000
MAX_READINGS = 60_000
"""Upper bounds on the points of a report, over all runs: they keep 1,000 runs x 1,000 samples in a few megabytes."""

FEWEST, MOST = 20, 400
"""Bounds on the points of one run and workload; more points than the upper bound do not change the plot."""

CURVES = ("ttft_s", "tpot_s", "e2e_s")
SERIES = ("kv_cache_usage", "waiting", "running")

_TIME_DIGITS = 7  # a tenth of a second after a day


def plot_data(findings: Findings) -> dict[str, Any]:
    """Return the data of all plots."""
    startups = {startup.run: startup for startup in findings.startups}
    runs = {run.run: i for i, run in enumerate(findings.runs)}
    sent = sum(cell.left_out is None for cell in findings.cells) or 1
    workloads = list(findings.sweep.workloads)
    return {
        "phases": list(STARTUP_PHASES),
        "workloads": workloads,
        "measures": {
            name: {
                "title": METRICS[name].title,
                "unit": wording.unit(METRICS[name].unit),
                "meaning": METRICS[name].meaning,
            }
            for name in METRICS
        },
        "caveats": {
            reason.code: wording.caveat(reason.code)
            for validity in (*(c.validity for c in findings.cells), *(r.validity for r in findings.results))
            for reason in validity.reasons
        },
        "runs": [_run(findings, run, startups.get(run.run)) for run in findings.runs],
        "cells": [_cell(cell, runs[cell.run], workloads, sent) for cell in findings.cells],
        "effects": list(_effects(findings)),
        "pareto": list(_pareto(findings)),
    }


def _run(findings: Findings, run: RunFinding, startup: StartupFinding | None) -> dict[str, Any]:
    variant = findings.index.get(run.variant)
    axes = findings.sweep.axes
    return {
        "exp": wording.marked(findings, variant.short_name if variant else wording.NOTHING, run.simulated),
        "label": run.label,
        "sim": run.simulated,
        "outcome": wording.outcome(run),
        "ended": run.state.value if run.outcome is None else run.outcome.value.replace("_", " "),
        "axes": [levels.index(run.axes[a]) if run.axes.get(a) in levels else -1 for a, levels in axes.items()],
        "ready_s": None if startup is None else rounded(startup.startup_s, _TIME_DIGITS),
        "phases": [] if startup is None else [_phase(phase) for phase in startup.phases],
    }


def _phase(phase: Any) -> list[Any]:
    """Return the index of the phase, start, length (None: not known), and whether it was completed."""
    index = STARTUP_PHASES.index(phase.phase.value)
    return [index, rounded(phase.start_s, _TIME_DIGITS), rounded(phase.duration_s, _TIME_DIGITS), phase.ended]


def _share(budget: int, cells: int) -> int:
    return min(max(budget // cells, FEWEST), MOST)


def _cell(cell: Cell, run: int, workloads: list[str], cells: int) -> dict[str, Any]:
    body: dict[str, Any] = {
        "run": run,
        "workload": workloads.index(cell.workload) if cell.workload in workloads else -1,
        "n": len(cell.samples),
    }
    if cell.left_out is not None:
        return body
    if len(cell.samples):
        measured = measure(cell.samples)
        cold = measured.good & ~measured.warm
        failed = ~measured.good & ~cell.samples.warmup
        places = thin(len(cell.samples), _share(MAX_SAMPLES, cells), marked_indexes(cold, failed))
        body["samples"] = {
            "sent_s": _numbers(cell.samples.sent_s[places], _TIME_DIGITS),
            **{name: _numbers(measured.matrix[SAMPLE_METRICS.index(name)][places]) for name in SAMPLE_METRICS},
            "marks": "".join(_marks(cold[places], failed[places], cell.samples.warmup[places])),
        }
        chosen = measured.warm if measured.warm.any() else measured.good
        points = _share(MAX_CURVE_POINTS // len(CURVES), cells)
        body["warm"] = bool(measured.warm.any())
        body["curves"] = {name: _curve(measured.values(name, chosen), points) for name in CURVES}
    if cell.telemetry:
        body["telemetry"] = _telemetry(cell, _share(MAX_READINGS // len(SERIES), cells))
    return body


def _marks(cold: Any, failed: Any, warmup: Any) -> Iterator[str]:
    """Yield a letter per sample: w warm, c cold, f failed, u warm-up."""
    for is_cold, is_failed, is_warmup in zip(cold.tolist(), failed.tolist(), warmup.tolist(), strict=True):
        yield "u" if is_warmup else "f" if is_failed else "c" if is_cold else "w"


def _numbers(values: Floats, digits: int = 4) -> list[float | None]:
    return [rounded(value, digits) for value in values.tolist()]


def _curve(values: Floats, points: int) -> dict[str, Any] | None:
    curve = cumulative(values, points)
    return None if curve is None else {"n": curve.n, "x": _numbers(curve.value), "share": _numbers(curve.share)}


def _telemetry(cell: Cell, points: int) -> dict[str, Any]:
    columns = {name: np.array([f.get(name, np.nan) for _, f in cell.telemetry], dtype=np.float64) for name in SERIES}
    keep = [i for values in columns.values() for i in peaks(values, points)]
    places = thin(len(cell.telemetry), points, keep)
    readings = [cell.telemetry[int(i)] for i in places]
    series = {name: [rounded(figures.get(name)) for _, figures in readings] for name in SERIES}
    known = {name: values for name, values in series.items() if any(value is not None for value in values)}
    return {"n": len(cell.telemetry), "t_s": [rounded(t, _TIME_DIGITS) for t, _ in readings], **known}


def _figure(figure: Figure) -> list[float | None]:
    return [rounded(figure.value), rounded(figure.low), rounded(figure.high)]


def _effects(findings: Findings) -> Iterator[dict[str, Any]]:
    """Yield the changes against the reference level by level, metric, condition and workload."""
    for axis in findings.axes:
        for level in axis.levels if len(axis.levels) > 1 else ():
            yield from _level_effects(findings, axis, level)


def _level_effects(findings: Findings, axis: AxisFinding, level: LevelFinding) -> Iterator[dict[str, Any]]:
    reference = "" if axis.reference is None else level_name(axis.axis, axis.reference)
    name = f"{axis.axis}: {reference} → {level_name(axis.axis, level.level)}"
    for comparison in level.one_at_a_time:
        if comparison.percent.value is not None:
            yield {
                "how": "alone",
                "name": wording.marked(findings, name, comparison.simulated),
                "workload": comparison.workload,
                "metric": comparison.metric,
                "condition": comparison.condition,
                "percent": _figure(comparison.percent),
                "verdict": comparison.verdict.value,
                "text": f"{wording.comparison(comparison)}; "
                f"{wording.figure(comparison.variant_value, with_unit=True)} compared with "
                f"{wording.figure(comparison.reference_value, with_unit=True)}",
            }
    for effect in (*level.main_effects, *level.startup):
        if effect.percent.value is not None:
            cache = "" if effect.cache is None else f" (cache {effect.cache})"
            yield {
                "how": "pairs",
                "name": wording.marked(findings, name + cache, effect.percent.simulated),
                "workload": effect.workload or "",
                "metric": effect.metric,
                "condition": effect.condition,
                "percent": _figure(effect.percent),
                "verdict": effect.verdict.value,
                "text": wording.effect(effect),
            }


def _pareto(findings: Findings) -> Iterator[dict[str, Any]]:
    for point in findings.pareto:
        variant = findings.variant(point.variant)
        if point.tps_per_user.value is None or point.tps_per_gpu.value is None:
            continue
        simulated = point.tps_per_user.simulated or point.tps_per_gpu.simulated
        user, gpu = (wording.figure(figure, with_unit=True) for figure in (point.tps_per_user, point.tps_per_gpu))
        better = "" if point.dominated_by is None else findings.variant(point.dominated_by).short_name
        yield {
            "exp": wording.marked(findings, variant.short_name, simulated),
            "short": variant.short_name,
            "name": variant.name,
            "workload": point.workload,
            "user": _figure(point.tps_per_user),
            "gpu": _figure(point.tps_per_gpu),
            "better": better,
            "text": f"{user} per user, {gpu}",
        }

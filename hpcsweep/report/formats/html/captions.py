"""Which plots an HTML report has, and the words that stand around each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Plot:
    """A plot. `caption`: what is drawn and how to read it. `follows_runs`: it draws what the table of runs lists."""

    id: str
    title: str
    caption: str
    follows_runs: bool = True


_TIMELINES = Plot(
    "timelines",
    "Startup timelines",
    "Seconds from the launch of each server, one bar a run, its phases side by side. A hatched phase was not finished: "
    "the start ended in it, at the cross. The tick at the end of a bar: ready, the first answer.",
)
_SAMPLES = Plot(
    "samples",
    "Single requests",
    "One point a request, in the order of sending, on the clock of the attempt. Cold first requests are diamonds, "
    "failed ones crosses on the axis, warm-up requests rings.",
)
_CURVES = Plot(
    "curves",
    "Latency distributions",
    "The share of the successful requests that took at most so long: empirical distributions. Cold first requests are "
    "left out where there are warm ones.",
)
_TELEMETRY = Plot(
    "telemetry",
    "KV cache and queue over time",
    "Readings of the server while it was measured: the share of the KV cache in use, requests that wait (solid) and "
    "requests that run (dotted).",
)
_EFFECTS = Plot(
    "effects",
    "Effects of the settings",
    "Change against the reference level with its 95% interval. Triangles: better (up) or worse (down) by more than "
    "noise (Holm); open circles: no difference seen.",
    follows_runs=False,
)
_PARETO = Plot(
    "pareto",
    "Speed for one user against throughput of a GPU",
    "Means with their 95% intervals, where there are any. The line joins the variants that no other one beats in both "
    "means; further to the right and further up is better.",
    follows_runs=False,
)


def plots_of(data: Mapping[str, Any]) -> tuple[Plot, ...]:
    """The plots for which there is something to draw."""
    drawable = {
        "timelines": any(run["phases"] for run in data["runs"]),
        "effects": bool(data["effects"]),
        "pareto": bool(data["pareto"]),
        "samples": any("samples" in cell for cell in data["cells"]),
        "curves": any(any(cell.get("curves", {}).values()) for cell in data["cells"]),
        "telemetry": any(len(cell.get("telemetry", ())) > 2 for cell in data["cells"]),
    }
    return tuple(plot for plot in (_TIMELINES, _EFFECTS, _PARETO, _SAMPLES, _CURVES, _TELEMETRY) if drawable[plot.id])

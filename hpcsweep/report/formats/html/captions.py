"""The plots of an HTML report, with their titles and captions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Plot:
    """A plot. `caption`: how to read it. `follows_runs`: it shows the runs that the table of runs lists."""

    id: str
    title: str
    caption: str
    follows_runs: bool = True


_TIMELINES = Plot(
    "timelines",
    "Startup timelines",
    "Seconds from the launch of each server, one bar per run, divided into its phases. A start that failed ends with a "
    "cross in a hatched phase. A tick at the end of a bar marks the first answer.",
)
_SAMPLES = Plot(
    "samples",
    "Single requests",
    "One point per request by the time it was sent, on the clock of the attempt. Diamonds: cold first requests; "
    "crosses on the axis: failed requests; rings: warm-up requests.",
)
_CURVES = Plot(
    "curves",
    "Latency distributions",
    "Empirical distributions: the share of successful requests that took at most this long. Cold first requests are "
    "left out if there are warm ones.",
)
_TELEMETRY = Plot(
    "telemetry",
    "KV cache and queue over time",
    "Readings of the server while it was measured: used share of the KV cache, waiting requests (solid) and running "
    "requests (dotted).",
)
_EFFECTS = Plot(
    "effects",
    "Effects of the settings",
    "Change against the reference level with its 95 % CI. Triangles: significantly better (up) or worse (down), "
    "after Holm's correction; open circles: not significantly different.",
    follows_runs=False,
)
FRONT = Plot(
    "pareto",
    "Speed per user and throughput per GPU",
    "Means with their 95 % CI. The line joins the variants that no other variant beats in both means. Higher and "
    "further right is better.",
    follows_runs=False,
)


def plots_of(data: Mapping[str, Any]) -> tuple[Plot, ...]:
    """Return the plots that have something to show."""
    drawable = {
        "timelines": any(run["phases"] for run in data["runs"]),
        "effects": bool(data["effects"]),
        "pareto": bool(data["pareto"]),
        "samples": any("samples" in cell for cell in data["cells"]),
        "curves": any(any(cell.get("curves", {}).values()) for cell in data["cells"]),
        "telemetry": any(len(cell.get("telemetry", ())) > 2 for cell in data["cells"]),
    }
    return tuple(plot for plot in (_TIMELINES, _EFFECTS, FRONT, _SAMPLES, _CURVES, _TELEMETRY) if drawable[plot.id])

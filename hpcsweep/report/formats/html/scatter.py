"""The small plot of the first screen: speed per user against throughput per GPU, as coordinates of an SVG picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpcsweep.analysis.findings import Findings
from hpcsweep.analysis.findings.compared import ParetoPoint
from hpcsweep.report import wording

WIDTH, HEIGHT = 380, 236
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 14, 34
MAX_TICKS = 5
LEAST_SPAN = 0.2
"""The least width of an axis as a share of its largest value: differences within the noise stay small."""

MARGIN = 0.08
MAX_LABELS = 12
LETTER, LINE = 6.2, 12.0


@dataclass(frozen=True)
class Dot:
    """A variant. `x`, `y` and the ends of the intervals in the picture; `label` empty: without one."""

    x: float
    y: float
    bars: tuple[tuple[float, float, float, float], ...]
    title: str
    run: str
    label: str
    label_x: float
    label_y: float
    front: bool
    recommended: bool
    baseline: bool


@dataclass(frozen=True)
class Scatter:
    """The plot of one workload. `slo_x`: left edge of the region that keeps the limit of TPOT; None: none is set."""

    workload: str
    dots: tuple[Dot, ...]
    front: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    slo_x: float | None
    slo: str
    summary: str


@dataclass(frozen=True)
class _Scale:
    """Values of an axis to places in the picture."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Return place and text of round values inside the axis."""
        step = _round_step((self.high - self.low) / MAX_TICKS)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return tuple((self(i * step), wording.fixed(i * step, decimals)) for i in range(first, last + 1))


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= least * (1 - 1e-9))


def scatter(findings: Findings) -> Scatter | None:
    """Return the plot of the objective's workload, else of the first one; None: fewer than two variants have both."""
    known = [
        point
        for point in findings.pareto
        if point.tps_per_user.value is not None and point.tps_per_gpu.value is not None
    ]
    own = findings.recommendation.workload
    workloads = sorted(dict.fromkeys(point.workload for point in known), key=lambda name: name != own)
    for workload in workloads:
        points = [point for point in known if point.workload == workload]
        if len(points) > 1:
            return _draw(findings, workload, points)
    return None


def limits_of(findings: Findings, workload: str) -> dict[str, float]:
    """Return the SLO of a workload as the experiment states it: metric -> seconds; empty: there is none."""
    for cell in findings.cells:
        slo = cell.settings.get("slo")
        if cell.workload == workload and isinstance(slo, dict):
            return {name: float(limit) for name, limit in slo.items() if isinstance(limit, (int, float)) and limit > 0}
    return {}


def _draw(findings: Findings, workload: str, points: Sequence[ParetoPoint]) -> Scatter:
    limits = limits_of(findings, workload)
    least_tps = 1 / limits["tpot_s"] if "tpot_s" in limits else None
    users = [point.tps_per_user.value or 0.0 for point in points]
    x_scale = _scale([*users, *([least_tps] if least_tps is not None else [])], LEFT, WIDTH - RIGHT)
    y_scale = _scale([point.tps_per_gpu.value or 0.0 for point in points], HEIGHT - BOTTOM, TOP)
    front = sorted(
        (x_scale(p.tps_per_user.value or 0.0), y_scale(p.tps_per_gpu.value or 0.0))
        for p in points
        if p.dominated_by is None
    )
    texts = [
        f"{name.removesuffix('_s').upper()} of at most {wording.latency(limit)} s" for name, limit in limits.items()
    ]
    names = ", ".join(findings.variant(point.variant).short_name for point in points if point.dominated_by is None)
    return Scatter(
        workload=workload,
        dots=tuple(_dots(findings, points, x_scale, y_scale)),
        front=" ".join(f"{x},{y}" for x, y in front),
        x_ticks=x_scale.ticks(),
        y_ticks=y_scale.ticks(),
        slo_x=None if least_tps is None else max(float(LEFT), x_scale(least_tps)),
        slo=", ".join(texts),
        summary=f"{len(points)} variants on {workload}; no other variant beats {names} in both.",
    )


def _scale(values: Sequence[float], start: float, end: float) -> _Scale:
    low, high = min(values), max(values)
    span = max(high - low, LEAST_SPAN * abs(high), 1e-9)
    middle = (low + high) / 2
    half = span * (0.5 + MARGIN)
    return _Scale(max(0.0, middle - half), middle + half, start, end)


def _dots(findings: Findings, points: Sequence[ParetoPoint], x_scale: _Scale, y_scale: _Scale) -> list[Dot]:
    """Return the points, with labels on the most important ones as far as they do not overlap."""
    chosen = findings.recommendation.chosen
    taken: list[tuple[float, float, float]] = []
    order = sorted(
        points,
        key=lambda p: (p.variant != chosen, not findings.variant(p.variant).is_baseline, p.dominated_by is not None),
    )
    labels: dict[str, tuple[float, float]] = {}
    for point in order:
        x, y = x_scale(point.tps_per_user.value or 0.0), y_scale(point.tps_per_gpu.value or 0.0)
        width = LETTER * len(findings.variant(point.variant).short_name)
        for label_x, label_y in ((x + 7, y - 5), (x - 7 - width, y - 5), (x + 7, y + 13), (x - 7 - width, y + 13)):
            inside = label_x >= LEFT and label_x + width <= WIDTH and label_y - 4 >= TOP and label_y <= HEIGHT - BOTTOM
            free = all(
                abs(label_y - other_y) >= LINE or label_x + width < other_x or label_x > other_x + other_width
                for other_x, other_y, other_width in taken
            )
            if inside and free and len(labels) < MAX_LABELS:
                labels[point.variant] = (round(label_x, 1), round(label_y, 1))
                taken.append((label_x, label_y, width))
                break
    return [_dot(findings, point, x_scale, y_scale, labels.get(point.variant)) for point in points]


def _dot(
    findings: Findings, point: ParetoPoint, x_scale: _Scale, y_scale: _Scale, label: tuple[float, float] | None
) -> Dot:
    variant = findings.variant(point.variant)
    user, gpu = point.tps_per_user, point.tps_per_gpu
    x, y = x_scale(user.value or 0.0), y_scale(gpu.value or 0.0)
    bars = []
    if user.low is not None and user.high is not None:
        bars.append(
            (_within(x_scale(user.low), LEFT, WIDTH - RIGHT), y, _within(x_scale(user.high), LEFT, WIDTH - RIGHT), y)
        )
    if gpu.low is not None and gpu.high is not None:
        bars.append(
            (x, _within(y_scale(gpu.low), TOP, HEIGHT - BOTTOM), x, _within(y_scale(gpu.high), TOP, HEIGHT - BOTTOM))
        )
    name = wording.marked(findings, variant.short_name, user.simulated)
    return Dot(
        x=x,
        y=y,
        bars=tuple(bars),
        title=f"{name} ({variant.name}): {wording.sentence_figure(user)} per user; {wording.sentence_figure(gpu)}",
        run=next((run.label for run in findings.runs if run.variant == point.variant), ""),
        label=variant.short_name if label else "",
        label_x=label[0] if label else 0.0,
        label_y=label[1] if label else 0.0,
        front=point.dominated_by is None,
        recommended=point.variant == findings.recommendation.chosen,
        baseline=variant.is_baseline,
    )


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)

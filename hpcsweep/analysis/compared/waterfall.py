"""Options added one after the other, as throughput studies present them; and what of it is more than noise."""

import math
from collections.abc import Sequence
from dataclasses import replace

from hpcsweep.analysis.compared.compare import Field, compare_family
from hpcsweep.analysis.compared.variant_grid import Grid
from hpcsweep.analysis.findings import Variant
from hpcsweep.analysis.findings.compared import Comparison, Verdict, Waterfall, WaterfallStep
from hpcsweep.analysis.findings.measured import Figure
from hpcsweep.analysis.measured.results import ASSUMED_RUN_SPREAD
from hpcsweep.analysis.stats.ratios import basis, joint_df, percent_figure


def build_waterfall(field: Field, grid: Grid, variants: Sequence[Variant]) -> Waterfall | None:
    """The path from the baseline over the axes in their order; None: no start, or no axis with two levels.

    At each axis the best level beside the settings kept so far is taken; it is kept if it is better by more than
    noise (corrected over the levels of that step).
    """
    by_id = {variant.variant: variant for variant in variants}
    start = grid.at(grid.reference)
    varied = [axis for axis, levels in grid.axes.items() if len(levels) > 1]
    if start is None or start not in field.sides or not varied:
        return None
    here, steps, claimed = start, [], 1.0
    for axis in varied:
        step = _step(field, grid, by_id, here, axis)
        steps.append(step)
        gain = None if step.comparison is None else step.comparison.percent.value
        if gain is not None:
            ratio = 1 + gain / 100
            claimed *= max(ratio, 1.0) if _higher(step.comparison) else min(ratio, 1.0)
        here = step.variant if step.kept else here
    simulated = any(side.result.simulated for side in field.sides.values())
    face_value = Figure(
        100 * (claimed - 1),
        "%",
        sum(step.comparison is not None for step in steps),
        "steps",
        field.condition,
        simulated=simulated,
        note="every step at face value: no interval",
    )
    total = _total(field, start, here, simulated)
    return Waterfall(field.workload, field.metric, field.condition, start, tuple(steps), total, face_value)


def _higher(comparison: Comparison | None) -> bool:
    return comparison is None or comparison.higher_is_better


def _step(field: Field, grid: Grid, by_id: dict[str, Variant], here: str, axis: str) -> WaterfallStep:
    axes = by_id[here].axes
    before = axes[axis]
    others = [grid.at({**axes, axis: level}) for level in grid.axes[axis] if level != before]
    present = [variant for variant in others if variant is not None]
    reached = [variant for variant in present if variant in field.sides]
    compared = compare_family((field, here, variant) for variant in reached)
    usable = [one for one in compared if one.p_value is not None]
    if not usable:
        why = "; ".join(one.reason for one in compared) or "no other level was measured beside the settings kept so far"
        return WaterfallStep(axis, before, before, here, None, kept=False, reason=why)
    best = max(usable, key=lambda one: (one.percent.value or 0.0) * (1 if one.higher_is_better else -1))
    kept = best.verdict is Verdict.BETTER
    reason = best.reason if kept else f"{best.verdict.value}; {best.reason}"
    return WaterfallStep(axis, before, by_id[best.variant].axes[axis], best.variant, best, kept, reason)


def _total(field: Field, start: str, end: str, simulated: bool) -> Figure:
    """The end of the path against its start, measured directly: the product of the kept steps."""
    unchanged = Figure(0.0, "%", 0, "steps", field.condition, simulated=simulated, note="no option is kept")
    a, b = field.sides[start].estimate, field.sides[end].estimate
    if start == end or a is None or b is None:
        return unchanged
    figure, _ = percent_figure(
        b.log_mean - a.log_mean,
        math.hypot(a.se, b.se),
        joint_df((a, b)),
        n=a.runs + b.runs,
        of="runs",
        condition=field.condition,
        method=basis(a.assumed or b.assumed, ASSUMED_RUN_SPREAD),
        simulated=simulated,
    )
    return replace(figure, note="product of the kept steps")

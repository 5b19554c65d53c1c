"""Options added one after another, as throughput studies present them, with the significant part of the gain."""

import math
from collections.abc import Sequence
from dataclasses import replace

from hpcsweep.analysis.compared.compare import MetricTable, compare_family
from hpcsweep.analysis.compared.ratios import basis, joint_df, percent_figure
from hpcsweep.analysis.compared.variant_index import VariantIndex
from hpcsweep.analysis.findings import Variant
from hpcsweep.analysis.findings.compared import Comparison, Verdict, Waterfall, WaterfallStep
from hpcsweep.analysis.findings.measured import Figure
from hpcsweep.analysis.measured.results import ASSUMED_RUN_SPREAD


def build_waterfall(table: MetricTable, index: VariantIndex, variants: Sequence[Variant]) -> Waterfall | None:
    """Return the path from the baseline over the axes in their order; None: no baseline, or no axis with two levels.

    At each axis the best level is tried with the settings kept so far. It is kept if it is significantly better
    (corrected over the levels of that step).
    """
    by_id = {variant.variant: variant for variant in variants}
    start = index.at(index.reference)
    varied = [axis for axis, levels in index.axes.items() if len(levels) > 1]
    if start is None or start not in table.arms or not varied:
        return None
    here, steps, claimed = start, [], 1.0
    for axis in varied:
        step = _step(table, index, by_id, here, axis)
        steps.append(step)
        gain = None if step.comparison is None else step.comparison.percent.value
        if gain is not None:
            ratio = 1 + gain / 100
            claimed *= max(ratio, 1.0) if _higher(step.comparison) else min(ratio, 1.0)
        here = step.variant if step.kept else here
    simulated = any(arm.result.simulated for arm in table.arms.values())
    face_value = Figure(
        100 * (claimed - 1),
        "%",
        sum(step.comparison is not None for step in steps),
        "steps",
        table.condition,
        simulated=simulated,
        note="every step at face value: no interval",
    )
    total = _total(table, start, here, simulated)
    return Waterfall(table.workload, table.metric, table.condition, start, tuple(steps), total, face_value)


def _higher(comparison: Comparison | None) -> bool:
    return comparison is None or comparison.higher_is_better


def _step(table: MetricTable, index: VariantIndex, by_id: dict[str, Variant], here: str, axis: str) -> WaterfallStep:
    axes = by_id[here].axes
    before = axes[axis]
    others = [index.at({**axes, axis: level}) for level in index.axes[axis] if level != before]
    present = [variant for variant in others if variant is not None]
    reached = [variant for variant in present if variant in table.arms]
    compared = compare_family((table, here, variant) for variant in reached)
    usable = [c for c in compared if c.p_value is not None]
    if not usable:
        why = "; ".join(c.reason for c in compared) or "no other level was measured with the settings kept so far"
        return WaterfallStep(axis, before, before, here, None, kept=False, reason=why)
    best = max(usable, key=lambda c: (c.percent.value or 0.0) * (1 if c.higher_is_better else -1))
    kept = best.verdict is Verdict.BETTER
    reason = best.reason if kept else f"{best.verdict.value}; {best.reason}"
    return WaterfallStep(axis, before, by_id[best.variant].axes[axis], best.variant, best, kept, reason)


def _total(table: MetricTable, start: str, end: str, simulated: bool) -> Figure:
    """Return the end of the path against its start, measured directly."""
    unchanged = Figure(0.0, "%", 0, "steps", table.condition, simulated=simulated, note="no option is kept")
    a, b = table.arms[start].estimate, table.arms[end].estimate
    if start == end or a is None or b is None:
        return unchanged
    figure, _ = percent_figure(
        b.log_mean - a.log_mean,
        math.hypot(a.se, b.se),
        joint_df((a, b)),
        n=a.runs + b.runs,
        of="runs",
        condition=table.condition,
        method=basis(a.assumed or b.assumed, ASSUMED_RUN_SPREAD),
        simulated=simulated,
    )
    return replace(figure, note="product of the kept steps")

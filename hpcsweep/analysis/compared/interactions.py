"""Interactions: where the joint effect of two axes is not the product of their own."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

from hpcsweep.analysis.compared.compare import MetricTable, incomparable
from hpcsweep.analysis.compared.variant_index import VariantIndex
from hpcsweep.analysis.findings.compared import Interaction
from hpcsweep.analysis.measured.results import ASSUMED_RUN_SPREAD
from hpcsweep.analysis.stats.distribution import holm
from hpcsweep.analysis.stats.ratios import SIGNIFICANCE, basis, joint_df, percent_figure


def build_interactions(index: VariantIndex, tables: Sequence[MetricTable]) -> tuple[Interaction, ...]:
    """Every pair of axes and levels for which the grid has all four corners, corrected over the same metric."""
    found: list[tuple[Interaction, float]] = []
    for table in tables:
        start = len(found)
        for axes in itertools.combinations(index.axes, 2):
            changed = [[level for level in index.axes[axis] if level != index.reference[axis]] for axis in axes]
            for levels in itertools.product(*changed):
                one = _interaction(index, table, axes, (levels[0], levels[1]))
                if one is not None:
                    found.append(one)
        for place, p_value in zip(range(start, len(found)), holm([p for _, p in found[start:]]), strict=True):
            found[place] = (replace(found[place][0], seen=p_value < SIGNIFICANCE), p_value)
    return tuple(one for one, _ in found)


def _interaction(
    index: VariantIndex, table: MetricTable, axes: tuple[str, str], levels: tuple[str, str]
) -> tuple[Interaction, float] | None:
    total, variance, estimates = 0.0, 0.0, []
    for corners in index.squares(axes, levels):
        arms = [table.arms.get(corner) for corner in corners]
        present = [arm for arm in arms if arm is not None]
        if len(present) < 4 or any(incomparable(present[0], arm) for arm in present[1:]):
            continue
        known = [arm.estimate for arm in present if arm.estimate is not None]
        if len(known) == 4:
            reference, first, second, both = (one.log_mean for one in known)
            total += both - first - second + reference
            variance += sum(one.se**2 for one in known)
            estimates += known
    squares = len(estimates) // 4
    if not squares:
        return None
    simulated = any(arm.result.simulated for arm in table.arms.values())
    figure, p_value = percent_figure(
        total / squares,
        math.sqrt(variance) / squares,
        joint_df(estimates),
        n=squares,
        of="squares of the grid",
        condition=table.condition,
        method=basis(any(one.assumed for one in estimates), ASSUMED_RUN_SPREAD),
        simulated=simulated,
    )
    return Interaction(axes, levels, table.workload, table.metric, table.condition, figure, seen=False), p_value

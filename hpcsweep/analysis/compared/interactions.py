"""Interactions: joint effects of two axes that differ from the product of their own effects."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

from hpcsweep.analysis.compared.compare import MetricTable, incomparable
from hpcsweep.analysis.compared.ratios import SIGNIFICANCE, basis, joint_df, percent_figure
from hpcsweep.analysis.compared.variant_index import VariantIndex
from hpcsweep.analysis.findings.compared import Interaction
from hpcsweep.analysis.measured.results import ASSUMED_RUN_SPREAD
from hpcsweep.analysis.stats.distribution import holm


def build_interactions(index: VariantIndex, tables: Sequence[MetricTable]) -> tuple[Interaction, ...]:
    """Return every pair of axes and levels for which the grid has all four corners, corrected over the same metric."""
    tested: list[tuple[Interaction, float]] = []
    for table in tables:
        start = len(tested)
        for axes in itertools.combinations(index.axes, 2):
            changed = [[level for level in index.axes[axis] if level != index.reference[axis]] for axis in axes]
            for levels in itertools.product(*changed):
                tested_pair = _interaction(index, table, axes, (levels[0], levels[1]))
                if tested_pair is not None:
                    tested.append(tested_pair)
        for number, p_value in zip(range(start, len(tested)), holm([p for _, p in tested[start:]]), strict=True):
            tested[number] = (replace(tested[number][0], seen=p_value < SIGNIFICANCE), p_value)
    return tuple(interaction for interaction, _ in tested)


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
            reference, first, second, both = (estimate.log_mean for estimate in known)
            total += both - first - second + reference
            variance += sum(estimate.se**2 for estimate in known)
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
        method=basis(any(estimate.assumed for estimate in estimates), ASSUMED_RUN_SPREAD),
        simulated=simulated,
    )
    return Interaction(axes, levels, table.workload, table.metric, table.condition, figure, seen=False), p_value

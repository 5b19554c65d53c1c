"""Interactions: where the joint effect of two axes is not the product of their own."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

from hpcsweep.analysis.compared.compare import Field, incomparable
from hpcsweep.analysis.compared.variant_grid import Grid
from hpcsweep.analysis.findings.compared import Interaction
from hpcsweep.analysis.measured.results import ASSUMED_RUN_SPREAD
from hpcsweep.analysis.stats.distribution import holm
from hpcsweep.analysis.stats.ratios import SIGNIFICANCE, basis, joint_df, percent_figure


def build_interactions(grid: Grid, fields: Sequence[Field]) -> tuple[Interaction, ...]:
    """Every pair of axes and levels for which the grid has all four corners, corrected over the same metric."""
    found: list[tuple[Interaction, float]] = []
    for field in fields:
        start = len(found)
        for axes in itertools.combinations(grid.axes, 2):
            changed = [[level for level in grid.axes[axis] if level != grid.reference[axis]] for axis in axes]
            for levels in itertools.product(*changed):
                one = _interaction(grid, field, axes, (levels[0], levels[1]))
                if one is not None:
                    found.append(one)
        for place, p_value in zip(range(start, len(found)), holm([p for _, p in found[start:]]), strict=True):
            found[place] = (replace(found[place][0], seen=p_value < SIGNIFICANCE), p_value)
    return tuple(one for one, _ in found)


def _interaction(
    grid: Grid, field: Field, axes: tuple[str, str], levels: tuple[str, str]
) -> tuple[Interaction, float] | None:
    total, variance, estimates = 0.0, 0.0, []
    for corners in grid.squares(axes, levels):
        sides = [field.sides.get(corner) for corner in corners]
        present = [side for side in sides if side is not None]
        if len(present) < 4 or any(incomparable(present[0], side) for side in present[1:]):
            continue
        known = [side.estimate for side in present if side.estimate is not None]
        if len(known) == 4:
            reference, first, second, both = (one.log_mean for one in known)
            total += both - first - second + reference
            variance += sum(one.se**2 for one in known)
            estimates += known
    squares = len(estimates) // 4
    if not squares:
        return None
    simulated = any(side.result.simulated for side in field.sides.values())
    figure, p_value = percent_figure(
        total / squares,
        math.sqrt(variance) / squares,
        joint_df(estimates),
        n=squares,
        of="squares of the grid",
        condition=field.condition,
        method=basis(any(one.assumed for one in estimates), ASSUMED_RUN_SPREAD),
        simulated=simulated,
    )
    return Interaction(axes, levels, field.workload, field.metric, field.condition, figure, seen=False), p_value

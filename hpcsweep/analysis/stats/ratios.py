"""Ratios of means on the logarithmic scale: their interval, p value and verdict."""

import math
from collections.abc import Iterable

from hpcsweep.analysis.findings.compared import Verdict
from hpcsweep.analysis.findings.measured import Figure, SampleSet
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.analysis.measured.results import Estimate
from hpcsweep.analysis.stats.distribution import LEVEL, t_quantile, two_sided_p

SIGNIFICANCE = 0.05
"""After Holm's correction."""


def joint_df(estimates: Iterable[Estimate]) -> float:
    """Degrees of freedom of a sum or difference, by Welch and Satterthwaite; a pooled spread keeps its own."""
    every = list(estimates)
    if not any(one.assumed for one in every):
        return min(one.df for one in every)
    doubt = sum(one.se**4 / one.df for one in every if math.isfinite(one.df))
    return float(sum(one.se**2 for one in every) ** 2 / doubt) if doubt else math.inf


def percent_figure(
    centre: float,
    error: float,
    df: float,
    *,
    n: int,
    of: str,
    condition: SampleSet,
    method: str,
    simulated: bool,
) -> tuple[Figure, float]:
    """A log ratio as percent with its interval, and its p value. `error` must be above 0.

    The quantile is taken at whole degrees of freedom, rounded down: a slightly wider interval, computed once.
    """
    whole = max(1.0, math.floor(df)) if math.isfinite(df) else math.inf
    half = t_quantile(0.5 + LEVEL / 2, whole) * error
    percent, low, high = (100 * math.expm1(value) for value in (centre, centre - half, centre + half))
    figure = Figure(percent, "%", n, of, condition, low, high, method=method, simulated=simulated)
    return figure, two_sided_p(centre / error, df)


def verdict_of(metric: str, percent: Figure, p_value: float) -> Verdict:
    """Better or worse when the p value, corrected by the caller, is below `SIGNIFICANCE`."""
    if p_value >= SIGNIFICANCE or not percent.value:
        return Verdict.NO_DIFFERENCE
    return Verdict.BETTER if (percent.value > 0) == METRICS[metric].higher_is_better else Verdict.WORSE


def basis(assumed: bool, share: float) -> str:
    """What an interval rests on, in words."""
    if assumed:
        return f"t on log means; {share:.0%} spread between runs assumed"
    return "t on log means; spread between runs pooled over repeats"

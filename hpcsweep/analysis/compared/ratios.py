"""Ratios of means on the logarithmic scale: their interval, p value and verdict."""

import math
from collections.abc import Iterable

from hpcsweep.analysis.findings.compared import Verdict
from hpcsweep.analysis.findings.measured import Figure, SampleSet
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.analysis.measured.results import Estimate
from hpcsweep.analysis.stats.distribution import LEVEL, t_quantile, two_sided_p

SIGNIFICANCE = 0.05
"""Level of a verdict, after Holm's correction."""


def joint_df(estimates: Iterable[Estimate]) -> float:
    """Return the degrees of freedom of a sum or difference by Welch-Satterthwaite; a pooled spread keeps its own."""
    every = list(estimates)
    if not any(estimate.assumed for estimate in every):
        return min(estimate.df for estimate in every)
    doubt = sum(estimate.se**4 / estimate.df for estimate in every if math.isfinite(estimate.df))
    return float(sum(estimate.se**2 for estimate in every) ** 2 / doubt) if doubt else math.inf


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
    """Return a log ratio as percent with its interval, and its p value. `error` must be above 0.

    The quantile is taken at whole degrees of freedom, rounded down, so that it can be cached. The interval becomes
    slightly wider.
    """
    whole = max(1.0, math.floor(df)) if math.isfinite(df) else math.inf
    half = t_quantile(0.5 + LEVEL / 2, whole) * error
    percent, low, high = (100 * math.expm1(value) for value in (centre, centre - half, centre + half))
    figure = Figure(percent, "%", n, of, condition, low, high, method=method, simulated=simulated)
    return figure, two_sided_p(centre / error, df)


def verdict_of(metric: str, percent: Figure, p_value: float) -> Verdict:
    """Return better or worse where the p value, corrected by the caller, is below `SIGNIFICANCE`."""
    if p_value >= SIGNIFICANCE or not percent.value:
        return Verdict.NO_DIFFERENCE
    return Verdict.BETTER if (percent.value > 0) == METRICS[metric].higher_is_better else Verdict.WORSE


def basis(assumed: bool, share: float) -> str:
    """Return how an interval was computed, in words."""
    if assumed:
        return f"t on log means; {share:.0%} spread between runs assumed"
    return "t on log means; spread between runs pooled over repeats"

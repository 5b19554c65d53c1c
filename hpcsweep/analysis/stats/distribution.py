"""Statistics of small and large samples: summaries, Student's t, Holm's correction, chances by simulation.

Distribution functions come from `scipy.special`, which is imported much faster than `scipy.stats`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from hpcsweep.analysis.columns import Floats

LEVEL = 0.95
"""Confidence level of every interval in a report."""

SEED = 20_251_120
"""Seed of every random draw, so that the same store gives the same report."""

_NEARLY_NORMAL_DF = 100.0  # for draws that only rank; the quantiles differ by less than 1.3%
_MAD_TO_STDEV = 1.4826  # of a normal distribution
_MEDIAN_INTERVAL_FROM = 6  # below, minimum to maximum contains the median in less than 95 % of cases


@dataclass(frozen=True)
class Distribution:
    """Summary of one metric. `low`, `high`: interval of the mean by `interval_of_mean`; None below 2 values."""

    n: int
    mean: float
    median: float
    p90: float
    p99: float
    minimum: float
    maximum: float
    stdev: float | None
    low: float | None
    high: float | None
    median_low: float | None
    median_high: float | None


def describe(matrix: Floats) -> list[Distribution]:
    """Return one summary per row of `matrix`, which has at least one column and finite values only.

    Percentiles interpolate linearly between order statistics, as numpy and `vllm bench serve` do.
    """
    n = matrix.shape[1]
    ordered = np.sort(matrix, axis=1)
    means = matrix.mean(axis=1)
    medians, p90, p99 = (_percentile(ordered, q) for q in (0.5, 0.9, 0.99))
    if n < 2:
        return [Distribution(1, v, v, v, v, v, v, None, None, None, None, None) for v in ordered[:, 0].tolist()]
    stdevs = matrix.std(axis=1, ddof=1)
    low, high = interval_of_mean(means, stdevs, n)
    ranks = median_ranks(n)
    none = [None] * matrix.shape[0]
    columns = (means, medians, p90, p99, ordered[:, 0], ordered[:, -1], stdevs, low, high)
    median_bounds = (
        none if ranks is None else ordered[:, ranks[0]].tolist(),
        none if ranks is None else ordered[:, ranks[1]].tolist(),
    )
    rows = zip(*(column.tolist() for column in columns), *median_bounds, strict=True)
    return [Distribution(n, *row) for row in rows]


def interval_of_mean(means: Floats, stdevs: Floats, n: int) -> tuple[Floats, Floats]:
    """Return Student's t interval of the mean of `n` >= 2 values, on the logarithmic scale (first order).

    Every metric is a time or a rate and cannot be negative. On this scale an interval never reaches below 0, it agrees
    with the interval of a comparison, and it equals the usual one where values are close together. Where the mean is
    0, all values are 0 and the interval has no width.
    """
    relative = np.divide(stdevs, means, out=np.zeros_like(means), where=means > 0) / math.sqrt(n)
    factor = np.exp(t_quantile(0.5 + LEVEL / 2, n - 1) * relative)
    return means / factor, means * factor


def _percentile(ordered: Floats, q: float) -> Floats:
    """Return the percentile of each sorted row; some 50 times as fast as `np.quantile` on the small matrices here."""
    position = q * (ordered.shape[1] - 1)
    below = math.floor(position)
    above = min(below + 1, ordered.shape[1] - 1)
    low, high = ordered[:, below], ordered[:, above]
    interpolated: Floats = low + (high - low) * (position - below)
    return interpolated


@lru_cache(maxsize=4096)
def median_ranks(n: int) -> tuple[int, int] | None:
    """Return the indexes of the order statistics that contain the median with at least 95 % confidence.

    Exact, from the binomial distribution (Conover, Practical Nonparametric Statistics, 3rd ed., 3.2). None below 6
    values.
    """
    if n < _MEDIAN_INTERVAL_FROM:
        return None
    below = special.bdtr(np.arange(n // 2), n, 0.5)
    low = int(np.searchsorted(below, (1 - LEVEL) / 2, side="right"))
    return low - 1, n - low


def t_cdf(t: float, df: float) -> float:
    """Return the probability that Student's t with `df` > 0 degrees of freedom (may be infinite) is at most `t`.

    SciPy takes no int of over 64 bits, so `df` is made a float here and below.
    """
    return float(special.ndtr(t) if math.isinf(df) else special.stdtr(float(df), t))


@lru_cache(maxsize=4096)
def t_quantile(p: float, df: float) -> float:
    """Return the t below which Student's distribution with `df` degrees of freedom has probability `p`."""
    return float(special.ndtri(p) if math.isinf(df) else special.stdtrit(float(df), p))


def two_sided_p(t: float, df: float) -> float:
    """Return the probability of a |t| at least this large under the null hypothesis."""
    return min(1.0, 2 * t_cdf(-abs(t), df))


def power_of_t_test(shift: float, df: float, alpha: float) -> float:
    """Return the power of the two-sided t test at level `alpha` when the true difference is `shift` standard errors.

    The test statistic then follows the noncentral t distribution (Cohen, Statistical Power Analysis, 2nd ed., 1988,
    chapter 12.4).
    """
    df = float(df)
    critical = t_quantile(1 - alpha / 2, df)
    if math.isinf(df):
        return t_cdf(shift - critical, df) + t_cdf(-shift - critical, df)
    return float(1 - special.nctdtr(df, shift, critical) + special.nctdtr(df, shift, -critical))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values adjusted by Holm's step-down method, in the same order."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def middle(values: Floats) -> float:
    """Return the median of at least one value."""
    return float(np.median(values))


def robust_distances(values: Floats) -> Floats:
    """Return each value's distance from the median in robust standard deviations (1.4826 x MAD); inf where MAD is 0."""
    away = np.abs(values - middle(values))
    scale = _MAD_TO_STDEV * middle(away)
    distances: Floats = np.where(away == 0, 0.0, np.inf) if scale == 0 else away / scale
    return distances


@dataclass(frozen=True)
class Trend:
    """A least-squares line through values in their order: `change` from first to last, its interval and p value."""

    change: float
    low: float
    high: float
    p_value: float


def trend(values: Floats) -> Trend | None:
    """Return the linear trend over the order of `values`; None below 5 values or where all are equal."""
    n = len(values)
    if n < 5 or float(np.ptp(values)) == 0:
        return None
    x = np.arange(n) - (n - 1) / 2
    spread = float(x @ x)
    slope = float(x @ values) / spread
    residual = values - values.mean() - slope * x
    se = math.sqrt(float(residual @ residual) / (n - 2) / spread)
    length = n - 1
    if se == 0:
        return Trend(slope * length, slope * length, slope * length, 0.0)
    margin = t_quantile(0.5 + LEVEL / 2, n - 2) * se
    return Trend(slope * length, (slope - margin) * length, (slope + margin) * length, two_sided_p(slope / se, n - 2))


def chances_to_be_best(
    means: Sequence[float], standard_errors: Sequence[float], dfs: Sequence[float], *, draws: int = 4000
) -> list[float]:
    """Return how often each is highest when all are drawn from their t distributions (parametric bootstrap).

    The seed is fixed, so the same figures always give the same chances. They add up to 1.
    """
    if not means:
        return []
    random = np.random.default_rng(SEED)
    best = np.full(draws, -np.inf)
    winner = np.zeros(draws, dtype=np.int64)
    for index, (mean, error, df) in enumerate(zip(means, standard_errors, dfs, strict=True)):
        normal = df >= _NEARLY_NORMAL_DF
        unit = random.standard_normal(draws, np.float32) if normal else random.standard_t(df, draws)
        drawn = mean + error * unit
        ahead = drawn > best
        best[ahead], winner[ahead] = drawn[ahead], index
    return [float(share) for share in np.bincount(winner, minlength=len(means)) / draws]

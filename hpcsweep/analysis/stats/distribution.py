"""Statistics of small and large samples: summaries, Student's t, Holm's correction, chances by simulation.

Student's distribution is computed from the regularised incomplete beta function (NIST DLMF 8.17.22, the continued
fraction, by Lentz's method), so that no further library is needed; tests hold it against published tables.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from hpcsweep.analysis.columns import Floats

LEVEL = 0.95
"""Of every interval in a report."""

SEED = 20_251_120
"""Of everything drawn at random: the same store gives the same report."""

_NORMAL = NormalDist()
_NORMAL_FROM_DF = 10_000.0
_NEARLY_NORMAL_DF = 100.0  # for draws that only rank; the quantiles differ by less than 1.3%
_MAD_TO_STDEV = 1.4826  # of a normal distribution
_MEDIAN_INTERVAL_FROM = 6  # below, even minimum to maximum holds the median in less than 95% of cases


@dataclass(frozen=True)
class Distribution:
    """Summary of one metric: `low`, `high` is the interval of the mean by `interval_of_mean`; None below 2 values."""

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
    """One summary a row of `matrix`; rows have the same, finite values (at least one column).

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
    held = (
        none if ranks is None else ordered[:, ranks[0]].tolist(),
        none if ranks is None else ordered[:, ranks[1]].tolist(),
    )
    rows = zip(*(column.tolist() for column in columns), *held, strict=True)
    return [Distribution(n, *row) for row in rows]


def interval_of_mean(means: Floats, stdevs: Floats, n: int) -> tuple[Floats, Floats]:
    """Student's t interval of the mean of `n` >= 2 values, on the logarithmic scale (first order: relative error).

    Everything in a report is a time or a rate, and cannot be negative. On this scale an interval never reaches below
    0, it agrees with that of a comparison, and it is the usual one where values lie close together. Where the mean is
    0, so are all values: no width.
    """
    relative = np.divide(stdevs, means, out=np.zeros_like(means), where=means > 0) / math.sqrt(n)
    factor = np.exp(t_quantile(0.5 + LEVEL / 2, n - 1) * relative)
    return means / factor, means * factor


def _percentile(ordered: Floats, q: float) -> Floats:
    place = q * (ordered.shape[1] - 1)
    below = math.floor(place)
    above = min(below + 1, ordered.shape[1] - 1)
    low, high = ordered[:, below], ordered[:, above]
    interpolated: Floats = low + (high - low) * (place - below)
    return interpolated


@lru_cache(maxsize=4096)
def median_ranks(n: int) -> tuple[int, int] | None:
    """Indexes of the order statistics that hold the median with at least 95% confidence; None below 6 values.

    Exact binomial for up to 200 values, its normal approximation above.
    """
    if n < _MEDIAN_INTERVAL_FROM:
        return None
    tail = (1 - LEVEL) / 2
    if n > 200:
        low = math.floor(n / 2 + _NORMAL.inv_cdf(tail) * math.sqrt(n) / 2)
        return max(low - 1, 0), min(n - low, n - 1)
    below, low = 0.0, 0
    while below + math.comb(n, low) / 2**n <= tail:
        below += math.comb(n, low) / 2**n
        low += 1
    return low - 1, n - low


def t_cdf(t: float, df: float) -> float:
    """Probability that Student's t with `df` degrees of freedom (any number above 0) is at most `t`."""
    if df > _NORMAL_FROM_DF:
        return _NORMAL.cdf(t)
    if abs(t) < 1:  # near 0 the other form would cancel
        return 0.5 + math.copysign(0.5 * _incomplete_beta(0.5, df / 2, t * t / (df + t * t)), t)
    tail = 0.5 * _incomplete_beta(df / 2, 0.5, df / (df + t * t))
    return 1 - tail if t > 0 else tail


@lru_cache(maxsize=4096)
def t_quantile(p: float, df: float) -> float:
    """The t below which Student's distribution with `df` degrees of freedom has probability `p` (0.5 <= p < 1)."""
    if df > _NORMAL_FROM_DF:
        return _NORMAL.inv_cdf(p)
    low, high = 0.0, 2.0
    while t_cdf(high, df) < p:
        high *= 2
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, df) < p else (low, middle)
    return (low + high) / 2


def two_sided_p(t: float, df: float) -> float:
    """Probability of a |t| at least this large when there is no difference."""
    return min(1.0, 2 * t_cdf(-abs(t), df))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 500):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_zero(1 + numerator * d)
            c = _away_from_zero(1 + numerator / c)
            step = c * d
            fraction *= step
        if abs(step - 1) < 1e-14:
            break
    return front * fraction / a


def _away_from_zero(value: float) -> float:
    return value if abs(value) > 1e-300 else 1e-300


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values adjusted for their number by Holm's step-down method, in the same order."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def middle(values: Floats) -> float:
    """The median of at least one value."""
    ordered = np.sort(values)
    half = len(ordered) // 2
    return float(ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2)


def robust_distances(values: Floats) -> Floats:
    """Distance of each value from the median, in robust standard deviations (1.4826 x MAD); inf where MAD is 0."""
    away = np.abs(values - middle(values))
    scale = _MAD_TO_STDEV * middle(away)
    distances: Floats = np.where(away == 0, 0.0, np.inf) if scale == 0 else away / scale
    return distances


@dataclass(frozen=True)
class Trend:
    """A straight line through values in their order: `change` from first to last, its interval and p value."""

    change: float
    low: float
    high: float
    p_value: float


def trend(values: Floats) -> Trend | None:
    """The linear trend over the order of `values`, by least squares; None below 5 values or where all are equal."""
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
    """How often each comes out highest when all are drawn from their t distributions: a parametric bootstrap.

    One fixed seed, so that the same figures always give the same chances. They add up to 1.
    """
    if not means:
        return []
    random = np.random.default_rng(SEED)
    best = np.full(draws, -np.inf)
    winner = np.zeros(draws, dtype=np.int64)
    for place, (mean, error, df) in enumerate(zip(means, standard_errors, dfs, strict=True)):
        normal = df >= _NEARLY_NORMAL_DF
        unit = random.standard_normal(draws, np.float32) if normal else random.standard_t(df, draws)
        drawn = mean + error * unit
        ahead = drawn > best
        best[ahead], winner[ahead] = drawn[ahead], place
    return [float(share) for share in np.bincount(winner, minlength=len(means)) / draws]

"""Statistics against published tables, numpy, and brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsweep.analysis.stats.distribution import (
    chances_to_be_best,
    describe,
    holm,
    median_ranks,
    power_of_t_test,
    robust_distances,
    t_cdf,
    t_quantile,
    trend,
    two_sided_p,
)

QUANTILES = [  # (p, degrees of freedom, t), from the table of NIST's Engineering Statistics Handbook, 1.3.6.7.2
    pytest.param(0.975, 1, 12.706, id="df 1"),
    pytest.param(0.975, 2, 4.303, id="df 2"),
    pytest.param(0.975, 3, 3.182, id="df 3"),
    pytest.param(0.95, 5, 2.015, id="df 5, one-sided"),
    pytest.param(0.975, 10, 2.228, id="df 10"),
    pytest.param(0.995, 20, 2.845, id="df 20, 99%"),
    pytest.param(0.999, 4, 7.173, id="df 4, far out"),
    pytest.param(0.975, 100, 1.984, id="df 100"),
    pytest.param(0.975, math.inf, 1.960, id="normal"),
]


@pytest.mark.parametrize(("p", "df", "expected"), QUANTILES)
def test_t_quantile_is_the_tables(p, df, expected):
    assert t_quantile(p, df) == pytest.approx(expected, abs=5e-4)


@given(st.floats(0.5, 0.9999), st.floats(0.5, 5000))
def test_quantile_and_distribution_are_inverse(p, df):
    assert t_cdf(t_quantile(p, df), df) == pytest.approx(p, abs=1e-8)


@given(st.floats(-50, 50), st.floats(0.5, 20_000))
def test_the_distribution_is_symmetric(t, df):
    assert t_cdf(t, df) + t_cdf(-t, df) == pytest.approx(1, abs=1e-12)


def test_one_degree_of_freedom_is_cauchy():
    assert t_cdf(2.0, 1) == pytest.approx(0.5 + math.atan(2.0) / math.pi, abs=1e-12)


def test_two_sided_p_of_the_study_book_example():
    assert two_sided_p(2.228, 10) == pytest.approx(0.05, abs=1e-4)
    assert two_sided_p(0.0, 10) == 1.0


@pytest.mark.parametrize(
    ("given_p", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([0.04], [0.04], id="one"),
        pytest.param([0.01, 0.04, 0.03], [0.03, 0.06, 0.06], id="three"),
        pytest.param([0.5, 0.6], [1.0, 1.0], id="never above 1"),
        pytest.param([0.01, 0.01, 0.01, 0.01], [0.04] * 4, id="ties"),
    ],
)
def test_holm(given_p, expected):
    assert holm(given_p) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_keeps_the_order_and_never_lowers(p_values):
    adjusted = holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    assert [a for _, a in sorted(zip(p_values, adjusted, strict=True))] == sorted(adjusted)


@pytest.mark.parametrize("n", [6, 7, 10, 25, 60, 199, 200])
def test_median_ranks_hold_the_median_often_enough(n):
    low, high = median_ranks(n)
    outside = sum(math.comb(n, k) for k in range(low + 1)) / 2**n
    assert high == n - 1 - low
    assert 1 - 2 * outside >= 0.95
    narrower = sum(math.comb(n, k) for k in range(low + 2)) / 2**n
    assert 1 - 2 * narrower < 0.95


def test_median_ranks_of_few_and_of_many():
    assert median_ranks(5) is None
    low, high = median_ranks(1000)
    assert (low, high) == (468, 531)  # exact binomial: 468 and 531 (0-based), 95.4%


@settings(deadline=None)  # the first call is slow on a loaded machine
@given(
    st.lists(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=40).map(tuple), min_size=1, max_size=4).filter(
        lambda rows: len({len(row) for row in rows}) == 1
    )
)
def test_describe_is_numpy(rows):
    matrix = np.array(rows)
    for row, one in zip(matrix, describe(matrix), strict=True):
        assert one.n == len(row)
        assert (one.minimum, one.maximum) == (row.min(), row.max())
        expected = (row.mean(), *np.percentile(row, [50, 90, 99]))
        assert (one.mean, one.median, one.p90, one.p99) == pytest.approx(expected, rel=1e-9)
        if len(row) > 1:
            assert one.stdev == pytest.approx(row.std(ddof=1), rel=1e-9, abs=1e-9)
            assert one.low <= one.mean <= one.high
        else:
            assert one.stdev is one.low is one.high is None


def test_the_interval_of_a_mean_is_students_where_values_are_close_and_never_below_zero():
    close = np.array([[58.29, 58.55, 58.41, 58.47]])
    one = describe(close)[0]
    half = t_quantile(0.975, 3) * one.stdev / 2
    assert (one.low, one.high) == pytest.approx((one.mean - half, one.mean + half), rel=1e-4)
    cold = describe(np.array([[20.61, 0.22, 0.26]]))[0]
    assert 0 < cold.low < 0.5
    assert cold.high > 100
    assert cold.high / cold.mean == pytest.approx(cold.mean / cold.low)


def test_means_of_zero_have_an_interval_without_width():
    one = describe(np.array([[0.0, 0.0, 0.0]]))[0]
    assert (one.low, one.mean, one.high) == (0, 0, 0)


def test_robust_distances():
    far = robust_distances(np.array([1.0, 1.1, 0.9, 1.0, 5.0]))
    assert far[4] > 3.5 > far[1]
    assert robust_distances(np.array([1.0, 1.0, 1.0, 2.0])).tolist() == [0, 0, 0, math.inf]


def test_trend_finds_a_slope_and_leaves_noise_alone():
    line = trend(np.array([1.0, 2.1, 2.9, 4.0, 5.1, 6.0]))
    assert line.change == pytest.approx(5.0, abs=0.1)
    assert line.low < line.change < line.high
    assert line.p_value < 1e-4
    noise = trend(np.array([1.0, 1.2, 0.9, 1.1, 1.0, 1.05]))
    assert noise.p_value > 0.05
    assert trend(np.array([1.0, 2.0, 3.0])) is None
    assert trend(np.full(10, 3.0)) is None
    assert trend(np.arange(5.0)).p_value == 0.0


def test_chances_are_fixed_and_add_up():
    means, errors, dfs = [1.0, 1.1, 0.2], [0.1, 0.1, 0.1], [5, 5, math.inf]
    chances = chances_to_be_best(means, errors, dfs)
    assert chances == chances_to_be_best(means, errors, dfs)
    assert sum(chances) == pytest.approx(1)
    assert chances[1] > chances[0] > chances[2]
    assert chances_to_be_best([], [], []) == []


def test_degrees_of_freedom_beyond_64_bits():
    """Spreads of almost nothing give them, as whole numbers: SciPy before 1.14 refuses those."""
    assert t_quantile(0.975, 10**40) == pytest.approx(1.959964)
    assert two_sided_p(1.959964, 10**40) == pytest.approx(0.05)
    assert power_of_t_test(1.959964, 10**40, 0.05) == pytest.approx(0.5, abs=0.001)

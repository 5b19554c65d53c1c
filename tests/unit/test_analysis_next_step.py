"""What would settle the decision, and the confidence in it, against published tables and values computed by hand."""

import math

import pytest
from study_rows import attempt, run, samples, sweep, workload

from hpcsweep.analysis.decision.next_step import further_repeats
from hpcsweep.analysis.stats.distribution import power_of_t_test
from hpcsweep.analysis.summary import analyse
from hpcsweep.spec.phases import OutcomeKind

# Runs per group of a two-sided, two-sample t test with 80 % power at the 5 % level, by the effect size d:
# Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd ed., 1988, table 2.4.1.
COHEN = [pytest.param(0.5, 64, id="d 0.5"), pytest.param(0.8, 26, id="d 0.8"), pytest.param(1.0, 17, id="d 1.0")]


@pytest.mark.parametrize(("d", "n"), COHEN)
def test_the_number_of_repeats_is_that_of_cohens_table(d, n):
    spread = 0.02
    more = further_repeats(spread, 2 * (2 - 1), (2, 2), math.expm1(d * spread))
    assert 2 + more == n


def test_a_spread_known_for_certain_gives_the_normal_formula():
    # n = 2 (1.960 + 0.842)^2 (0.02 / ln 1.05)^2 = 2 x 7.849 x 0.1680 = 2.64, so 3 runs each
    assert further_repeats(0.02, math.inf, (1, 1), 0.05) == 2


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        # 4 runs each, df 6: shift = ln 1.05 / (0.02 / sqrt 2) = 3.45; t(0.975, 6) = 2.447; power 0.84
        pytest.param((4, 4), 0, id="enough already"),
        # 3 runs each, df 4: shift 2.988; t(0.975, 4) = 2.776; power 0.62, and 4 each give 0.84
        pytest.param((3, 3), 1, id="one more"),
    ],
)
def test_runs_so_far_count(runs, expected):
    df = sum(runs) - 2
    assert further_repeats(0.02, df, runs, 0.05) == expected


def test_more_than_the_limit_is_none():
    assert further_repeats(0.05, 10, (3, 3), 0.001, at_most=50) is None
    assert further_repeats(0.0, 4, (2, 2), 0.02) == 0


def test_power():
    assert power_of_t_test(0.0, 10, 0.05) == pytest.approx(0.05)
    assert power_of_t_test(1.959964 + 0.841621, math.inf, 0.05) == pytest.approx(0.80, abs=1e-4)
    assert power_of_t_test(math.sqrt(17 / 2), 32, 0.05) == pytest.approx(0.807, abs=1e-3)  # d = 1, n = 17


def group(level, seconds, repeats, spread=0.02, **changes):
    runs = []
    for number in range(1, repeats + 1):
        even = 2 * (number - 1) / (repeats - 1) - 1 if repeats > 1 else 0.0
        row = workload("w", samples([(100, seconds * (1 + spread * even))] * 8, tokens=64))
        runs.append(run({"a": level}, [attempt([row], **changes)], repeat=number))
    return runs


def analysed(*groups):
    runs = [one for group in groups for one in group]
    levels = tuple(dict.fromkeys(one.axes["a"] for one in runs))
    return analyse(sweep(runs, {"a": levels}, {"a": "1"}))


def test_two_close_variants_need_more_repeats_and_their_cost_is_stated():
    (step,) = analysed(group("1", 2.0, 3), group("2", 2.005, 3, duration_s=2000.0)).next_steps
    assert (step.code, step.variants) == ("resolve_difference", ("a-1", "a-2"))
    # 8 TPS values of each server are equal; its runs are -2 %, 0, +2 % apart, so the pooled spread is 2 %
    assert step.spread_percent == pytest.approx(2.0, abs=0.01)
    assert (step.difference_percent, step.repeats) == (pytest.approx(5.0), 1)
    assert step.gpu_hours == pytest.approx(1 * 8 * (1000 + 2000) / 3600)
    assert (step.power, step.alpha) == (0.80, 0.05)
    assert step.text == "1 more repeat of E01, E02 (about 6.7 GPU-hours) would resolve a difference of 5%"


def test_an_unknown_spread_is_measured_first():
    (step,) = analysed(group("1", 2.0, 1), group("2", 2.005, 1)).next_steps
    assert (step.code, step.difference_percent, step.spread_percent) == ("measure_spread", None, None)
    assert step.repeats == 2  # 2 x (3 - 1) = 4 degrees of freedom, at least 3 are needed
    assert "would measure the spread between runs" in step.text


def test_unknown_durations_give_no_gpu_hours():
    (step,) = analysed(group("1", 2.0, 1, duration_s=None), group("2", 2.005, 1)).next_steps
    assert step.gpu_hours is None
    assert "GPU-hours" not in step.text


def test_nothing_is_left_to_settle():
    assert analysed(group("1", 2.0, 3), group("2", 1.5, 3)).next_steps == ()
    assert analysed(group("1", 2.0, 3, spread=0.002), group("2", 2.0005, 3, spread=0.002)).next_steps == ()


CONFIDENCE = [  # (groups, level, codes of the reasons)
    pytest.param([("1", 2.0, 3), ("2", 1.5, 3)], "high", [], id="repeated and distinct"),
    pytest.param([("1", 2.0, 3), ("2", 2.005, 3)], "medium", ["close_candidates"], id="close"),
    pytest.param([("1", 2.0, 2), ("2", 1.5, 2)], "medium", ["spread_assumed"], id="two repeats"),
    pytest.param([("1", 2.0, 1), ("2", 1.5, 1)], "low", ["one_run_only"], id="single runs"),
    pytest.param([("1", 2.0, 3), ("2", 1.5, 1)], "low", ["only_variant", "spread_assumed"], id="one valid result"),
]


@pytest.mark.parametrize(("groups", "level", "codes"), CONFIDENCE)
def test_the_confidence_class(groups, level, codes):
    confidence = analysed(*(group(*args) for args in groups)).recommendation.confidence
    assert (confidence.level, [reason.code for reason in confidence.reasons]) == (level, codes)
    assert confidence.text.startswith(f"{level.capitalize()} confidence: ")


def test_variants_without_a_result_lower_the_confidence():
    dead = [run({"a": "3"}, [])]
    confidence = analysed(group("1", 2.0, 3), group("2", 1.5, 3), dead).recommendation.confidence
    assert (confidence.level, confidence.reasons[0].values) == ("medium", {"variants": ["a-3"]})
    assert confidence.text == "Medium confidence: 1 of 3 variants has no result."


def test_gpu_hours_are_those_of_completed_runs_times_the_repeats():
    crashed = run({"a": "1"}, [attempt([], outcome=OutcomeKind.CRASHED, duration_s=9000.0)], repeat=2)
    (step,) = analysed([*group("1", 2.0, 1), crashed], group("2", 2.005, 1)).next_steps
    assert (step.code, step.repeats) == ("measure_spread", 2)
    assert step.gpu_hours == pytest.approx(2 * 8 * (1000 + 1000) / 3600)

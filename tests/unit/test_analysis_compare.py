"""Comparisons, effects, interactions, waterfalls, scaling, Pareto front, regressions between sweeps."""

import itertools
import math
import random
from dataclasses import replace
from statistics import mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_rows import attempt, run, samples, sweep, workload

from hpcsweep.analysis.compared.pareto import _dominators
from hpcsweep.analysis.compared.ratios import joint_df, percent_figure
from hpcsweep.analysis.compared.regressions import compare_sweeps
from hpcsweep.analysis.findings.compared import Verdict
from hpcsweep.analysis.measured.results import Observation, estimate, pool
from hpcsweep.analysis.rows import FactRow
from hpcsweep.analysis.summary import analyse
from hpcsweep.spec.phases import OutcomeKind, Phase


def noisy(seconds, seed, spread=0.005, n=12):
    """n samples around `seconds`, the first one cold."""
    source = random.Random(seed)
    return samples([(100, 3 * seconds), *((100, seconds * source.gauss(1, spread)) for _ in range(n - 1))], tokens=64)


def repeated(axes, seconds, repeats=3, run_spread=0.01, gpus=8, source=None, **changes):
    """Runs of one variant: their servers lie evenly within `run_spread`, or as `source` draws them."""
    runs = []
    for number in range(repeats):
        even = (2 * number / (repeats - 1) - 1) if repeats > 1 else 0.0
        factor = 1 + run_spread * even if source is None else source.gauss(1, run_spread)
        one = noisy(seconds * factor, f"{axes}{number}")
        row = workload("w", one, **changes)
        runs.append(run(axes, [attempt([row])], repeat=number + 1, gpus=gpus))
    return runs


def tps(findings, variant, condition="warm"):
    (found,) = [c for c in findings.comparisons if (c.variant, c.metric, c.condition) == (variant, "tps", condition)]
    return found


def one_axis(levels, **how):
    """An axis `a` with seconds by level; the first level is the baseline."""
    runs = [one for level, seconds in levels.items() for one in repeated({"a": level}, seconds, **how)]
    return analyse(sweep(runs, {"a": tuple(levels)}, {"a": next(iter(levels))}))


VERDICTS = [  # (seconds of the variant, baseline 2 s, repeats, verdict, provisional)
    pytest.param(1.5, 3, Verdict.BETTER, False, id="a third faster"),
    pytest.param(2.6, 3, Verdict.WORSE, False, id="much slower"),
    pytest.param(2.005, 3, Verdict.NO_DIFFERENCE, False, id="the same"),
    pytest.param(1.97, 1, Verdict.NO_DIFFERENCE, True, id="1.5% in single runs"),
    pytest.param(1.0, 1, Verdict.BETTER, True, id="twice as fast in single runs"),
]


@pytest.mark.parametrize(("seconds", "repeats", "verdict", "provisional"), VERDICTS)
def test_verdicts(seconds, repeats, verdict, provisional):
    found = tps(one_axis({"1": 2.0, "2": seconds}, repeats=repeats), "a-2")
    assert (found.verdict, found.provisional) == (verdict, provisional)
    assert found.percent.low < found.percent.value < found.percent.high
    assert found.difference.low < found.difference.value < found.difference.high
    assert verdict is Verdict.NO_DIFFERENCE or (found.percent.value > 0) == (seconds < 2.0)


@pytest.mark.parametrize(
    ("cold_s", "verdict", "code"),
    [
        pytest.param(20.0, Verdict.NOT_COMPARABLE, "cold_requests", id="17.8 of 42 s come from a cold request"),
        pytest.param(2.2, Verdict.WORSE, "", id="a cold request that hardly matters"),
    ],
)
def test_a_throughput_is_judged_only_where_cold_requests_hardly_lower_it(cold_s, verdict, code):
    runs = [
        run({"a": level}, [attempt([workload("w", samples([(100, first)] + [(100, s)] * 10, tokens=64))])], repeat=n)
        for level, first, s in (("1", 2.0, 2.0), ("2", cold_s, 2.2))
        for n in (1, 2, 3)
    ]
    findings = analyse(sweep(runs, {"a": ("1", "2")}, {"a": "1"}))
    (found,) = [c for c in findings.comparisons if c.metric == "output_throughput"]
    assert (found.verdict, found.code) == (verdict, code)
    assert tps(findings, "a-2").verdict is Verdict.WORSE  # warm TPS is judged in both cases


def test_the_spread_between_runs_is_pooled_from_all_variants():
    findings = one_axis({"1": 2.0, "2": 1.9, "3": 2.1}, repeats=3)
    assert "pooled over repeats" in tps(findings, "a-2").percent.method
    single = one_axis({"1": 2.0, "2": 1.9}, repeats=1)
    assert "2% spread between runs assumed" in tps(single, "a-2").percent.method


@pytest.mark.parametrize(
    ("repeats", "run_spread", "sample_spread"), [(3, 0.01, 0.005), (2, 0.0, 0.05), (1, 0.02, 0.02)]
)
def test_intervals_hold_what_they_promise(repeats, run_spread, sample_spread):
    """Two equal variants, a thousand times: 95% of the intervals hold 0. (A single run: where the true spread is the
    assumed one.)"""
    source = random.Random(11)

    def observed():
        server = math.exp(source.gauss(0, run_spread))
        values = [server * source.gauss(1, sample_spread) for _ in range(8)]
        return Observation(mean(values), stdev(values) / mean(values) / math.sqrt(8), 8)

    held = 0
    for _ in range(1000):
        groups = [[observed() for _ in range(repeats)] for _ in range(3)]
        spread = pool(groups)
        a, b = (estimate(group, spread, of_samples=True) for group in groups[:2])
        figure, _ = percent_figure(
            b.log_mean - a.log_mean, math.hypot(a.se, b.se), joint_df((a, b)),
            n=2, of="runs", condition="warm", method="", simulated=False,
        )  # fmt: skip
        held += figure.low < 0 < figure.high
    assert 930 <= held <= 972


def test_many_comparisons_of_nothing_find_nothing():
    source = random.Random(1)
    findings = one_axis({str(n): 2.0 for n in range(40)}, repeats=2, run_spread=0.01, source=source)
    warm = [c for c in findings.comparisons if c.metric == "tps" and c.condition == "warm"]
    assert len(warm) == 39
    assert sum(c.p_value < 0.05 for c in warm) >= 1  # some would be called different one by one
    assert {c.verdict for c in warm} == {Verdict.NO_DIFFERENCE}
    assert all(c.p_adjusted >= c.p_value for c in warm)


def with_change(of_attempt=None, **of_workload):
    """Baseline and a variant whose rows differ in one thing."""
    old = repeated({"a": "1"}, 2.0)
    new = repeated({"a": "2"}, 2.0, **of_workload)
    new = [replace(r, attempts=tuple(replace(a, **(of_attempt or {})) for a in r.attempts)) for r in new]
    return tps(analyse(sweep([*old, *new], {"a": ("1", "2")}, {"a": "1"})), "a-2")


NOT_COMPARABLE = [
    pytest.param({"client": "vllm-bench"}, {}, "different_client", id="client"),
    pytest.param({}, {"gpu_name": "NVIDIA A100"}, "different_gpu", id="GPU"),
    pytest.param({}, {"simulated": True}, "simulated_against_measured", id="simulated"),
]


@pytest.mark.parametrize(("of_workload", "of_attempt", "code"), NOT_COMPARABLE)
def test_what_is_not_comparable_has_a_code(of_workload, of_attempt, code):
    found = with_change(of_attempt, **of_workload)
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert found.p_value is None
    assert found.code == code


def test_a_workload_that_was_left_out_has_no_comparison():
    runs = [*repeated({"a": "1"}, 2.0), run({"a": "2"}, [attempt([workload("w", (), left_out="does not fit")])])]
    findings = analyse(sweep(runs, {"a": ("1", "2")}, {"a": "1"}))
    assert findings.comparisons == ()
    assert [r.left_out for r in findings.results] == [None, "does not fit"]


@pytest.mark.parametrize(
    ("key", "old", "new", "reason"),
    [
        pytest.param("dataset_sha256", "a" * 64, "b" * 64, "different dataset (sha256): ", id="dataset"),
        pytest.param(
            "settings",
            {"arrival": {"max_concurrency": 1}},
            {"arrival": {"request_rate": 2.0, "max_concurrency": None}},
            "different load: concurrency 1 against rate 2.0/s",
            id="load",
        ),
    ],
)
def test_conditions_of_the_workload(key, old, new, reason):
    runs = [*repeated({"a": "1"}, 2.0, **{key: old}), *repeated({"a": "2"}, 2.0, **{key: new})]
    found = tps(analyse(sweep(runs, {"a": ("1", "2")}, {"a": "1"})), "a-2")
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert reason in found.reason


def grid(seconds_of, axes, baseline, **how):
    points = [dict(zip(axes, levels, strict=True)) for levels in itertools.product(*axes.values())]
    runs = [one for point in points for one in repeated(point, seconds_of(point), **how)]
    return analyse(sweep(runs, axes, baseline))


TWO_BY_THREE = {"a": ("1", "2"), "b": ("x", "y", "z")}


def test_main_effects_are_means_over_the_grid():
    findings = grid(
        lambda p: 2.0 * (0.8 if p["a"] == "2" else 1) * (1.3 if p["b"] == "z" else 1),
        TWO_BY_THREE,
        {"a": "1", "b": "x"},
    )
    effects = {
        (axis.axis, e.level): e
        for axis in findings.axes
        for level in axis.levels
        for e in level.main_effects
        if e.metric == "tps" and e.condition == "warm"
    }
    assert effects["a", "2"].percent.value == pytest.approx(25, abs=2)
    assert (effects["a", "2"].percent.n, effects["a", "2"].verdict) == (3, Verdict.BETTER)
    assert effects["b", "z"].percent.value == pytest.approx(-23, abs=2)
    assert effects["b", "y"].verdict is Verdict.NO_DIFFERENCE
    assert not any(one.seen for one in findings.interactions)


def test_an_interaction_is_seen_where_effects_do_not_multiply():
    findings = grid(lambda p: 2.0 * (0.7 if (p["a"], p["b"]) == ("2", "z") else 1), TWO_BY_THREE, {"a": "1", "b": "x"})
    seen = {(one.axes, one.levels) for one in findings.interactions if one.seen}
    assert seen == {(("a", "b"), ("2", "z"))}
    (found,) = [one for one in findings.interactions if one.seen]
    assert found.percent.value == pytest.approx(43, abs=3)


def test_a_waterfall_keeps_what_is_more_than_noise():
    findings = grid(
        lambda p: 2.0 * (0.8 if p["a"] == "2" else 1) * (0.998 if p["b"] == "y" else 1.2 if p["b"] == "z" else 1),
        TWO_BY_THREE,
        {"a": "1", "b": "x"},
    )
    (waterfall,) = findings.waterfalls
    first, second = waterfall.steps
    assert (first.after, first.kept) == ("2", True)
    assert (second.after, second.kept) == ("y", False)
    assert waterfall.total.value == pytest.approx(25, abs=2)
    assert waterfall.total.low > 0
    assert waterfall.claimed.value >= waterfall.total.value - 2


def test_one_at_a_time_from_the_baseline():
    findings = one_axis({"1": 2.0, "2": 1.5})
    (axis,) = findings.axes
    reference, other = axis.levels
    assert (reference.is_reference, other.is_reference) == (True, False)
    assert {c.variant for c in other.one_at_a_time} == {"a-2"}
    assert reference.one_at_a_time == ()
    assert other.main_effects == ()  # one pair says no more than the comparison


def test_load_times_are_compared_with_the_same_state_of_the_compile_cache():
    runs = []
    for level, load, cache in (("1", 100.0, "hit"), ("2", 210.0, "hit"), ("3", 100.0, "miss")):
        facts = (FactRow("load_s", load, "s"), FactRow("compile_cache", cache))
        base = noisy(2.0, level)
        runs.append(run({"a": level}, [attempt([workload("w", base)], facts=facts, startup_s=load + 50)]))
    (axis,) = analyse(sweep(runs, {"a": ("1", "2", "3")}, {"a": "1"})).axes
    effects = {(level.level, e.metric): e for level in axis.levels for e in level.startup}
    assert effects["2", "load_s"].verdict is Verdict.WORSE
    assert ("3", "startup_s") not in effects
    assert ("3", "load_s") in effects


def start(level, seconds, compile_s=None, cache=None, *, repeat=1, **changes):
    """A run of the axis `eager` that needed so long to start."""
    facts = [FactRow("load_s", 0.01 * seconds, "s")]
    facts += [FactRow("compile_s", compile_s, "s")] if compile_s else []
    facts += [FactRow("compile_cache", cache)] if cache else []
    one = attempt([workload("w", noisy(2.0, seconds))], facts=tuple(facts), startup_s=seconds, **changes)
    return run({"eager": level}, [one], repeat=repeat)


def test_what_compiles_nothing_is_compared_with_cold_and_with_warm_starts_apart():
    runs = [start("yes", 30.0), start("no", 90.0, 55.0, "miss"), start("no", 36.0, 6.0, "hit", repeat=2)]
    (axis,) = analyse(sweep(runs, {"eager": ("yes", "no")}, {"eager": "yes"})).axes
    told = {(e.metric, e.cache): (round(e.percent.value), e.percent.n, e.verdict) for e in axis.levels[1].startup}
    assert told == {
        ("startup_s", "miss"): (200, 1, Verdict.WORSE),
        ("startup_s", "hit"): (20, 1, Verdict.NO_DIFFERENCE),
    }


def test_a_time_of_hundredths_of_a_second_is_not_judged():
    runs = [start("yes", 2.0), start("no", 8.0)]  # load: 0.02 and 0.08 s
    (axis,) = analyse(sweep(runs, {"eager": ("yes", "no")}, {"eager": "yes"})).axes
    assert [e.metric for e in axis.levels[1].startup] == ["startup_s"]


def against(old, new):
    """The startup comparisons of the only variant of two sweeps."""
    made = [sweep(runs, {"eager": ("no",)}, {"eager": "no"}, sweep=f"s-{n}") for n, runs in enumerate((old, new))]
    (pair,) = compare_sweeps(*made).pairs
    return {(one.metric, *one.caches): one for one in pair.startups}


def test_two_sweeps_starts_are_compared_in_the_same_state_of_the_cache():
    old = [start("no", 90.0, 55.0, "miss"), start("no", 36.0, 6.0, "hit", repeat=2)]
    found = against(old, [start("no", 37.0, 6.1, "hit"), start("no", 80.0, 30.0, "hit", repeat=2)])
    assert set(found) == {("startup_s", "hit", "hit"), ("compile_s", "hit", "hit")}
    assert (found["startup_s", "hit", "hit"].first.n, found["startup_s", "hit", "hit"].second.n) == (1, 2)
    cold = against(old[:1], old[1:])
    one = cold["compile_s", "miss", "hit"]
    assert (one.verdict, one.reason) == (Verdict.NOT_COMPARABLE, "compile cache: miss against hit")
    assert (one.first.value, one.second.value, round(one.percent.value), one.p_value) == (55.0, 6.0, -89, None)


def test_two_sweeps_a_slower_start_is_worse_but_not_a_regression():
    made = [sweep([start("no", s)], {"eager": ("no",)}, {"eager": "no"}, sweep=f"s-{s}") for s in (100.0, 300.0)]
    found = compare_sweeps(*made)
    told = {(one.metric, one.verdict) for one in found.pairs[0].startups}
    assert told == {("startup_s", Verdict.WORSE), ("load_s", Verdict.WORSE)}
    assert not any("Startup" in text or "Load" in text for text in found.regressions())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gpu_name": "NVIDIA A100-SXM4-80GB"}, "NVIDIA H200 against NVIDIA A100-SXM4-80GB"),
        ({"simulated": True}, "NVIDIA H200 against simulated"),
    ],
)
def test_two_sweeps_starts_on_other_hardware_are_not_comparable(changes, reason):
    found = against([start("no", 90.0)], [start("no", 300.0, **changes)])
    assert {(one.verdict, one.reason) for one in found.values()} == {(Verdict.NOT_COMPARABLE, reason)}


def test_cold_and_warm_compile_cache_side_by_side():
    runs = [
        run(
            {"a": "1"},
            [attempt([workload("w", noisy(2.0, n))], facts=(FactRow("compile_cache", cache),), startup_s=seconds)],
            repeat=n,
        )
        for n, (cache, seconds) in enumerate((("miss", 900.0), ("hit", 200.0), ("hit", 220.0)), 1)
    ]
    (effect,) = analyse(sweep(runs, {"a": ("1",)}, {"a": "1"})).cache_effects
    assert (effect.cold.value, effect.warm.value, effect.warm.n) == (900.0, 210.0, 2)
    assert effect.cold.note == "no interval from one start"


def test_replicas_of_a_smaller_variant_on_the_same_gpus():
    runs = [*repeated({"tp": "8"}, 2.0, gpus=8), *repeated({"tp": "4"}, 3.0, gpus=4)]
    findings = analyse(sweep(runs, {"tp": ("8", "4")}, {"tp": "8"}))
    by_variant = {one.variant: one for one in findings.scaling}
    assert (by_variant["tp-4"].replicas, by_variant["tp-4"].gpus_total) == (2, 8)
    assert by_variant["tp-4"].output_throughput.value > by_variant["tp-8"].output_throughput.value
    assert "not measured" in by_variant["tp-4"].output_throughput.note
    assert [remark.about for remark in findings.remarks if remark.code == "replicas"] == ["tp-4"]
    equal = analyse(sweep(repeated({"tp": "8"}, 2.0), {"tp": ("8",)}, {"tp": "8"}))
    assert equal.scaling == ()


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25))
def test_the_pareto_front_is_what_brute_force_finds(points):
    for place, (found, mine) in enumerate(zip(_dominators(points), points, strict=True)):
        beaten = [o for o in points if o != mine and o[0] >= mine[0] and o[1] >= mine[1]]
        assert (found is None) == (not beaten)
        if found is not None:
            assert points[found] in beaten
            assert found != place


def test_gpu_hours_used_and_wasted():
    done = attempt([workload("w", noisy(2.0, 1))], startup_s=360.0, duration_s=720.0)
    stalled = attempt([], outcome=OutcomeKind.STALLED, phase=Phase.COMPILE, duration_s=1800.0)
    endless = attempt([], outcome=None, phase=None, duration_s=None)
    runs = [
        run({"a": "1"}, [replace(stalled, attempt=1), replace(done, attempt=2)], queued_s=3600.0),
        run({"a": "2"}, [endless]),
    ]
    costs = analyse(sweep(runs, {"a": ("1", "2")}, {"a": "1"})).costs
    assert costs.used.value == pytest.approx(8 * 2520 / 3600)
    assert costs.wasted.value == pytest.approx(4.0)
    assert costs.wasted_by == {"stalled in compile": pytest.approx(4.0)}
    assert costs.startup.value == pytest.approx(0.8)
    assert costs.queued_hours.value == 1.0
    assert "1 attempts without a recorded end" in costs.used.note


def sweeps(old, new, **how):
    make = lambda levels, name: sweep(  # noqa: E731
        [one for level, s in levels.items() for one in repeated({"a": level}, s, **how)],
        {"a": tuple(levels)},
        {"a": "1"},
        sweep=name,
    )
    return compare_sweeps(make(old, "s-0001"), make(new, "s-0002"))


def test_a_regression_between_two_sweeps():
    found = sweeps({"1": 2.0, "2": 2.0}, {"1": 2.0, "2": 3.0})
    regressions = found.regressions()
    assert regressions
    assert all("a=2" in text for text in regressions)
    assert found.regressions(tolerance_percent=60) == []
    assert sweeps({"1": 2.0}, {"1": 1.5}).regressions() == []


def test_a_variant_that_no_longer_completes_is_a_regression():
    old = sweep(repeated({"a": "1"}, 2.0), {"a": ("1",)}, {"a": "1"}, sweep="s-0001")
    dead = attempt([], outcome=OutcomeKind.OUT_OF_MEMORY, phase=Phase.KV_CACHE)
    new = sweep([run({"a": "1"}, [dead], reason="no memory for the cache")], {"a": ("1",)}, {"a": "1"}, sweep="s-0002")
    found = compare_sweeps(old, new)
    assert found.regressions() == ["a=1: completed before, now out_of_memory: no memory for the cache"]
    assert compare_sweeps(new, old).regressions() == []


def test_variants_of_one_sweep_only_are_listed():
    found = sweeps({"1": 2.0, "2": 2.0}, {"1": 2.0, "3": 2.0})
    assert (found.only_first, found.only_second) == (("a=2",), ("a=3",))
    assert len(found.pairs) == 1


def test_the_same_rows_give_the_same_findings():
    runs = repeated({"a": "1"}, 2.0) + repeated({"a": "2"}, 1.9)
    rows = sweep(runs, {"a": ("1", "2")}, {"a": "1"})
    first, second = analyse(rows), analyse(rows)
    assert first.comparisons == second.comparisons
    assert first.recommendation == second.recommendation

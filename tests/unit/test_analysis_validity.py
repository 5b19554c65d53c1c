"""The validity gate: each reason by itself, and what it does to averages and ranks."""

from dataclasses import replace

import pytest
from study_rows import attempt, run, samples, sweep, workload

from hpcsweep.analysis.measured.cells import build_cells
from hpcsweep.analysis.rows import FactRow, WorkloadRow
from hpcsweep.analysis.summary import analyse
from hpcsweep.spec.phases import OutcomeKind, Phase

GOOD = samples([(100, 2.0)] * 10, tokens=64)
ASKED = {"max_tokens": 64, "ignore_eos": True}


def changed(number, **values):
    """GOOD with one sample changed."""
    return tuple(replace(s, **values) if s.index == number else s for s in GOOD)


def aggregates(**figures):
    return {"completed": 1000.0, "output_throughput": 100.0, **figures}


CASES = [  # (what the workload row holds, what the attempt holds, kind expected, status expected)
    pytest.param({"samples": GOOD}, {}, None, "valid", id="nothing to say"),
    pytest.param({"samples": changed(3, error="cut")}, {}, "failed_requests", "invalid", id="1 of 10 failed"),
    pytest.param({"samples": changed(3, completion_tokens=0)}, {}, "zero_outputs", "invalid", id="an empty answer"),
    pytest.param({"samples": changed(3, completion_tokens=60)}, {}, "short_outputs", "invalid", id="a short answer"),
    pytest.param(
        {"samples": changed(3, completion_tokens=60), "settings": {"max_tokens": 64}}, {}, None, "valid",
        id="short is allowed without ignore_eos",
    ),
    pytest.param(
        {"warnings": ("client_limited: loop lag 80 ms",)}, {}, "client_limited", "invalid", id="the client was slow"
    ),
    pytest.param(
        {"warnings": ("client_limited: loop lag 80 ms",)}, {"time_scale": 100.0}, "client_limited", "provisional",
        id="the client was slow on a fast clock",
    ),
    pytest.param({"warnings": ("wrong_model: tiny",)}, {}, "wrong_model", "invalid", id="wrong model"),
    pytest.param(
        {"warnings": ("image_tokens_not_counted",)}, {}, "image_tokens_not_counted", "invalid", id="image tokens"
    ),
    pytest.param({"warnings": ("something else",)}, {}, None, "valid", id="any other warning"),
    pytest.param(
        {"samples": GOOD}, {"facts": (FactRow("other_gpu", "asked for h200, has A100"),)}, "other_gpu", "invalid",
        id="other GPUs than were asked for",
    ),
    pytest.param(
        {"samples": tuple(replace(s, tokens_from="chunks") for s in GOOD)}, {}, "tokens_from_chunks", "provisional",
        id="counted by chunks",
    ),
    pytest.param({"samples": GOOD[:3], "samples_total": 3}, {}, "too_few_samples", "provisional", id="2 warm samples"),
    pytest.param({"samples": GOOD[:6]}, {}, "samples_missing", "invalid", id="6 of 10 recorded"),
    pytest.param({"samples": ()}, {}, "samples_missing", "invalid", id="none recorded"),
    pytest.param(
        {"samples": GOOD[:6]}, {"outcome": OutcomeKind.CRASHED, "phase": Phase.MEASURE}, "engine_died", "invalid",
        id="the engine died in it",
    ),
    pytest.param(
        {"samples": GOOD[:6]}, {"outcome": OutcomeKind.WALLTIME, "phase": Phase.MEASURE}, "ended_early", "invalid",
        id="the walltime ended it",
    ),
    pytest.param(
        {"samples": GOOD}, {"outcome": OutcomeKind.CRASHED, "phase": Phase.MEASURE}, "attempt_not_completed",
        "provisional", id="the engine died after it",
    ),
    pytest.param({"samples": GOOD[:6]}, {"outcome": None}, "ended_early", "invalid", id="it still runs"),
    pytest.param(
        {"samples": (), "client_figures": aggregates(failed=50.0)}, {}, "failed_requests", "invalid",
        id="aggregates with failures",
    ),
    pytest.param({"samples": (), "client_figures": aggregates()}, {}, None, "valid", id="aggregates alone"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "of_attempt", "kind", "status"), CASES)
def test_the_gate(row, of_attempt, kind, status):
    values = {"samples": GOOD, "samples_total": 10, "durations_s": (20.0,), "settings": ASKED} | row
    (cell,) = build_cells([run({"a": "1"}, [attempt([WorkloadRow("w", **values)], **of_attempt)])])
    assert cell.validity.status == status
    assert [reason.code for reason in cell.validity.reasons] == ([] if kind is None else [kind])


def test_a_few_failures_among_many_are_a_remark():
    many = samples([(100, 2.0)] * 200, tokens=64)
    one_failed = tuple(replace(s, error="cut") if s.index == 7 else s for s in many)
    findings = analyse(sweep([run({"a": "1"}, [attempt([workload("w", one_failed)])])], {"a": ("1",)}, {"a": "1"}))
    assert findings.cells[0].validity.status == "valid"
    (remark,) = [r for r in findings.remarks if r.code == "failed_requests"]
    assert (remark.values, remark.text) == ({"workload": "w", "failed": 1}, "a-1, w: 1 request failed (1 cut)")


def two_variants(first, second, **changes):
    rows = [workload("w", found, **changes) for found in (first, second)]
    runs = [
        run({"a": level}, [attempt([row])], repeat=repeat)
        for level, row in zip(("1", "2"), rows, strict=True)
        for repeat in (1, 2)
    ]
    return analyse(sweep(runs, {"a": ("1", "2")}, {"a": "1"}))


def test_prompt_lengths_that_differ_between_runs_are_a_reason_with_the_numbers():
    longer = tuple(replace(s, prompt_tokens=130) for s in GOOD)
    findings = two_variants(GOOD, longer)
    other = [cell for cell in findings.cells if cell.variant == "a-2"]
    assert all(cell.validity.status == "invalid" for cell in other)
    assert other[0].validity.reasons[0].values == {
        "prompts": 10, "sample": "s_1", "tokens": 130.0, "reference_tokens": 100.0,
    }  # fmt: skip
    assert {c.verdict.value for c in findings.comparisons} == {"not comparable"}


def test_prompts_are_matched_by_sample_not_by_position():
    findings = two_variants(GOOD, tuple(reversed(GOOD)))
    assert all(cell.validity.status == "valid" for cell in findings.cells)


def test_another_number_of_generated_tokens_is_not_ranked():
    runs = [
        run({"a": level}, [attempt([workload("w", samples([(100, 2.0)] * 10, tokens=tokens))])], repeat=repeat)
        for level, tokens in (("1", 64), ("2", 64), ("3", 48))
        for repeat in (1, 2)
    ]
    findings = analyse(sweep(runs, {"a": ("1", "2", "3")}, {"a": "1"}))
    status = {result.variant: result.validity for result in findings.results}
    assert status["a-1"].status == status["a-2"].status == "valid"
    assert [reason.code for reason in status["a-3"].reasons] == ["generated_tokens_differ"]
    ranks = {candidate.variant: candidate.rank for candidate in findings.recommendation.candidates}
    assert ranks["a-3"] is None
    assert {ranks["a-1"], ranks["a-2"]} == {1, 2}
    assert any(r.mean("tps", "all").value == 24.0 for r in findings.results)  # it stays visible


def test_an_invalid_run_is_excluded_and_the_others_are_averaged():
    broken = changed(2, error="http_error")
    runs = [
        run({"a": "1"}, [attempt([workload("w", found)])], repeat=n) for n, found in enumerate((GOOD, GOOD, broken), 1)
    ]
    (result,) = analyse(sweep(runs, {"a": ("1",)}, {"a": "1"})).results
    assert result.set_aside == ("a-1_r3",)
    assert (result.mean("tps", "warm").n, result.mean("tps", "warm").of) == (2, "runs")
    assert result.validity.status == "valid"


def test_samples_are_counted_over_all_runs():
    few = samples([(100, 2.0)] * 3, tokens=64)
    runs = [run({"a": "1"}, [attempt([workload("w", few)])], repeat=n) for n in (1, 2)]
    findings = analyse(sweep(runs, {"a": ("1",)}, {"a": "1"}))
    assert [cell.validity.status for cell in findings.cells] == ["provisional"] * 2
    assert findings.results[0].validity.status == "valid"  # 2 x 2 warm samples


def test_the_reasons_of_several_runs_are_given_once():
    rows = [
        workload("w", GOOD, warnings=("client_limited: 1 ms",)),
        workload("w", GOOD, warnings=("client_limited: 2 ms",)),
    ]
    runs = [run({"a": "1"}, [attempt([row], time_scale=10.0)], repeat=n) for n, row in enumerate((*rows, rows[0]), 1)]
    (result,) = analyse(sweep(runs, {"a": ("1",)}, {"a": "1"})).results
    (reason,) = result.validity.reasons
    assert reason.text.endswith("(in 3 of 3 runs)")


def test_one_run_only_is_provisional():
    (result,) = analyse(sweep([run({"a": "1"}, [attempt([workload("w", GOOD)])])], {"a": ("1",)}, {"a": "1"})).results
    assert [reason.code for reason in result.validity.reasons] == ["one_run_only"]
    assert not result.validity.ranked

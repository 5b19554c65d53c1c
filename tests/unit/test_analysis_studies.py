"""The published studies, rebuilt from their own numbers, and what they missed."""

import pytest
from study_rows import a100_study, h200_study

from hpcsweep.analysis.decision.commands import lost_flags
from hpcsweep.analysis.findings.compared import Verdict
from hpcsweep.analysis.summary import analyse
from hpcsweep.check.recomputed.log_windows import log_window

PRODUCTION_COMMAND = r"""
vllm serve zai-org/GLM-4.6 \
    --tensor-parallel-size 8 \
    --enable-expert-parallel \
    --enforce-eager \
    --dtype bfloat16 \
    --kv-cache-dtype fp8 \
    --gpu-memory-utilization 0.95 \
    --max-model-len 32768 \      # or 65536 for long context
    --max-num-seqs 8 \
    --max-num-batched-tokens 32768 \
    --enable-chunked-prefill \
    --enable-prefix-caching \
    --swap-space 32 \
    --trust-remote-code
"""


@pytest.fixture(scope="module")
def h200():
    return analyse(h200_study())


@pytest.fixture(scope="module")
def a100():
    return analyse(a100_study())


H200_TABLE = [  # (variant, workload, TPS and latency as the study averages them, TPS of warm samples)
    pytest.param("ep-on_eager-yes_len-32k", "8k", 8.69, 58.9, 8.76, id="1A"),
    pytest.param("ep-on_eager-yes_len-8k", "8k", 7.93, 65.8, 8.68, id="3A"),
    pytest.param("ep-on_eager-yes_len-64k", "8k", 8.02, 65.1, 8.755, id="3C 8k"),
    pytest.param("ep-on_eager-yes_len-64k", "64k", 8.54, 60.0, 8.77, id="3C 64k"),
]


@pytest.mark.parametrize(("variant", "workload", "tps", "latency", "warm"), H200_TABLE)
def test_the_summary_table_of_the_h200_study(h200, variant, workload, tps, latency, warm):
    (result,) = [r for r in h200.results if (r.variant, r.workload) == (variant, workload)]
    assert result.mean("tps", "all").value == pytest.approx(tps, abs=0.01)
    assert result.mean("e2e_s", "all").value == pytest.approx(latency, abs=0.06)
    assert result.mean("tps", "warm").value == pytest.approx(warm, abs=0.01)
    assert result.mean("tps", "all").n == result.mean("tps", "warm").n + 1


def against_baseline(findings, variant, condition, metric="tps", workload="8k"):
    (found,) = [
        c
        for c in findings.comparisons
        if (c.variant, c.condition, c.metric, c.workload) == (variant, condition, metric, workload)
    ]
    return found


@pytest.mark.parametrize(("variant", "over_all"), [("ep-on_eager-yes_len-8k", -8.7), ("ep-on_eager-yes_len-64k", -7.8)])
def test_a_cold_first_request_makes_the_difference_that_the_study_saw(h200, variant, over_all):
    everything, warm = (against_baseline(h200, variant, condition) for condition in ("all", "warm"))
    assert everything.percent.value == pytest.approx(over_all, abs=0.05)
    assert abs(warm.percent.value) < 1
    assert everything.verdict is warm.verdict is Verdict.NO_DIFFERENCE
    assert warm.provisional
    (remark,) = [r for r in h200.remarks if r.code == "cold_in_average" and r.about == variant]
    assert remark.values["all_percent"] == everything.percent.value
    assert remark.values["warm_percent"] == warm.percent.value
    assert remark.values["cold_s"] == {"ep-on_eager-yes_len-8k": 79.46, "ep-on_eager-yes_len-64k": 78.34}[variant]
    assert f"{over_all}%" in remark.text


def test_a_throughput_with_a_cold_request_in_it_yields_no_verdict(h200):
    throughput = against_baseline(h200, "ep-on_eager-yes_len-8k", "all", "output_throughput")
    assert throughput.percent.value == pytest.approx(-10.5, abs=0.1)
    assert (throughput.verdict, throughput.code, throughput.p_value) == (Verdict.NOT_COMPARABLE, "cold_requests", None)
    (result,) = [r for r in h200.results if (r.variant, r.workload) == ("ep-on_eager-yes_len-8k", "8k")]
    assert result.headline("tps").condition == "warm"
    assert [request.sample for request in result.cold] == ["8k_1"]


def test_the_cold_samples_are_named(h200):
    cold = {(cell.label, cell.workload): cell.cold[0] for cell in h200.cells if cell.cold}
    slow = cold["ep-on_eager-yes_len-8k", "8k"]
    assert (slow.sample, slow.kind) == ("8k_1", "first_of_server")
    assert slow.slower_by == pytest.approx(79.46 / 58.975)
    assert cold["ep-on_eager-yes_len-64k", "64k"].kind == "first_of_shape"


def test_a_workload_that_does_not_fit_is_no_failure(h200):
    fits = {(r.variant, r.left_out) for r in h200.results if r.workload == "64k"}
    assert ("ep-on_eager-yes_len-32k", "does not fit") in fits
    assert ("ep-on_eager-yes_len-64k", None) in fits
    assert all(r.validity.status == "valid" for r in h200.results if r.left_out)


def test_loading_without_expert_parallelism_is_slower_though_the_run_failed(h200):
    (axis,) = [axis for axis in h200.axes if axis.axis == "ep"]
    off = next(level for level in axis.levels if level.level == "off")
    (load,) = [effect for effect in off.startup if effect.metric == "load_s"]
    assert load.percent.value == pytest.approx(100)
    assert load.verdict is Verdict.WORSE
    assert off.outcomes == {"startup_timeout in load_weights": 1}


def test_single_runs_are_not_ranked_and_the_recommendation_is_per_workload(h200):
    advice = h200.recommendation
    assert advice.chosen == "ep-on_eager-yes_len-64k"  # the only one that serves both workloads
    assert advice.provisional
    assert advice.per_workload
    assert all(candidate.rank is candidate.chance_best is None for candidate in advice.candidates)
    on_64k = next(s for s in advice.statements if s.code == "no_result_on_workload")
    assert on_64k.values["workload"] == "64k"
    assert on_64k.values["variants"] == ["ep-on_eager-yes_len-32k", "ep-on_eager-yes_len-8k"]
    assert advice.confidence.level == "low"
    assert {"one_run_only", "too_few_samples", "only_variant", "variants_without_result"} == {
        reason.code for reason in advice.confidence.reasons
    }
    assert {best.workload: best.chosen for best in advice.by_workload}["8k"] == "ep-on_eager-yes_len-32k"
    missing = " ".join(advice.not_measured)
    assert "startup_timeout in compile" in missing
    assert "KV cache dtype auto was not run" in missing
    assert "7 of 12 combinations" in missing


def test_the_production_command_loses_six_flags():
    (lost,) = lost_flags(PRODUCTION_COMMAND)
    assert lost.line == 9
    assert lost.flags == (
        "--max-num-seqs",
        "--max-num-batched-tokens",
        "--enable-chunked-prefill",
        "--enable-prefix-caching",
        "--swap-space",
        "--trust-remote-code",
    )


@pytest.mark.parametrize(
    ("stated", "prompt", "is_window"),
    [
        pytest.param(610, 6101, True, id="6k prompt"),
        pytest.param(4749, 47490, True, id="47k prompt"),
        pytest.param(518, 6101, False, id="another rate"),
        pytest.param(610, 0, False, id="no prompt"),
    ],
)
def test_prompt_throughput_is_a_log_window(stated, prompt, is_window):
    assert (log_window(stated, prompt) is not None) == is_window


def test_the_gain_of_batched_tokens_is_noise(a100):
    (waterfall,) = a100.waterfalls
    assert waterfall.claimed.value == pytest.approx(1.31, abs=0.01)  # the study's +1.3%
    assert waterfall.total.value == 0
    ep, batched = waterfall.steps
    assert (ep.kept, batched.kept) == (False, False)
    assert ep.comparison.percent.value == pytest.approx(-2.94, abs=0.01)
    assert batched.after == "8k"
    assert batched.comparison.percent.low < 0 < batched.comparison.percent.high
    assert batched.comparison.verdict is Verdict.NO_DIFFERENCE


def test_the_a100_recommendation_is_the_plain_command(a100):
    advice = a100.recommendation
    assert advice.best == "ep-off_batched_tokens-8k"
    assert advice.chosen == "ep-off_batched_tokens-default"
    assert "is_baseline" in {statement.code for statement in advice.statements}
    assert advice.provisional


def test_the_printed_throughputs_are_kept_and_divided_by_gpus(a100):
    result = next(r for r in a100.results if r.variant == "ep-off_batched_tokens-default")
    assert result.mean("total_throughput", "all").value == 2788.21
    assert result.mean("total_tps_per_gpu", "all").value == pytest.approx(2788.21 / 8)
    assert result.mean("ttft_s", "all").value == pytest.approx(51.0228)
    assert [reason.code for reason in result.validity.reasons] == ["one_run_only"]

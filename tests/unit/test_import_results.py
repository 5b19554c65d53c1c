"""Result files of other tools: single requests, summaries, several objects in one file."""

import json
from pathlib import Path

import pytest

from hpcsweep.check.findings import ClaimVerdict
from hpcsweep.check.recomputed.result_blocks import recompute
from hpcsweep.imports.read_document import read_text

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
VLLM = json.loads((TRANSCRIPTS / "vllm-bench" / "eager512-c4.json").read_text(encoding="utf-8"))
DETAILS = ("input_lens", "output_lens", "ttfts", "itls", "generated_texts", "errors", "start_times", "latencies")


def read(*objects, separator="\n"):
    return read_text(separator.join(json.dumps(one) for one in objects), "r.json")


def without(*names, **changes):
    return {name: value for name, value in VLLM.items() if name not in names} | changes


def test_a_detailed_result_is_reduced_again_and_gives_its_own_summary():
    (found,) = read(VLLM).benchmarks
    findings = recompute(found)
    assert len(found.samples) == 16
    assert len(findings) >= 38
    assert {one.verdict for one in findings} == {ClaimVerdict.CONFIRMED}


FORMS = [
    pytest.param(VLLM, 16, id="0.32, detailed"),
    pytest.param(without(*DETAILS, "queue_times"), 0, id="0.32, summary"),
    pytest.param(without("latencies", "start_times", "failed", "rtfx", "queue_times"), 16, id="0.11, detailed"),
]


@pytest.mark.parametrize(("result", "samples"), FORMS)
def test_every_form_is_read_and_adds_up(result, samples):
    (found,) = read(result).benchmarks
    assert len(found.samples) == samples
    assert {one.verdict for one in recompute(found)} == {ClaimVerdict.CONFIRMED}


def test_appended_results_and_a_torn_end():
    whole = read(without(label="a"), without(label="b"), [without(label="c")])
    assert [one.label.split()[0] for one in whole.benchmarks] == ["a", "b", "c"]
    torn = read_text(json.dumps(VLLM) + "\n" + json.dumps(VLLM)[:500], "r.json")
    assert len(torn.benchmarks) == 1
    assert torn.skipped[0].what == "the rest of the file"
    assert torn.skipped[0].location.line == 2


def test_metadata_stands_in_the_label():
    (found,) = read(VLLM).benchmarks
    assert found.label == "tiny eager=1 len=512"


TAMPERED = [
    pytest.param({"output_throughput": 4.0}, {"output_throughput"}, id="a throughput"),
    pytest.param({"mean_ttft_ms": 4000.0}, {"mean_ttft_ms"}, id="a mean"),
    pytest.param({"p99_tpot_ms": 3000.0}, {"p99_tpot_ms"}, id="a percentile"),
]


@pytest.mark.parametrize(("changes", "names"), TAMPERED)
def test_a_summary_that_its_requests_do_not_give(changes, names):
    (found,) = read(VLLM | changes).benchmarks
    assert {one.claim.split(" ")[0] for one in recompute(found) if one.verdict is ClaimVerdict.WRONG} == names


def test_details_that_do_not_fit_together_are_told():
    found = read(without(ttfts=VLLM["ttfts"][:-1]))
    assert found.benchmarks[0].samples == ()
    assert found.skipped[0].what == "details of single requests"


def test_sglang_jsonl():
    result = {
        "backend": "sglang", "dataset_name": "random", "request_rate": "inf", "duration": 10.0, "completed": 20,
        "total_input_tokens": 1000, "total_output_tokens": 500, "total_output_tokens_retokenized": 500,
        "request_throughput": 2.0, "input_throughput": 100.0, "output_throughput": 50.0, "total_throughput": 150.0,
        "mean_e2e_latency_ms": 4000.0, "concurrency": 8.0, "mean_ttft_ms": 100.0, "mean_itl_ms": 10.0,
    }  # fmt: skip
    found = read(result, result | {"concurrency": 16.0})
    assert [one.tool for one in found.benchmarks] == ["sglang.bench_serving"] * 2
    assert {one.verdict for one in recompute(found.benchmarks[0])} == {ClaimVerdict.CONFIRMED}
    (wrong,) = [one for one in recompute(found.benchmarks[1]) if one.verdict is ClaimVerdict.WRONG]
    assert (wrong.stated, wrong.recomputed) == (16.0, pytest.approx(8.0))


def test_a_recorded_report_of_guidellm():
    text = (TRANSCRIPTS / "guidellm" / "0.8.1-concurrent2.json").read_text(encoding="utf-8")
    (found,) = read_text(text, "g.json").benchmarks
    assert found.tool == "guidellm"
    assert len(found.samples) == 6
    assert sum(sample.error is not None for sample in found.samples) == 1


def test_the_distributions_of_guidellm():
    def spread(mean, **more):
        return {"successful": {"mean": mean, "median": mean, "std_dev": 0.0, "percentiles": {"p99": mean}, **more}}

    metrics = {
        "request_totals": {"successful": 10, "errored": 1, "incomplete": 2, "total": 13},
        "requests_per_second": spread(1.5), "output_tokens_per_second": spread(60.0),
        "time_to_first_token_ms": spread(30.0), "request_latency": spread(2.0),
        "prompt_token_count": spread(100.0, total_sum=1000.0), "output_token_count": spread(40.0, total_sum=400.0),
    }  # fmt: skip
    benchmark = {"config": {"strategy": {"type_": "constant", "rate": 2.0}}, "duration": 7.0, "metrics": metrics}
    (found,) = read({"benchmarks": [benchmark, {"other": 1}]}).benchmarks
    assert found.label == "constant 2.0"
    names = ("completed", "failed", "total_output_tokens", "mean_ttft_ms", "mean_e2el_ms", "p99_e2el_ms")
    assert [found.value(name) for name in names] == [10, 3, 400, 30.0, 2000.0, 2000.0]
    assert "failures" in {one.kind for one in recompute(found)}


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"a": 1}', "[1, 2]", '{"duration": 1}', '{"benchmarks": [{}]}', "{", "[" * 5000]
)
def test_what_is_no_result_is_told(text):
    found = read_text(text, "r.json")
    assert found.benchmarks == ()
    assert found.skipped or text == "[]"


ODD = [
    pytest.param({"duration": -1.0}, id="negative duration"),
    pytest.param({"duration": 0}, id="no duration"),
    pytest.param({"mean_ttft_ms": float("nan"), "output_throughput": float("inf")}, id="not finite"),
    pytest.param({"completed": 10**400}, id="no float"),
    pytest.param({"input_lens": [None] * 16}, id="no lengths"),
    pytest.param({"itls": [[]] * 16, "output_lens": [0] * 16}, id="no tokens"),
]


@pytest.mark.parametrize("changes", ODD)
def test_odd_values_are_no_crash(changes):
    for one in read(VLLM | changes).benchmarks:
        recompute(one)


def test_the_times_of_sglang_that_its_details_do_not_give_are_not_recomputed():
    """Its end of a request is the end of the answer, which no list of its details has."""
    result = {
        "backend": "vllm",
        "duration": 0.5,
        "completed": 1,
        "total_input_tokens": 4,
        "total_output_tokens": 3,
        "request_throughput": 2.0,
        "input_throughput": 8.0,
        "output_throughput": 6.0,
        "total_throughput": 14.0,
        "mean_e2e_latency_ms": 350.0,
        "mean_ttft_ms": 100.0,
        "mean_tpot_ms": 125.0,
        "mean_itl_ms": 110.0,
        "input_lens": [4],
        "output_lens": [3],
        "ttfts": [0.1],
        "itls": [[0.1, 0.1]],
        "errors": [""],
    }
    (block,) = read_text(json.dumps(result), "r.jsonl").benchmarks
    wrong = [one.claim for one in recompute(block) if one.verdict is ClaimVerdict.WRONG]
    assert wrong == ["mean_itl_ms = 110 ms"]


@pytest.mark.parametrize(("duration", "odd"), [(0.5, False), (1.5, False), (2.5, True)])
def test_a_peak_of_one_second_may_be_below_the_average_of_less(duration, odd):
    result = {"duration": duration, "output_throughput": 100.0, "max_output_tokens_per_s": 79.0, "completed": 1}
    (block,) = read_text(json.dumps(result), "r.json").benchmarks
    assert any(one.verdict is ClaimVerdict.NOTE for one in recompute(block)) is odd

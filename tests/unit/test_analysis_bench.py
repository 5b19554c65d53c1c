"""The figures of `vllm bench serve`, recomputed from samples."""

import json
from pathlib import Path

import pytest

from hpcsweep.analysis.columns import SampleRow
from hpcsweep.analysis.measured.vllm_bench import bench_summary

RECORDED = json.loads(
    (Path(__file__).parents[1] / "transcripts" / "vllm-bench" / "eager512-c4.json").read_text(encoding="utf-8")
)


def sample(index: int = 0, **values: object) -> SampleRow:
    defaults = {"sample": str(index), "index": index, "sent_s": float(index), "prompt_tokens": 10}
    timed = {"completion_tokens": 3, "ttft_s": 1.0, "e2e_s": 2.0, "itl_s": (0.5, 0.5)}
    return SampleRow(**(defaults | timed | values))  # type: ignore[arg-type]


def recorded_samples() -> list[SampleRow]:
    columns = ("input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times", "errors")
    return [
        SampleRow(str(i), i, sent, prompt, completion, ttft, e2e, error or None, itl_s=tuple(gaps))
        for i, (prompt, completion, ttft, gaps, e2e, sent, error) in enumerate(
            zip(*(RECORDED[name] for name in columns), strict=True)
        )
    ]


def test_a_recorded_result_is_reproduced_to_the_last_digit():
    ours = bench_summary(recorded_samples(), RECORDED["duration"], percentiles=(50, 90, 99))
    assert len(ours) == 35
    assert ours == {name: RECORDED[name] for name in ours}


def test_failed_and_warm_up_requests_are_in_no_average():
    rows = [sample(0), sample(1, ttft_s=100.0, error="cut"), sample(2, error="cut"), sample(3, error="connect")]
    summary = bench_summary([*rows, sample(4, ttft_s=50.0, warmup=True)], 10.0)
    assert (summary["completed"], summary["failed"]) == (1, 3)
    assert (summary["mean_ttft_ms"], summary["mean_tpot_ms"]) == (1000.0, 500.0)
    assert (summary["output_throughput"], summary["total_token_throughput"]) == (0.3, 1.3)


def test_all_failed_is_not_an_error():
    summary = bench_summary([sample(error="connect", ttft_s=None, e2e_s=None)], 1.0, slo={"ttft_s": 1})
    assert (summary["completed"], summary["request_goodput"], summary["mean_ttft_ms"]) == (0, 0.0, 0.0)


def test_no_duration_is_an_error():
    with pytest.raises(ValueError, match=r"0\.0 s"):
        bench_summary([sample()], 0.0)


@pytest.mark.parametrize(
    ("slo", "good"),
    [
        pytest.param({"ttft_s": 1.0}, 2, id="a limit that is just reached holds"),
        pytest.param({"ttft_s": 0.9}, 0, id="missed"),
        pytest.param({"tpot_s": 0.1}, 1, id="one token: TPOT counts as 0"),
        pytest.param({"ttft_s": 1.0, "e2e_s": 1.5}, 1, id="all that are stated"),
        pytest.param({"ttft_s": None}, None, id="nothing stated"),
    ],
)
def test_goodput(slo, good):
    rows = [sample(0), sample(1, completion_tokens=1, e2e_s=1.0, itl_s=())]
    assert bench_summary(rows, 4.0, slo=slo)["request_goodput"] == (None if good is None else good / 4.0)


def test_peaks_are_one_second_buckets_from_the_first_request():
    rows = [sample(0, sent_s=100.5), sample(1, sent_s=101.7, ttft_s=0.1, e2e_s=0.3, itl_s=(0.1, 0.1))]
    summary = bench_summary(rows, 4.0)
    # seconds 0..: the first sends chunks at 1.0, 1.5, 2.0; the second at 1.3, 1.4, 1.5
    assert (summary["max_output_tokens_per_s"], summary["max_concurrent_requests"]) == (5.0, 2)

import json
from pathlib import Path

import pytest

from hpcsweep.analysis.measured import vllm_bench as metrics
from hpcsweep.analysis.rows import SampleRow, WorkloadRow
from hpcsweep.spec.workload import Slo

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


def test_a_real_result_reduced_again_gives_its_own_summary_to_the_digit():
    summary = metrics.summarize(recorded_samples(), RECORDED["duration"], percentiles=(50, 90, 99))
    ours = metrics.vllm_json(summary)
    assert len(ours) == 35
    assert ours == {name: RECORDED[name] for name in ours}


@pytest.mark.parametrize(
    ("ttft_s", "e2e_s", "tokens", "expected"),
    [
        pytest.param(1.0, 2.0, 3, 0.5, id="by tokens, not by chunks"),
        pytest.param(1.0, 1.0, 1, None, id="one token has no time after the first"),
        pytest.param(0.0, 0.0, 0, None, id="none"),
    ],
)
def test_tpot(ttft_s, e2e_s, tokens, expected):
    assert metrics.tpot_s(ttft_s, e2e_s, tokens) == expected


def test_figures_of_one_sample():
    assert metrics.sample_tps(sample()) == 1.5
    assert metrics.sample_decode_tps(sample()) == 2.0
    assert metrics.sample_decode_tps(sample(completion_tokens=1)) is None
    assert metrics.sample_tps(sample(e2e_s=None)) is None


def test_failures_and_warmups_are_in_no_average():
    rows = [sample(0), sample(1, ttft_s=100.0, error="cut"), sample(2, error="cut"), sample(3, error="connect")]
    summary = metrics.summarize([*rows, sample(4, ttft_s=50.0, warmup=True)], 10.0, gpus=4, nodes=2)
    assert (summary.completed, summary.failed, summary.failures) == (1, 3, {"cut": 2, "connect": 1})
    assert summary.ttft_s and (summary.ttft_s.n, summary.ttft_s.max) == (1, 1.0)
    assert (summary.output_throughput, summary.total_token_throughput) == (0.3, 1.3)
    assert (summary.output_throughput_per_gpu, summary.output_throughput_per_node) == (0.075, 0.15)


def test_all_failed_is_no_error():
    summary = metrics.summarize([sample(error="connect", ttft_s=None, e2e_s=None)], 1.0, slo=Slo(ttft_s=1))
    assert (summary.completed, summary.request_goodput, summary.ttft_s) == (0, 0.0, None)
    assert metrics.vllm_json(summary)["mean_ttft_ms"] == 0.0


def test_no_duration_is_an_error():
    with pytest.raises(ValueError, match=r"0\.0 s"):
        metrics.summarize([sample()], 0.0)


@pytest.mark.parametrize(
    ("slo", "good"),
    [
        pytest.param(Slo(ttft_s=1.0), 2, id="a limit that is just reached holds"),
        pytest.param(Slo(ttft_s=0.9), 0, id="missed"),
        pytest.param(Slo(tpot_s=0.1), 1, id="one token: TPOT counts as 0"),
        pytest.param(Slo(ttft_s=1.0, e2e_s=1.5), 1, id="all that are stated"),
        pytest.param(Slo(), 2, id="nothing stated"),
    ],
)
def test_goodput(slo, good):
    rows = [sample(0), sample(1, completion_tokens=1, e2e_s=1.0, itl_s=())]
    assert metrics.summarize(rows, 4.0, slo=slo).request_goodput == good / 4.0


def test_peaks_are_one_second_buckets_from_the_first_request():
    rows = [sample(0, sent_s=100.5), sample(1, sent_s=101.7, ttft_s=0.1, e2e_s=0.3, itl_s=(0.1, 0.1))]
    summary = metrics.summarize(rows, 4.0)
    # seconds 0..: the first sends chunks at 1.0, 1.5, 2.0; the second at 1.3, 1.4, 1.5
    assert (summary.max_output_tokens_per_s, summary.max_concurrent_requests) == (5.0, 2)


def test_repeats_are_kept_apart_or_pooled():
    rows = (sample(0), sample(1, repeat=2), sample(2, repeat=2), sample(3, repeat=3))
    workload = WorkloadRow("w", samples=rows, durations_s=(1.0, 3.0))
    assert [s.request_throughput for s in metrics.repeats(workload)] == [1.0, 2 / 3]
    pooled = metrics.pooled(workload)
    assert pooled is not None and pooled.request_throughput == 0.75
    assert metrics.pooled(WorkloadRow("w")) is None


def test_cold_and_warm():
    rows = [sample(0, cold="first_of_server"), sample(1), sample(2, warmup=True, cold="first_of_shape")]
    cold, warm = metrics.cold_and_warm(rows)
    assert ([s.index for s in cold], [s.index for s in warm]) == ([0], [1])

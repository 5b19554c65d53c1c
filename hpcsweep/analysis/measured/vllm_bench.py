"""The summary that `vllm bench serve` prints, recomputed from samples under its own names.

Source: vLLM 0.32, benchmarks/serve.py, calculate_metrics. Only successful requests count; warm-up requests never do.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from hpcsweep.analysis.columns import Floats, SampleColumns, SampleRow
from hpcsweep.analysis.measured.samples import MeasuredSamples, measure, throughputs

PERCENTILES = (50.0, 90.0, 95.0, 99.0)

_TIMES = {"ttft": "ttft_s", "tpot": "tpot_s", "e2el": "e2e_s"}
_MS = 1000


def bench_summary(
    samples: Iterable[SampleRow],
    duration_s: float,
    *,
    slo: Mapping[str, object] | None = None,
    percentiles: Sequence[float] = PERCENTILES,
) -> dict[str, float | int | None]:
    """Return the figures of `vllm bench serve --save-result` by its keys, latencies in milliseconds; 0 without values.

    `duration_s`: first request sent to the end of the last response. `request_goodput` is None without an SLO.
    Raises ValueError unless the duration is above 0.
    """
    if not duration_s > 0:
        raise ValueError(f"the duration must be above 0 s, got {duration_s} s")
    rows = [sample for sample in samples if not sample.warmup]
    measured = measure(SampleColumns.from_rows(rows))
    done = [row for row, good in zip(rows, measured.good.tolist(), strict=True) if good]
    rates = throughputs(measured, measured.good, duration_s, slo or {})
    tokens_per_s, concurrent = _peaks(done)
    values: dict[str, float | int | None] = {
        "duration": duration_s,
        "completed": len(done),
        "failed": len(rows) - len(done),
        "total_input_tokens": sum(sample.prompt_tokens or 0 for sample in done),
        "total_output_tokens": sum(sample.completion_tokens or 0 for sample in done),
        "request_throughput": rates["request_throughput"],
        "request_goodput": rates.get("goodput"),
        "output_throughput": rates["output_throughput"],
        "total_token_throughput": rates["total_throughput"],
        "max_output_tokens_per_s": tokens_per_s,
        "max_concurrent_requests": concurrent,
    }
    for name, seconds in _seconds(measured, done):
        empty = not len(seconds)
        values[f"mean_{name}_ms"] = 0.0 if empty else float(np.mean(seconds)) * _MS
        values[f"median_{name}_ms"] = 0.0 if empty else float(np.median(seconds)) * _MS
        values[f"std_{name}_ms"] = 0.0 if empty else float(np.std(seconds)) * _MS
        for p in percentiles if not empty else ():
            values[f"p{p:g}_{name}_ms"] = float(np.percentile(seconds, p)) * _MS
    return values


def _seconds(measured: MeasuredSamples, done: Sequence[SampleRow]) -> list[tuple[str, Floats]]:
    """Return (vLLM's name, values in seconds) of each latency."""
    latencies = [(name, measured.values(metric, measured.good)) for name, metric in _TIMES.items()]
    gaps = np.array([gap for sample in done for gap in sample.itl_s], dtype=np.float64)
    return [*latencies, ("itl", gaps)]


def _peaks(done: Sequence[SampleRow]) -> tuple[float, int]:
    """Return (chunks in the fullest second, requests in the busiest second), in one-second buckets.

    A request counts in every second that it touches, so the second figure may exceed the number that were ever in
    flight at the same moment. Seconds are counted from the first request.
    """
    timed = [(sample.sent_s, sample.e2e_s, sample) for sample in done if sample.e2e_s is not None]
    if not timed:
        return 0.0, 0
    begin_s = min(sent_s for sent_s, _, _ in timed)
    seconds = math.ceil(max(sent_s + e2e_s for sent_s, e2e_s, _ in timed) - begin_s) + 1
    chunks, requests = np.zeros(seconds), np.zeros(seconds + 1)
    for sent_s, e2e_s, sample in timed:
        if sample.ttft_s is not None:
            # Summed from the left, as vLLM does, so that a chunk at the edge of a second is in the same bucket.
            at_s = np.cumsum([sent_s + sample.ttft_s, *sample.itl_s]) - begin_s
            np.add.at(chunks, at_s.astype(int).clip(0, seconds - 1), 1)
        requests[int(sent_s - begin_s)] += 1
        requests[int(sent_s + e2e_s - begin_s) + 1] -= 1
    return float(np.max(chunks)), int(np.max(np.cumsum(requests)))

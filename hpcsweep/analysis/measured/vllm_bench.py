"""Samples of one workload reduced to the metrics of `vllm bench serve`, by its formulas and under its names. Pure.

Formulas: vLLM 0.32, benchmarks/serve.py, calculate_metrics. Only successful requests count; warm-up requests never do.
Seconds inside; `vllm_json` gives the names and milliseconds of its result file.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hpcsweep.analysis.rows import SampleRow, WorkloadRow
from hpcsweep.spec.workload import Slo

PERCENTILES = (50.0, 90.0, 95.0, 99.0)


def tpot_s(ttft_s: float, e2e_s: float, completion_tokens: int) -> float | None:
    """Mean time per output token after the first, seconds: (e2e - TTFT) / (n - 1); None if n < 2."""
    return (e2e_s - ttft_s) / (completion_tokens - 1) if completion_tokens > 1 else None


def sample_tpot_s(sample: SampleRow) -> float | None:
    """TPOT of one sample, seconds; None when it is not measurable."""
    if sample.ttft_s is None or sample.e2e_s is None or sample.completion_tokens is None:
        return None
    return tpot_s(sample.ttft_s, sample.e2e_s, sample.completion_tokens)


def sample_tps(sample: SampleRow) -> float | None:
    """Tokens per second of one sample: completion tokens / e2e; None when it is not measurable."""
    if not sample.e2e_s or sample.completion_tokens is None:
        return None
    return sample.completion_tokens / sample.e2e_s


def sample_decode_tps(sample: SampleRow) -> float | None:
    """Tokens per second of one sample after its first token: 1 / TPOT; None when it is not measurable."""
    per_token_s = sample_tpot_s(sample)
    return 1.0 / per_token_s if per_token_s else None


@dataclass(frozen=True)
class Spread:
    """A metric over many requests: seconds, or tokens/s. `std` is that of the population, as numpy's default."""

    n: int
    mean: float
    median: float
    std: float
    min: float
    max: float
    percentiles: Mapping[float, float] = field(default_factory=dict)

    def percentile(self, p: float) -> float:
        """The percentile `p`. KeyError unless it was asked for."""
        return self.percentiles[p]


def spread(values: Sequence[float], percentiles: Iterable[float] = PERCENTILES) -> Spread | None:
    """Spread of `values`; None without any. Percentiles by linear interpolation (numpy's default)."""
    if not values:
        return None
    array = np.asarray(values, dtype=float)
    return Spread(
        n=len(values),
        mean=float(np.mean(array)),
        median=float(np.median(array)),
        std=float(np.std(array)),
        min=float(np.min(array)),
        max=float(np.max(array)),
        percentiles={p: float(np.percentile(array, p)) for p in percentiles},
    )


@dataclass(frozen=True)
class Summary:
    """Metrics of one workload. Throughputs per second of `duration_s`; spreads None where nothing was measured.

    `max_output_tokens_per_s`: the fullest one-second bucket, counted in chunks; `max_concurrent_requests`: the
    one-second bucket that the most requests touch, which may be more than were ever in flight at one moment.
    """

    completed: int
    failed: int
    duration_s: float
    total_input_tokens: int
    total_output_tokens: int
    request_throughput: float
    request_goodput: float | None  # None: no SLO was stated
    output_throughput: float
    total_token_throughput: float
    max_output_tokens_per_s: float
    max_concurrent_requests: int
    ttft_s: Spread | None
    tpot_s: Spread | None
    itl_s: Spread | None
    e2e_s: Spread | None
    tps: Spread | None  # of single samples
    decode_tps: Spread | None
    lateness_s: Spread | None
    failures: Mapping[str, int]  # cause -> number, adding up to `failed`
    good: int | None  # requests within the SLO
    gpus: int = 0
    nodes: int = 1

    @property
    def output_throughput_per_gpu(self) -> float | None:
        """Output tokens/s of one GPU; None without GPUs."""
        return self.output_throughput / self.gpus if self.gpus else None

    @property
    def total_token_throughput_per_gpu(self) -> float | None:
        """Input and output tokens/s of one GPU; None without GPUs."""
        return self.total_token_throughput / self.gpus if self.gpus else None

    @property
    def output_throughput_per_node(self) -> float:
        """Output tokens/s of one node."""
        return self.output_throughput / self.nodes


def summarize(
    samples: Iterable[SampleRow],
    duration_s: float,
    *,
    slo: Slo | None = None,
    percentiles: Sequence[float] = PERCENTILES,
    gpus: int = 0,
    nodes: int = 1,
) -> Summary:
    """Metrics of the samples that are no warm-up. `gpus`: of all nodes together. ValueError if the duration is not > 0.

    `duration_s`: first request sent to last answer's end.
    """
    if not duration_s > 0:
        raise ValueError(f"a duration of {duration_s} s has no throughput")
    counted = [sample for sample in samples if not sample.warmup]
    done = [sample for sample in counted if sample.error is None]
    failures: dict[str, int] = {}
    for sample in counted:
        if sample.error is not None:
            failures[sample.error] = failures.get(sample.error, 0) + 1
    total_input = sum(sample.prompt_tokens or 0 for sample in done)
    total_output = sum(sample.completion_tokens or 0 for sample in done)
    good = None if slo is None else sum(_is_good(sample, slo) for sample in done)
    tokens_per_s, concurrent = _peaks(done)

    def over(values: Iterable[float | None]) -> Spread | None:
        return spread([value for value in values if value is not None], percentiles)

    return Summary(
        completed=len(done),
        failed=len(counted) - len(done),
        duration_s=duration_s,
        total_input_tokens=total_input,
        total_output_tokens=total_output,
        request_throughput=len(done) / duration_s,
        request_goodput=None if good is None else good / duration_s,
        output_throughput=total_output / duration_s,
        total_token_throughput=(total_input + total_output) / duration_s,
        max_output_tokens_per_s=tokens_per_s,
        max_concurrent_requests=concurrent,
        ttft_s=over(sample.ttft_s for sample in done),
        tpot_s=over(sample_tpot_s(sample) for sample in done),
        itl_s=over(gap for sample in done for gap in sample.itl_s),
        e2e_s=over(sample.e2e_s for sample in done),
        tps=over(sample_tps(sample) for sample in done),
        decode_tps=over(sample_decode_tps(sample) for sample in done),
        lateness_s=over(sample.lateness_s for sample in counted),
        failures=failures,
        good=good,
        gpus=gpus,
        nodes=nodes,
    )


def repeats(workload: WorkloadRow, **how: object) -> list[Summary]:
    """One summary for every repeat that ended; `how`: arguments of `summarize`."""
    return [
        summarize([sample for sample in workload.samples if sample.repeat == number], duration_s, **how)  # type: ignore[arg-type]
        for number, duration_s in enumerate(workload.durations_s, 1)
        if duration_s > 0
    ]


def pooled(workload: WorkloadRow, **how: object) -> Summary | None:
    """All repeats as one: their samples together over the sum of their durations; None when none ended.

    `how`: arguments of `summarize`. The peaks hold within a repeat, because repeats do not overlap.
    """
    ended = [number for number, duration_s in enumerate(workload.durations_s, 1) if duration_s > 0]
    if not ended:
        return None
    samples = [sample for sample in workload.samples if sample.repeat in ended]
    return summarize(samples, math.fsum(d for d in workload.durations_s if d > 0), **how)  # type: ignore[arg-type]


def cold_and_warm(samples: Iterable[SampleRow]) -> tuple[list[SampleRow], list[SampleRow]]:
    """(cold, warm): samples that met a cold server or shape, and the others; neither holds warm-up requests."""
    counted = [sample for sample in samples if not sample.warmup]
    return [s for s in counted if s.cold is not None], [s for s in counted if s.cold is None]


def vllm_json(summary: Summary) -> dict[str, float | int | None]:
    """The summary under the keys of `vllm bench serve --save-result`, latencies in milliseconds; 0 without values."""
    values: dict[str, float | int | None] = {
        "duration": summary.duration_s,
        "completed": summary.completed,
        "failed": summary.failed,
        "total_input_tokens": summary.total_input_tokens,
        "total_output_tokens": summary.total_output_tokens,
        "request_throughput": summary.request_throughput,
        "request_goodput": summary.request_goodput,
        "output_throughput": summary.output_throughput,
        "total_token_throughput": summary.total_token_throughput,
        "max_output_tokens_per_s": summary.max_output_tokens_per_s,
        "max_concurrent_requests": summary.max_concurrent_requests,
    }
    for name, metric in (
        ("ttft", summary.ttft_s),
        ("tpot", summary.tpot_s),
        ("itl", summary.itl_s),
        ("e2el", summary.e2e_s),
    ):
        for statistic in ("mean", "median", "std"):
            values[f"{statistic}_{name}_ms"] = getattr(metric, statistic) * 1000 if metric else 0.0
        for p, value in (metric.percentiles if metric else {}).items():
            values[f"p{p:g}_{name}_ms"] = value * 1000
    return values


def _is_good(sample: SampleRow, slo: Slo) -> bool:
    """Every stated limit holds; a TPOT that does not exist counts as 0, as in vLLM."""
    measured = (
        (slo.ttft_s, sample.ttft_s),
        (slo.tpot_s, sample_tpot_s(sample) or 0.0),
        (slo.e2e_s, sample.e2e_s),
    )
    return all(limit is None or (value is not None and value <= limit) for limit, value in measured)


def _peaks(done: Sequence[SampleRow]) -> tuple[float, int]:
    """(chunks in the fullest second, requests that touch the busiest second), seconds from the first request on."""
    timed = [(sample.sent_s, sample.e2e_s, sample) for sample in done if sample.e2e_s is not None]
    if not timed:
        return 0.0, 0
    begin_s = min(sent_s for sent_s, _, _ in timed)
    seconds = math.ceil(max(sent_s + e2e_s for sent_s, e2e_s, _ in timed) - begin_s) + 1
    chunks, requests = np.zeros(seconds), np.zeros(seconds + 1)
    for sent_s, e2e_s, sample in timed:
        if sample.ttft_s is not None:
            # added one by one, from the left, so that a chunk at the edge of a second falls where vLLM puts it
            at_s = np.cumsum([sent_s + sample.ttft_s, *sample.itl_s]) - begin_s
            np.add.at(chunks, at_s.astype(int).clip(0, seconds - 1), 1)
        requests[int(sent_s - begin_s)] += 1
        requests[int(sent_s + e2e_s - begin_s) + 1] -= 1
    return float(np.max(chunks)), int(np.max(np.cumsum(requests)))

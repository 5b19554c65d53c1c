"""Results without samples: the aggregate figures of `vllm bench serve`, by the keys of its JSON."""

from collections.abc import Mapping

from hpcsweep.analysis.findings.measured import Figure, MetricSummary
from hpcsweep.analysis.measured.metrics import METRICS

_THROUGHPUTS = {
    "request_throughput": "request_throughput",
    "output_throughput": "output_throughput",
    "total_token_throughput": "total_throughput",
    "request_goodput": "goodput",
}
_TIMES = {"ttft": "ttft_s", "tpot": "tpot_s", "e2el": "e2e_s"}
_MS = 1e-3


def has_aggregates(figures: Mapping[str, float]) -> bool:
    """Return whether `figures` are results of a whole benchmark, and not the load client's figures about itself."""
    return "completed" in figures and any(name in figures for name in _THROUGHPUTS)


def aggregate_throughput(figures: Mapping[str, float], simulated: bool) -> dict[str, Figure]:
    """Return the throughputs. Each is a single figure of one benchmark, without an interval."""
    throughputs = {}
    for theirs, ours in _THROUGHPUTS.items():
        value = figures.get(theirs)
        if value is not None:
            throughputs[ours] = Figure(
                value, METRICS[ours].unit, 1, "benchmarks", simulated=simulated, note="no interval from one benchmark"
            )
    return throughputs


def aggregate_summaries(figures: Mapping[str, float], simulated: bool) -> tuple[MetricSummary, ...]:
    """Return means, medians and percentiles in seconds; the range, and percentiles that are not stated, are NaN."""
    summaries = []
    missing = float("nan")
    for theirs, ours in _TIMES.items():
        mean = figures.get(f"mean_{theirs}_ms")
        if mean is None:
            continue
        stdev = figures.get(f"std_{theirs}_ms")
        median, p90, p99 = (figures.get(f"{q}_{theirs}_ms", missing) * _MS for q in ("median", "p90", "p99"))
        summaries.append(
            MetricSummary(
                metric=ours,
                unit="s",
                condition="all",
                n=int(figures["completed"]),
                mean=mean * _MS,
                median=median,
                p90=p90,
                p99=p99,
                minimum=missing,
                maximum=missing,
                stdev=None if stdev is None else stdev * _MS,
                spread=None if stdev is None or not mean else stdev / mean,
                low=None,
                high=None,
                median_low=None,
                median_high=None,
                simulated=simulated,
            )
        )
    return tuple(summaries)

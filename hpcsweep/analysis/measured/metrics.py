"""The metrics of a report by name: unit, direction, title and formula."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric. `of_samples`: it has one value per sample, so it exists for all samples and for warm ones."""

    name: str
    unit: str
    higher_is_better: bool
    of_samples: bool
    title: str
    meaning: str


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("tps", "tokens/s", True, True, "TPS", "completion tokens / end-to-end time of one request"),
        Metric("decode_tps", "tokens/s", True, True, "Decode TPS", "1 / TPOT of one request"),
        Metric("ttft_s", "s", False, True, "TTFT", "first token - request sent"),
        Metric("tpot_s", "s", False, True, "TPOT", "(end-to-end - TTFT) / (completion tokens - 1)"),
        Metric("e2e_s", "s", False, True, "Latency", "last token - request sent"),
        Metric("request_throughput", "requests/s", True, False, "Requests/s", "successful requests / duration"),
        Metric(
            "output_throughput",
            "tokens/s",
            True,
            False,
            "Output throughput",
            "completion tokens of the successful requests / duration",
        ),
        Metric(
            "total_throughput",
            "tokens/s",
            True,
            False,
            "Total throughput",
            "prompt and completion tokens of the successful requests / duration",
        ),
        Metric("output_tps_per_gpu", "tokens/s/GPU", True, False, "Output/GPU", "output throughput / GPUs"),
        Metric("total_tps_per_gpu", "tokens/s/GPU", True, False, "Total/GPU", "total throughput / GPUs"),
        Metric(
            "goodput", "requests/s", True, False, "Goodput", "successful requests that keep the SLO / duration"
        ),
        Metric("startup_s", "s", False, False, "Startup", "launch of the server to its first token"),
        Metric("load_s", "s", False, False, "Load", "the engine's own figure, else the load_weights phase"),
        Metric("compile_s", "s", False, False, "Compile", "the engine's own figure, else the compile phase"),
    )
}  # fmt: skip

SAMPLE_METRICS = tuple(name for name, metric in METRICS.items() if metric.of_samples)

STARTUP_METRICS = ("startup_s", "load_s", "compile_s")

RUN_METRICS = tuple(name for name, metric in METRICS.items() if not metric.of_samples and name not in STARTUP_METRICS)
"""Metrics of one workload on one run: throughputs and goodput."""

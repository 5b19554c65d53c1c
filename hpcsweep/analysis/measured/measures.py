"""The metrics of a report by name: unit, direction, and how people call them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One metric. `of_samples`: it has one value a sample, so that it exists for all samples and for warm ones."""

    name: str
    unit: str
    higher_is_better: bool
    of_samples: bool
    title: str
    meaning: str


MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("tps", "tokens/s", True, True, "TPS", "completion tokens / end-to-end time of one request"),
        Measure("decode_tps", "tokens/s", True, True, "Decode TPS", "1 / TPOT of one request"),
        Measure("ttft_s", "s", False, True, "TTFT", "first token - request sent"),
        Measure("tpot_s", "s", False, True, "TPOT", "(end-to-end - TTFT) / (completion tokens - 1)"),
        Measure("e2e_s", "s", False, True, "Latency", "last token - request sent"),
        Measure("request_throughput", "requests/s", True, False, "Requests/s", "successful requests / duration"),
        Measure(
            "output_throughput",
            "tokens/s",
            True,
            False,
            "Output throughput",
            "completion tokens of the successful requests / duration",
        ),
        Measure(
            "total_throughput",
            "tokens/s",
            True,
            False,
            "Total throughput",
            "prompt and completion tokens of the successful requests / duration",
        ),
        Measure("output_tps_per_gpu", "tokens/s/GPU", True, False, "Output/GPU", "output throughput / GPUs"),
        Measure("total_tps_per_gpu", "tokens/s/GPU", True, False, "Total/GPU", "total throughput / GPUs"),
        Measure(
            "goodput", "requests/s", True, False, "Goodput", "successful requests that keep the SLO / duration"
        ),
        Measure("startup_s", "s", False, False, "Startup", "launch of the server to its first token"),
        Measure("load_s", "s", False, False, "Load", "the engine's own figure, else the load_weights phase"),
        Measure("compile_s", "s", False, False, "Compile", "the engine's own figure, else the compile phase"),
    )
}  # fmt: skip

SAMPLE_MEASURES = tuple(name for name, measure in MEASURES.items() if measure.of_samples)

STARTUP_MEASURES = ("startup_s", "load_s", "compile_s")

RUN_MEASURES = tuple(
    name for name, measure in MEASURES.items() if not measure.of_samples and name not in STARTUP_MEASURES
)
"""Of one workload on one run: throughputs and goodput."""

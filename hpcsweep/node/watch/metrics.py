"""Read neutral figures from a server's Prometheus text. Pure."""

import math
import re
from collections.abc import Mapping

_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(?:[^}\"]|\"(?:\\.|[^\"\\])*\")*\})?\s+(\S+)")

GAUGES: Mapping[str, tuple[str, ...]] = {
    "running": ("vllm:num_requests_running", "sglang:num_running_reqs", "num_requests_running"),
    "waiting": ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "num_requests_waiting"),
    "kv_cache_usage": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage"),
}
"""Neutral name -> the engines' names, newest first. Several engine cores: their sum; of the usage the maximum."""

COUNTERS: Mapping[str, tuple[str, ...]] = {
    "prefix_cache_hits": (
        "vllm:prefix_cache_hits_total",
        "vllm:gpu_prefix_cache_hits_total",
        "sglang:cached_tokens_total",
    ),
    "prefix_cache_queries": (
        "vllm:prefix_cache_queries_total",
        "vllm:gpu_prefix_cache_queries_total",
        "sglang:prompt_tokens_total",
    ),
    "preemptions": ("vllm:num_preemptions_total", "sglang:num_retracted_requests_total"),
    "generation_tokens": ("vllm:generation_tokens_total", "sglang:generation_tokens_total"),
    "prompt_tokens": ("vllm:prompt_tokens_total", "sglang:prompt_tokens_total"),
}
"""Neutral name -> the engines' names: counters, of which the difference over a workload is recorded."""

PROGRESS: Mapping[str, tuple[str, ...]] = {"computed_tokens": ("sglang:realtime_tokens_total",)}
"""Counters that advance with each step. SGLang counts prompt and generated tokens only when a request is complete."""

_LISTED_WHEN_COUNTED = {"sglang:cached_tokens_total": "sglang:prompt_tokens_total"}
"""Counters that a page does not list until they are above zero -> a counter that the page of the same version lists.
SGLang reports from several processes, and such a page has no lines for what no process has counted yet."""

_LARGEST = frozenset({"kv_cache_usage"})


def parse_metrics(text: str) -> dict[str, list[float]]:
    """Return metric name -> values over all labels (text format 0.0.4). Other lines are skipped."""
    values: dict[str, list[float]] = {}
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match is None:
            continue
        try:
            value = float(match[2])
        except ValueError:
            continue
        if math.isfinite(value):
            values.setdefault(match[1], []).append(value)
    for name, listed in _LISTED_WHEN_COUNTED.items():
        if listed in values:
            values.setdefault(name, [0.0])
    return values


def figures(text: str) -> dict[str, float]:
    """Return the neutral gauges and counters that a metrics page contains; counters over all labels."""
    page = parse_metrics(text)
    neutral = {}
    for table in (GAUGES, COUNTERS, PROGRESS):
        for name, candidates in table.items():
            values = next((page[metric] for metric in candidates if metric in page), None)
            if values is not None:
                neutral[name] = max(values) if name in _LARGEST else sum(values)
    return neutral


def differences(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the increase of each counter; one that decreased (the server was restarted) is left out."""
    return {
        name: after[name] - before[name]
        for name in (*COUNTERS, "gpu_energy_j")
        if name in before and name in after and after[name] >= before[name]
    }


class Peaks:
    """The highest value that each gauge had while a workload ran."""

    def __init__(self) -> None:
        self._highest: dict[str, float] = {}

    def add(self, sample: Mapping[str, float]) -> None:
        """Take one more sample."""
        for name, value in sample.items():
            if name not in COUNTERS and name not in PROGRESS and name != "gpu_energy_j":
                self._highest[name] = max(value, self._highest.get(name, value))

    def figures(self) -> dict[str, float]:
        """Return `peak_running`, `peak_kv_cache_usage` ..."""
        return {f"peak_{name}": value for name, value in self._highest.items()}

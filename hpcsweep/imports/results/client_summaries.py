"""Read the summaries of AIPerf and GenAI-Perf, llmperf, inference-perf and InferenceX.

Field names as in AIPerf 0.1 to 0.5 (profile_export_aiperf.json) and GenAI-Perf (profile_export_genai_perf.json),
llmperf 2023-08-31 (*_summary.json), inference-perf 0.1 to 0.3 (*_lifecycle_metrics.json), and InferenceX as of 2026
(agg_*.json). Each shape is recognised by several fields that only one tool uses together.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hpcsweep.imports.documents.model import Benchmark, Location, Skipped
from hpcsweep.imports.documents.numbers import Number, number_of, stored

_TO_MS = {"ms": 1.0, "s": 1000.0, "sec": 1000.0, "us": 1e-3, "ns": 1e-6}
_TO_S = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "us": 1e-6, "ns": 1e-9}
_PERCENTILES = ("p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99")
_DURATION = frozenset(["duration"])
Object = Mapping[str, Any]


def known_summary(value: Object) -> Callable[[Object, Location], Iterator[Benchmark | Skipped]] | None:
    """Return the reader of an object's shape; None: none of these shapes."""
    return next((read for matches, read in _SHAPES if matches(value)), None)


class FigureCollector:
    """Collect the figures of a result, under the names of `vllm bench serve`."""

    def __init__(self) -> None:
        self.figures: dict[str, Number] = {}

    def add(self, name: str, content: Any, scale: float = 1.0) -> None:
        """Add a measured figure, if `content` is a number."""
        number = number_of(content)
        if number is not None:
            self.figures[name] = stored(number * scale)

    def count(self, name: str, content: Any) -> None:
        """Add an exact number."""
        number = number_of(content)
        if number is not None:
            self.figures[name] = Number(round(number))

    def spread(self, metric: str, content: Any, scale: float, names: Mapping[str, str]) -> None:
        """Add a distribution in ms. `names`: its keys -> names of statistics."""
        if isinstance(content, dict):
            for key, statistic in names.items():
                self.add(f"{statistic}_{metric}_ms", content.get(key), scale)

    def failed(self, failed: float | None) -> None:
        """Set the number of failed requests, and drop all speeds of a result without a successful request."""
        if failed is not None:
            self.figures["failed"] = Number(failed)
        completed = self.figures.get("completed")
        if completed is not None and completed.value == 0:
            self.figures = {
                name: figure for name, figure in self.figures.items() if name in ("completed", "failed", "duration")
            }


# AIPerf, GenAI-Perf: {"time_to_first_token": {"unit": "ms", "avg": ..., "p50": ...}, ...}

_PERF_TIMES = {"time_to_first_token": "ttft", "inter_token_latency": "itl", "request_latency": "e2el"}
_PERF_NAMES = {"avg": "mean", "std": "std", **{key: key for key in _PERCENTILES}}
_PERF_RATES = {
    "request_throughput": "request_throughput",
    "output_token_throughput": "output_throughput",
    "total_token_throughput": "total_token_throughput",
}


def _is_aiperf(value: Object) -> bool:
    metrics = [value.get(name) for name in ("request_throughput", "request_latency", "time_to_first_token")]
    return sum(isinstance(metric, dict) and "unit" in metric and "avg" in metric for metric in metrics) > 1


def _aiperf(value: Object, location: Location) -> Iterator[Benchmark | Skipped]:
    figures = FigureCollector()
    unread = []

    def of(name: str, key: str = "avg") -> Any:
        metric = value.get(name)
        return metric.get(key) if isinstance(metric, dict) else None

    figures.count("completed", of("request_count"))
    duration = value.get("benchmark_duration")
    if isinstance(duration, dict) and duration.get("unit") in _TO_S:
        figures.add("duration", duration.get("avg"), _TO_S[duration["unit"]])
    for theirs, name in _PERF_RATES.items():
        figures.add(name, of(theirs))
    completed = figures.figures.get("completed")
    for total, each, name in (
        ("total_isl", "input_sequence_length", "total_input_tokens"),
        ("total_osl", "output_sequence_length", "total_output_tokens"),
    ):
        mean = number_of(of(each))
        figures.count(name, of(total))
        if name not in figures.figures and mean is not None and completed is not None:
            figures.count(name, mean * completed.value)
    for theirs, metric in _PERF_TIMES.items():
        spread = value.get(theirs)
        if isinstance(spread, dict) and spread.get("unit") in _TO_MS:
            figures.spread(metric, spread, _TO_MS[spread["unit"]], _PERF_NAMES)
        elif isinstance(spread, dict):
            unread.append(Skipped(location, theirs, f"its unit {spread.get('unit')!r} is unknown"))
    figures.failed(number_of(of("error_request_count")))
    made_by = "aiperf" if "aiperf_version" in value or "schema_version" in value else "aiperf or genai-perf"
    settings = _perf_settings(value)
    label = " ".join(part for part in (settings.get("model_id", ""), *_varied(settings)) if part)
    yield Benchmark(label or made_by, location, made_by, figures.figures, settings=settings)
    yield from unread


def _perf_settings(value: Object) -> dict[str, str]:
    config = value.get("input_config")
    config = config if isinstance(config, dict) else {}
    endpoint, load = config.get("endpoint"), config.get("loadgen")
    names = endpoint.get("model_names") if isinstance(endpoint, dict) else config.get("model_names")
    settings = {"model_id": ", ".join(map(str, names))} if isinstance(names, list) else {}
    if isinstance(load, dict):
        asked = {"max_concurrency": load.get("concurrency"), "request_rate": load.get("request_rate")}
        settings |= {name: str(content) for name, content in asked.items() if content is not None}
    return settings


def _varied(settings: Mapping[str, str]) -> list[str]:
    return [f"{name}={text}" for name, text in settings.items() if name != "model_id"]


# llmperf: one flat object; {"results_ttft_s_mean": ..., "results_num_completed_requests": ...}

_LLMPERF_TIMES = {"ttft_s": "ttft", "inter_token_latency_s": "itl", "end_to_end_latency_s": "e2el"}
_LLMPERF_NAMES = {"mean": "mean", "stddev": "std", **{f"quantiles_{key}": key for key in _PERCENTILES}}


def _is_llmperf(value: Object) -> bool:
    return "results_num_completed_requests" in value and "results_mean_output_throughput_token_per_s" in value


def _llmperf(value: Object, location: Location) -> Iterator[Benchmark | Skipped]:
    figures = FigureCollector()
    completed = number_of(value.get("results_num_completed_requests"))
    per_minute = number_of(value.get("results_num_completed_requests_per_min"))
    figures.count("completed", completed)
    figures.add("output_throughput", value.get("results_mean_output_throughput_token_per_s"))
    if completed and per_minute:
        figures.add("duration", 60 * completed / per_minute)
        figures.add("request_throughput", per_minute / 60)
        for theirs, name in (("input", "total_input_tokens"), ("output", "total_output_tokens")):
            mean = number_of(value.get(f"results_number_{theirs}_tokens_mean"))
            figures.count(name, None if mean is None else mean * completed)
    for theirs, metric in _LLMPERF_TIMES.items():
        spread = {key: value.get(f"results_{theirs}_{key}") for key in _LLMPERF_NAMES}
        figures.spread(metric, spread, 1000.0, _LLMPERF_NAMES)
    figures.failed(number_of(value.get("results_number_errors")))
    settings = {"model_id": str(value.get("model", ""))}
    if value.get("num_concurrent_requests") is not None:
        settings["max_concurrency"] = str(value["num_concurrent_requests"])
    label = " ".join(part for part in (settings["model_id"], *_varied(settings)) if part)
    yield Benchmark(label or "llmperf", location, "llmperf", figures.figures, settings=settings, derived=_DURATION)


# inference-perf: {"load_summary": {...}, "successes": {"latency": {...}, "throughput": {...}}, "failures": {...}}

_INFERENCE_PERF_TIMES = {
    "time_to_first_token": "ttft",
    "time_per_output_token": "tpot",
    "inter_token_latency": "itl",
    "request_latency": "e2el",
}
_INFERENCE_PERF_NAMES = {"mean": "mean", "median": "median", "p99.9": "p99.9", **{key: key for key in _PERCENTILES}}


def _is_inference_perf(value: Object) -> bool:
    return all(isinstance(value.get(name), dict) for name in ("load_summary", "successes", "failures"))


def _inference_perf(value: Object, location: Location) -> Iterator[Benchmark | Skipped]:
    figures = FigureCollector()
    done, load = value["successes"], value["load_summary"]
    rates = done.get("throughput")
    rates = rates if isinstance(rates, dict) else {}
    figures.count("completed", done.get("count"))
    for theirs, name in (
        ("requests_per_sec", "request_throughput"),
        ("input_tokens_per_sec", "input_throughput"),
        ("output_tokens_per_sec", "output_throughput"),
        ("total_tokens_per_sec", "total_token_throughput"),
    ):
        figures.add(name, rates.get(theirs))
    completed, rate = number_of(done.get("count")), number_of(rates.get("requests_per_sec"))
    if completed and rate:
        figures.add("duration", completed / rate)
        for theirs, name in (("prompt_len", "total_input_tokens"), ("output_len", "total_output_tokens")):
            lengths = done.get(theirs)
            mean = number_of(lengths.get("mean")) if isinstance(lengths, dict) else None
            figures.count(name, None if mean is None else mean * completed)
    times = done.get("latency")
    for theirs, metric in _INFERENCE_PERF_TIMES.items():
        figures.spread(metric, (times or {}).get(theirs), 1000.0, _INFERENCE_PERF_NAMES)
    figures.failed(number_of(value["failures"].get("count")))
    asked = load.get("requested_rate"), load.get("concurrency")
    names = zip(("request_rate", "max_concurrency"), asked, strict=True)
    settings = {name: str(content) for name, content in names if content is not None}
    label = " ".join(_varied(settings)) or "all stages"
    yield Benchmark(label, location, "inference-perf", figures.figures, settings=settings, derived=_DURATION)


# InferenceX: {"hw": "h200", "tp": 8, "conc": 64, "tput_per_gpu": ..., "median_ttft": 0.5 (s), ...}

_INFERENCEX_KEYS = frozenset(["hw", "conc", "framework", "precision", "tput_per_gpu"])
_STATISTICS = ("mean", "median", "std", *_PERCENTILES, "p99.9")


def _is_inferencex(value: Object) -> bool:
    return len(_INFERENCEX_KEYS & value.keys()) == len(_INFERENCEX_KEYS)


def _inferencex(value: Object, location: Location) -> Iterator[Benchmark | Skipped]:
    figures = FigureCollector()
    gpus = _inferencex_gpus(value)
    if gpus:
        figures.add("total_token_throughput", value.get("tput_per_gpu"), gpus)
        if not value.get("is_multinode"):
            figures.add("output_throughput", value.get("output_tput_per_gpu"), gpus)
            figures.add("input_throughput", value.get("input_tput_per_gpu"), gpus)
    for metric in ("ttft", "tpot", "itl", "e2el"):
        for statistic in _STATISTICS:
            figures.add(f"{statistic}_{metric}_ms", value.get(f"{statistic}_{metric}"), 1000.0)
    keys = ("model", "hw", "framework", "precision", "spec_decoding", "isl", "osl", "conc", "tp", "ep", "dp_attention")
    settings = {key: str(value[key]) for key in keys if value.get(key) not in (None, "", "none", False)}
    label = " ".join(
        text if key in ("model", "hw", "framework", "precision") else f"{key}={text}" for key, text in settings.items()
    )
    yield Benchmark(label, location, "InferenceX", figures.figures, settings=settings)
    if not gpus:
        yield Skipped(location, "throughputs of one GPU", "the number of GPUs is not stated")


def _inferencex_gpus(value: Object) -> float:
    if value.get("is_multinode"):
        parts = [number_of(value.get(name)) for name in ("num_prefill_gpu", "num_decode_gpu")]
        return sum(part for part in parts if part) if None not in parts else 0.0
    tensor = number_of(value.get("tp"))
    factors = [number_of(value.get(name)) or 1.0 for name in ("pp", "pcp_size")]
    return 0.0 if tensor is None else tensor * factors[0] * factors[1]


_SHAPES: tuple[tuple[Callable[[Object], bool], Callable[[Object, Location], Iterator[Benchmark | Skipped]]], ...] = (
    (_is_aiperf, _aiperf),
    (_is_llmperf, _llmperf),
    (_is_inference_perf, _inference_perf),
    (_is_inferencex, _inferencex),
)

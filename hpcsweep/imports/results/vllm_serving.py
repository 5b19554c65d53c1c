"""Read the JSON of `vllm bench serve` (0.6 and later), `benchmark_serving.py` and `sglang.bench_serving`.

Recognised by its shape: a duration, a throughput, counts of requests and tokens, and times with units.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from hpcsweep.analysis.columns import SampleRow
from hpcsweep.imports.documents.model import Benchmark, Location, Skipped
from hpcsweep.imports.documents.numbers import Number, number_of, stored
from hpcsweep.imports.results.bench_sweep import folder_parameters
from hpcsweep.load.drivers.vllm_result import DETAILS, detailed_requests

UNKNOWN_TOOL = "unknown (fields of vllm bench serve)"

_COUNTS = {
    *("completed", "failed", "total_input_tokens", "total_output_tokens", "total_output_tokens_retokenized"),
    *("max_concurrent_requests", "total_input_text_tokens", "total_input_vision_tokens"),
}
_MEASURED = {
    *("duration", "request_throughput", "request_goodput", "input_throughput", "output_throughput"),
    *("total_token_throughput", "max_output_tokens_per_s", "concurrency", "accept_length"),
}
_RENAMED = {
    "total_throughput": "total_token_throughput",
    "max_output_tokens_per_second": "max_output_tokens_per_s",
    "total_input": "total_input_tokens",
    "total_output": "total_output_tokens",
    "request_goodput:": "request_goodput",
    "input_token_throughput": "input_throughput",
}
_SETTINGS = (
    *("backend", "endpoint_type", "model_id", "request_rate", "burstiness", "max_concurrency", "num_prompts"),
    *("dataset_name", "random_input_len", "random_output_len", "date"),
)
_OTHERS = frozenset(
    [
        *("tokenizer_id", "generated_texts", "rtfx", "run_number", "best_of", "use_beam_search", "server_info"),
        *("sharegpt_output_len", "random_range_ratio", "max_output_tokens_per_s_time", "queue_times", "tag", "label"),
        *DETAILS,
    ]
)
_TIME = re.compile(r"(?:mean|median|std|min|max|p\d{1,2}(?:\.\d+)?)_(?:ttft|tpot|itl|e2el|e2e_latency)")

_NAMES = ("label", "tag")
_LITTLE = 0.25
"""Share by which requests x latency / duration may differ from the concurrency to determine the unit of times."""


def is_serving_result(value: Mapping[str, Any]) -> bool:
    """Return whether a JSON object has the shape of a result of a serving benchmark."""
    return not missing(value)


def missing(value: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the parts that an object lacks to be a result of a serving benchmark."""
    throughputs = {"request_throughput", "output_throughput", "total_token_throughput", "total_throughput"}
    lacks = [] if number_of(value.get("duration")) is not None else ["duration"]
    lacks += [] if any(number_of(value.get(name)) is not None for name in throughputs) else ["a throughput"]
    lacks += [] if number_of(value.get("completed")) is not None else ["completed"]
    return tuple(lacks)


def serving_result(value: Mapping[str, Any], location: Location) -> Iterator[Benchmark | Skipped]:
    """Yield the benchmark of a result, and what was not imported."""
    figures, skipped = _figures(value, location)
    settings = _settings(value)
    samples: tuple[SampleRow, ...] = ()
    if any(isinstance(value.get(name), list) for name in DETAILS):
        try:
            samples = tuple(_samples(value))
        except (KeyError, TypeError, ValueError, IndexError) as exc:
            skipped.append(Skipped(location, "details of single requests", f"inconsistent: {exc!r}"))
    _count_failures(value, figures, samples)
    parameters, workload = folder_parameters(PurePath(location.file).parent.name)
    repeat = value.get("run_number")
    is_swept = isinstance(repeat, int) and not isinstance(repeat, bool)
    if is_swept:
        extra = {key: str(content) for key, content in value.items() if _is_parameter(key, content)}
        parameters = parameters or {key: text for key, text in extra.items() if key not in workload}
    label = next((str(value[name]) for name in _NAMES if value.get(name)), "") or str(value.get("model_id") or "")
    varied = [f"{key}={settings[key]}" for key in settings if key not in _SETTINGS and key not in parameters]
    named = [f"{key}={text}" for key, text in parameters.items()]
    yield Benchmark(
        label=" ".join([label, *named, *varied]).strip() or location.file,
        location=location,
        tool=_tool(value, figures),
        figures=figures,
        settings=settings,
        samples=samples,
        timed=bool(samples) and isinstance(value.get("start_times"), list),
        parameters=parameters,
        workload=" ".join(f"{key}={text}" for key, text in workload.items()),
        repeat=repeat if is_swept else None,
    )
    yield from skipped


def _tool(value: Mapping[str, Any], figures: Mapping[str, Number]) -> str:
    if {"mean_e2e_latency_ms", "total_output_tokens_retokenized", "server_info"} & value.keys():
        return "sglang.bench_serving"
    if any(key.endswith("_ttft_ms") for key in value) or not any(key.endswith("_ms") for key in figures):
        return "vllm bench serve" if not any(_TIME.fullmatch(key) for key in value) else UNKNOWN_TOOL
    return UNKNOWN_TOOL


def _figures(value: Mapping[str, Any], location: Location) -> tuple[dict[str, Number], list[Skipped]]:
    """Return the figures, with times in ms, and the times whose unit is unknown."""
    figures: dict[str, Number] = {}
    without_unit: dict[str, float] = {}
    for key, content in value.items():
        name = _RENAMED.get(key, key).replace("_e2e_latency_ms", "_e2el_ms")
        number = number_of(content)
        if number is None:
            continue
        if name in _COUNTS:
            figures.setdefault(name, Number(number))
        elif name in _MEASURED or (name.endswith("_ms") and _TIME.fullmatch(key.removesuffix("_ms"))):
            figures.setdefault(name, stored(number))
        elif _TIME.fullmatch(key):
            without_unit[key.replace("_e2e_latency", "_e2el")] = number
    if not without_unit:
        return figures, []
    if _in_seconds(value, without_unit):
        for name, number in without_unit.items():
            figures.setdefault(f"{name}_ms", stored(1000 * number))
        return figures, []
    why = "the unit (s or ms) is not given, and concurrency and duration do not determine it"
    return figures, [Skipped(location, f"times {', '.join(without_unit)}", why)]


def _in_seconds(value: Mapping[str, Any], times: Mapping[str, float]) -> bool:
    """Return whether times are in seconds: then requests x latency / duration is the requested concurrency."""
    e2e = times.get("mean_e2el", times.get("median_e2el"))
    requests, duration = number_of(value.get("completed")), number_of(value.get("duration"))
    asked = number_of(value.get("max_concurrency"))
    if not e2e or not requests or not duration or not asked:
        return False
    return abs(requests * e2e / duration / min(asked, requests) - 1) <= _LITTLE


def _settings(value: Mapping[str, Any]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for key, content in value.items():
        if key in _SETTINGS and content is not None:
            settings[key] = str(content)
        elif key not in _OTHERS and isinstance(content, str):
            settings[key] = content  # --metadata
    return settings


def _is_parameter(key: str, content: Any) -> bool:
    """Return whether a key of a swept result was set by the sweep, rather than present in every result."""
    known = key in _SETTINGS or key in _OTHERS or key in _RENAMED or key in _COUNTS or key in _MEASURED
    plain = isinstance(content, (int, float, str, bool))
    measured = key.endswith("_ms") or "throughput" in key or key.startswith(("spec_decode", "max_", "peak_"))
    return plain and not known and (not measured or key.startswith("max_num") or key == "max_model_len")


def _count_failures(value: Mapping[str, Any], figures: dict[str, Number], samples: tuple[SampleRow, ...]) -> None:
    """Complete the number of failed requests, and drop all speeds of a result without a successful request."""
    completed, asked = figures.get("completed"), number_of(value.get("num_prompts"))
    if "failed" not in figures and completed is not None and asked is not None and asked > completed.value:
        failures = sum(sample.error is not None for sample in samples) if samples else asked - completed.value
        figures["failed"] = Number(float(failures))
    if completed is not None and completed.value == 0:
        for name in [name for name in figures if name not in ("completed", "failed", "duration")]:
            del figures[name]


def _samples(value: Mapping[str, Any]) -> Iterator[SampleRow]:
    requests = list(detailed_requests(value))
    first_s = min((request["sent_s"] for request in requests if "sent_s" in request), default=0.0)
    for index, request in enumerate(requests):
        failed = "error_detail" in request
        yield SampleRow(
            sample=str(index),
            index=index,
            sent_s=float(request.get("sent_s", first_s)) - first_s,
            prompt_tokens=int(request["prompt_tokens"]),
            completion_tokens=None if failed else int(request["completion_tokens"]),
            ttft_s=None if failed else float(request["ttft_s"]),
            e2e_s=None if failed else float(request["e2e_s"]),
            error="client_error" if failed else None,
            tokens_from="none" if failed else "usage",
            itl_s=() if failed else tuple(map(float, request["itl_s"])),
            error_detail=str(request.get("error_detail", "")),
        )

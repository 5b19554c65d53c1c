"""Result files: JSON or JSONL of `vllm bench serve` and `sglang.bench_serving`, GuideLLM; several objects in one."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hpcsweep.analysis.rows import SampleRow
from hpcsweep.imports.blocks import Benchmark, Place, Skipped
from hpcsweep.imports.guidellm import guidellm_benchmarks, is_guidellm
from hpcsweep.imports.numbers import Number, stored
from hpcsweep.load.drivers.vllm_result import DETAILS, detailed_requests

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
}
_SETTINGS = (
    *("backend", "endpoint_type", "model_id", "request_rate", "burstiness", "max_concurrency", "num_prompts"),
    *("dataset_name", "random_input_len", "random_output_len", "date"),
)
_LARGEST = 1e300
"""Infinity, NaN and whole numbers beyond any float are no figures."""

_NAMES = ("label", "tag")
_NOT_METADATA = frozenset([*_NAMES, *DETAILS, "tokenizer_id", "generated_texts"])


def json_objects(text: str) -> tuple[list[tuple[int, Any]], tuple[int, str] | None]:
    """(line, value) of each JSON value in a text, and where and why the reading ended early; None: it did not."""
    decoder = json.JSONDecoder()
    found: list[tuple[int, Any]] = []
    place = 0
    while True:
        while place < len(text) and text[place] in " \t\r\n,\ufeff":
            place += 1
        if place == len(text):
            return found, None
        line = text.count("\n", 0, place) + 1
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as exc:
            return found, (line, str(exc))
        found.append((line, value))


def read_objects(objects: list[tuple[int, Any]], file: str) -> Iterator[Benchmark | Skipped]:
    """The benchmarks of JSON values, lists of them included; what is none is told."""
    for line, value in objects:
        place = Place(file, line)
        if isinstance(value, list):
            yield from read_objects([(line, one) for one in value], file)
        elif isinstance(value, dict) and is_guidellm(value):
            yield from guidellm_benchmarks(value, place)
        elif isinstance(value, dict) and _is_serving_result(value):
            yield from _serving_result(value, place)
        else:
            what = (
                f"object with {', '.join(map(str, list(value)[:6]))}" if isinstance(value, dict) else repr(value)[:60]
            )
            yield Skipped(place, what, "no result of a load client that is known")


def _is_serving_result(value: Mapping[str, Any]) -> bool:
    throughputs = {"request_throughput", "output_throughput", "total_token_throughput"}
    return "duration" in value and bool(throughputs & value.keys())


def _serving_result(value: Mapping[str, Any], place: Place) -> Iterator[Benchmark | Skipped]:
    is_sglang = "input_throughput" in value or "mean_e2e_latency_ms" in value
    figures: dict[str, Number] = {}
    settings: dict[str, str] = {}
    for key, content in value.items():
        name = _RENAMED.get(key, key).replace("_e2e_latency_ms", "_e2el_ms")
        if isinstance(content, (int, float)) and not isinstance(content, bool) and abs(content) < _LARGEST:
            if name in _COUNTS:
                figures.setdefault(name, Number(float(content)))
            elif name in _MEASURED or name.endswith("_ms"):
                figures.setdefault(name, stored(float(content)))
        if key in _SETTINGS and content is not None:
            settings[key] = str(content)
        elif key not in _NOT_METADATA and isinstance(content, str):
            settings[key] = content  # --metadata
    samples: tuple[SampleRow, ...] = ()
    told: list[Skipped] = []
    if any(isinstance(value.get(name), list) for name in DETAILS):
        try:
            samples = tuple(_samples(value))
        except (KeyError, TypeError, ValueError, IndexError) as exc:
            told.append(Skipped(place, "details of single requests", f"they do not fit together: {exc!r}"))
    label = next((str(value[name]) for name in _NAMES if value.get(name)), "") or str(value.get("model_id") or "")
    varied = [f"{key}={settings[key]}" for key in settings if key not in _SETTINGS]
    yield Benchmark(
        label=" ".join([label, *varied]).strip() or place.file,
        place=place,
        tool="sglang.bench_serving" if is_sglang else "vllm bench serve",
        figures=figures,
        settings=settings,
        samples=samples,
        timed=bool(samples) and isinstance(value.get("start_times"), list),
    )
    yield from told


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

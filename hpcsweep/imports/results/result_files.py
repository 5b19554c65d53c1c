"""Read result files: JSON or JSONL of any supported load client, recognised by shape, with any number of objects."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hpcsweep.imports.documents.model import Benchmark, Location, Skipped
from hpcsweep.imports.results.client_summaries import known_summary
from hpcsweep.imports.results.guidellm import guidellm_benchmarks, is_guidellm
from hpcsweep.imports.results.llmd_report import is_llmd_report, llmd_report
from hpcsweep.imports.results.vllm_serving import is_serving_result, missing, serving_result

_MOST_KEYS = 6


def json_objects(text: str) -> tuple[list[tuple[int, Any]], tuple[int, str] | None]:
    """Return (line, value) of each JSON value in a text, and (line, reason) if reading stopped early."""
    decoder = json.JSONDecoder()
    objects: list[tuple[int, Any]] = []
    index, line, counted = 0, 1, 0
    while True:
        while index < len(text) and (text[index] in " \t\r\n,\ufeff" or text.startswith("---\n", index)):
            index += 1 if text[index] != "-" else 4  # between documents of a stream
        if index == len(text):
            return objects, None
        line += text.count("\n", counted, index)
        counted = index
        try:
            value, index = decoder.raw_decode(text, index)
        except (ValueError, RecursionError) as exc:
            return objects, (line, str(exc))
        objects.append((line, value))


def read_objects(objects: list[tuple[int, Any]], file: str) -> Iterator[Benchmark | Skipped]:
    """Yield the benchmarks in JSON values and in lists of them. Values of an unknown shape are reported once."""
    rejected: set[tuple[str, ...]] = set()
    pending = [(line, value) for line, value in reversed(objects)]
    while pending:
        line, value = pending.pop()
        location = Location(file, line)
        if isinstance(value, list):
            pending += [(line, member) for member in reversed(value)]
            continue
        shape = tuple(map(str, list(value)[:_MOST_KEYS])) if isinstance(value, dict) else (type(value).__name__,)
        read = _reader(value) if isinstance(value, dict) else None
        if read is not None:
            yield from read(value, location)
        elif shape not in rejected:
            rejected.add(shape)
            yield _rejected(value, shape, location)


def _reader(value: Mapping[str, Any]) -> Any:
    if is_guidellm(value):
        return guidellm_benchmarks
    if is_llmd_report(value):
        return llmd_report
    return known_summary(value) or (serving_result if is_serving_result(value) else None)


def _rejected(value: Any, shape: tuple[str, ...], location: Location) -> Skipped:
    if not isinstance(value, dict):
        return Skipped(location, repr(value)[:60], "not a result of a supported load client")
    why = "not a result of a supported load client"
    lacks = missing(value)
    if lacks and len(lacks) < 3:  # of the three fields that a result has
        why += f"; a result of vllm bench serve also has {', '.join(lacks)}"
    return Skipped(location, f"object with {', '.join(shape)}", why)

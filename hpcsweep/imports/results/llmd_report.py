"""Read llm-d's benchmark report, versions 0.1 and 0.2, from parsed JSON or YAML.

Field names as in llm-d-benchmark, benchmark_report, schema 0.2: `results.request_performance.aggregate`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from hpcsweep.imports.documents.model import Benchmark, Location, Skipped
from hpcsweep.imports.documents.numbers import number_of
from hpcsweep.imports.results.client_summaries import FigureCollector

VERSION = "0.2"
TIMES = {
    "time_to_first_token": "ttft",
    "time_per_output_token": "tpot",
    "inter_token_latency": "itl",
    "request_latency": "e2el",
}
RATES = {
    "request_rate": "request_throughput",
    "input_token_rate": "input_throughput",
    "output_token_rate": "output_throughput",
    "total_token_rate": "total_token_throughput",
}
STATISTICS = {
    "mean": "mean",
    "stddev": "std",
    **{name: name for name in ("p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99")},
    "p99p9": "p99.9",
}
_TO_MS = {"ms": 1.0, "s": 1000.0, "ms/token": 1.0, "s/token": 1000.0}


def is_llmd_report(value: Mapping[str, Any]) -> bool:
    """Return whether an object has the shape of llm-d's report."""
    return isinstance(value.get("version"), str) and isinstance(value.get("run"), dict) and "results" in value


def llmd_report(value: Mapping[str, Any], location: Location) -> Iterator[Benchmark | Skipped]:
    """Yield the benchmark of a report."""
    results = value["results"] if isinstance(value["results"], dict) else {}
    performance = results.get("request_performance")
    aggregate = performance.get("aggregate") if isinstance(performance, dict) else None
    if not isinstance(aggregate, dict):
        yield Skipped(
            location,
            f"benchmark report {value['version']} of llm-d",
            "it does not have results.request_performance.aggregate",
        )
        return
    figures = FigureCollector()
    requests, times, rates = (_part(aggregate, name) for name in ("requests", "latency", "throughput"))
    total, failures = number_of(requests.get("total")), number_of(requests.get("failures")) or 0.0
    completed = None if total is None else total - failures - (number_of(requests.get("incomplete")) or 0.0)
    figures.count("completed", completed)
    for theirs, name in RATES.items():
        figures.add(name, _part(rates, theirs).get("mean"))
    rate = number_of(_part(rates, "request_rate").get("mean"))
    duration = _seconds(_part(value["run"], "time").get("duration"))
    figures.add("duration", duration if duration is not None else completed / rate if completed and rate else None)
    for theirs, name in (("input_length", "total_input_tokens"), ("output_length", "total_output_tokens")):
        mean = number_of(_part(requests, theirs).get("mean"))
        figures.count(name, mean * completed if mean is not None and completed else None)
    skipped = []
    for theirs, metric in TIMES.items():
        spread = _part(times, theirs)
        scale = _TO_MS.get(str(spread.get("units")))
        if scale is not None:
            figures.spread(metric, spread, scale, STATISTICS)
            figures.add(f"median_{metric}_ms", spread.get("p50"), scale)
        elif spread:
            skipped.append(Skipped(location, theirs, f"its unit {spread.get('units')!r} is unknown"))
    figures.failed(failures)
    yield Benchmark(_label(value), location, "llm-d benchmark report", figures.figures, settings=_settings(value))
    yield from skipped


def _part(owner: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = owner.get(name)
    return part if isinstance(part, dict) else {}


def _seconds(text: Any) -> float | None:
    """Return the seconds of an ISO 8601 duration such as `PT49.97S`; None: another form."""
    if not isinstance(text, str) or not text.startswith("PT") or not text.endswith("S"):
        return None
    try:
        return float(text[2:-1])
    except ValueError:
        return None


def _settings(value: Mapping[str, Any]) -> dict[str, str]:
    load = _part(_part(_part(value, "scenario"), "load"), "standardized")
    asked = {
        "request_rate": load.get("rate_qps"),
        "max_concurrency": load.get("concurrency"),
        "client": load.get("tool"),
    }
    return {name: str(content) for name, content in asked.items() if content is not None}


def _label(value: Mapping[str, Any]) -> str:
    stack = _part(value, "scenario").get("stack")
    models = [
        _part(_part(member, "standardized"), "model").get("name") for member in stack or () if isinstance(member, dict)
    ]
    described = value["run"].get("description")
    settings = _settings(value)
    varied = [f"{name}={settings[name]}" for name in ("request_rate", "max_concurrency") if name in settings]
    first = described or next((str(name) for name in models if name), "") or str(value["run"].get("uid") or "llm-d")
    return " ".join([str(first), *varied])

"""Read GuideLLM's JSON report, versions 0.2 to 0.8, with one benchmark per rate.

Its `time_per_output_token_ms` is e2e / n, which differs from the TPOT of other tools, so it keeps its own name.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from hpcsweep.analysis.columns import SampleRow
from hpcsweep.imports.documents.model import Benchmark, Location, Skipped
from hpcsweep.imports.documents.numbers import Number, stored

_TIMES = {"time_to_first_token_ms": ("ttft", 1.0), "inter_token_latency_ms": ("itl", 1.0)}
_TIMES |= {"request_latency": ("e2el", 1000.0), "time_per_output_token_ms": ("guidellm_tpot", 1.0)}
_RATES = {"requests_per_second": "request_throughput", "output_tokens_per_second": "output_throughput"}
_RATES |= {"tokens_per_second": "total_token_throughput"}
_COUNTS = {"prompt_token_count": "total_input_tokens", "output_token_count": "total_output_tokens"}


def is_guidellm(value: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is a GuideLLM report, or a benchmark from one."""
    listed = value.get("benchmarks")
    if isinstance(listed, list):
        return any(isinstance(entry, dict) and ("metrics" in entry or "requests" in entry) for entry in listed)
    return isinstance(value.get("metrics"), dict) and "requests_per_second" in value["metrics"]


def guidellm_benchmarks(report: Mapping[str, Any], location: Location) -> Iterator[Benchmark | Skipped]:
    """Yield every benchmark of a report, and what was skipped."""
    listed = report["benchmarks"] if isinstance(report.get("benchmarks"), list) else [report]
    for number, benchmark in enumerate(listed, 1):
        metrics = benchmark.get("metrics", {}) if isinstance(benchmark, dict) else None
        if not isinstance(metrics, dict) or not (metrics or "requests" in benchmark):
            yield Skipped(location, f"benchmark {number} of a GuideLLM report", "neither metrics nor requests")
            continue
        samples, problem = _samples(benchmark)
        figures = _figures(benchmark, metrics)
        known = sum(figures[name].value for name in ("completed", "failed") if name in figures)
        if samples and known > len(samples):
            problem = f"the report has {len(samples)} of {known:.0f}; the averages of all requests are used instead"
            samples = ()
        if figures.get("completed") == Number(0.0):
            figures = {name: figures[name] for name in ("completed", "failed", "duration") if name in figures}
        yield Benchmark(
            label=_label(benchmark, number),
            location=location,
            tool="guidellm",
            figures=figures,
            samples=samples,
            timed=bool(samples),
        )
        if problem:
            yield Skipped(location, f"single requests of benchmark {number}", problem)


def _label(benchmark: Mapping[str, Any], number: int) -> str:
    for owner in (benchmark.get("config"), benchmark.get("args"), benchmark.get("scheduler")):
        strategy = owner.get("strategy") if isinstance(owner, dict) else None
        if isinstance(strategy, dict):
            kind = strategy.get("type_") or strategy.get("kind") or strategy.get("strategy_type") or "benchmark"
            rate = strategy.get("rate") or strategy.get("streams") or strategy.get("max_concurrency")
            return f"{kind} {rate}" if rate is not None else str(kind)
    return f"benchmark {number}"


def _number(value: Any) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if good else None


def _figures(benchmark: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Number]:
    figures: dict[str, Number] = {}

    def keep(name: str, value: Any, scale: float = 1.0, exact: bool = False) -> None:
        number = _number(value)
        if number is not None:
            figures[name] = Number(number) if exact else stored(number * scale)

    totals = (
        metrics.get("request_totals")
        or benchmark.get("request_totals")
        or benchmark.get("run_stats", {}).get("requests_made")
    )
    if isinstance(totals, dict):
        keep("completed", totals.get("successful"), exact=True)
        failures = [_number(totals.get(kind)) or 0.0 for kind in ("errored", "incomplete")]
        keep("failed", sum(failures), exact=True)
    keep("duration", benchmark.get("duration"))
    if "duration" not in figures:
        start, end = _number(benchmark.get("start_time")), _number(benchmark.get("end_time"))
        keep("duration", end - start if start is not None and end is not None else None)
    for theirs, name in _RATES.items():
        keep(name, _successful(metrics, theirs).get("mean"))
    for theirs, name in _COUNTS.items():
        keep(name, _successful(metrics, theirs).get("total_sum"), exact=True)
    for theirs, (name, scale) in _TIMES.items():
        spread = _successful(metrics, theirs)
        for statistic, key in (("mean", "mean"), ("median", "median"), ("std", "std_dev")):
            keep(f"{statistic}_{name}_ms", spread.get(key), scale)
        percentiles = spread.get("percentiles")
        for key in ("p50", "p90", "p95", "p99"):
            keep(f"{key}_{name}_ms", (percentiles if isinstance(percentiles, dict) else spread).get(key), scale)
    return figures


def _successful(metrics: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    spread = metrics.get(name)
    inner = spread.get("successful") if isinstance(spread, dict) else None
    return inner if isinstance(inner, dict) else {}


def _samples(benchmark: Mapping[str, Any]) -> tuple[tuple[SampleRow, ...], str]:
    """Return (the requests, why there are none)."""
    requests = benchmark.get("requests")
    if not isinstance(requests, dict):
        return (), "the report does not have them"
    rows = []
    try:
        for kind in ("successful", "errored", "incomplete"):
            rows += [_row(entry, kind) for entry in requests.get(kind) or ()]
    except (KeyError, TypeError, ValueError) as exc:
        return (), f"unknown form: {exc!r}"
    first_s = min((row["sent_s"] for row in rows), default=0.0)
    rows.sort(key=lambda row: row["sent_s"])
    return tuple(
        SampleRow(sample=str(i), index=i, **{**row, "sent_s": row["sent_s"] - first_s}) for i, row in enumerate(rows)
    ), ""


def _row(entry: Mapping[str, Any], kind: str) -> dict[str, Any]:
    timings = (entry.get("info") or {}).get("timings") or entry
    start_s = next(float(timings[k]) for k in ("request_start", "start_time") if timings.get(k) is not None)
    row: dict[str, Any] = {"sent_s": start_s, "prompt_tokens": entry.get("prompt_tokens")}
    if kind != "successful":
        detail = str((entry.get("info") or {}).get("error") or entry.get("error") or kind)[:300]
        nothing = {"completion_tokens": None, "ttft_s": None, "e2e_s": None, "tokens_from": "none"}
        return row | nothing | {"error": "client_error", "error_detail": detail}
    first_s = next(timings[k] for k in ("first_token_iteration", "first_token_time") if k in timings)
    last_s = next(timings[k] for k in ("last_token_iteration", "last_token_time", "end_time") if k in timings)
    times = {"ttft_s": float(first_s) - start_s, "e2e_s": float(last_s) - start_s}
    return row | times | {"completion_tokens": int(entry["output_tokens"])}

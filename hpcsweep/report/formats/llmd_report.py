"""Write the measurements of a variant as llm-d benchmark reports (version 0.2), one document per run and workload.

The JSON documents are separated by `---`: a stream of YAML documents, which `hpcsweep import` can read.
"""

import hashlib
import json
import math
from typing import Any

from hpcsweep import __version__
from hpcsweep.analysis.findings import Findings, Variant
from hpcsweep.analysis.findings.measured import Cell, MetricSummary
from hpcsweep.errors import ReportError
from hpcsweep.imports.results.llmd_report import VERSION

KIND = "llm-d-report"
SEPARATOR = "---\n"

_TIMES = (
    ("time_to_first_token", "ttft_s", "s"),
    ("time_per_output_token", "tpot_s", "s/token"),
    ("request_latency", "e2e_s", "s"),
)
_RATES = (
    ("request_rate", "request_throughput", "queries/s"),
    ("output_token_rate", "output_throughput", "tokens/s"),
    ("total_token_rate", "total_throughput", "tokens/s"),
)
_UID_LENGTH = 32


def llmd_reports(findings: Findings, variant: Variant) -> str:
    """Return the reports of every measured run and workload of a variant. Raises ReportError when none was measured."""
    cells = [cell for cell in findings.cells if cell.variant == variant.variant and cell.left_out is None]
    if not cells:
        raise ReportError(
            f"{variant.short_name} of {findings.sweep.sweep} does not have measurements",
            code="variant_not_measured",
            hint="run `hpcsweep status` to see why",
        )
    documents = [_report(findings, variant, cell) for cell in cells]
    return SEPARATOR.join(json.dumps(document, indent=2, ensure_ascii=False) + "\n" for document in documents)


def _report(findings: Findings, variant: Variant, cell: Cell) -> dict[str, Any]:
    uid = hashlib.sha256(f"{findings.sweep.submitted_at} {cell.run} {cell.workload}".encode()).hexdigest()
    described = f"{variant.short_name} ({variant.name}), workload {cell.workload}, repeat {cell.repeat}"
    run: dict[str, Any] = {
        "uid": uid[:_UID_LENGTH],
        "eid": findings.sweep.sweep,
        "description": described + (", simulated" if cell.simulated else ""),
        "keywords": [*(f"{axis}={level}" for axis, level in variant.axes.items()), f"hpcsweep {__version__}"],
    }
    rate = cell.throughput.get("request_throughput")
    if rate is not None and rate.value:
        run["time"] = {"duration": f"PT{cell.succeeded / rate.value:.6f}S"}
    scenario = _scenario(variant, cell)
    aggregate = {"requests": _requests(cell)}
    throughput = {name: value for name, ours, unit in _RATES if (value := _figure(cell, ours, unit))}
    latency = {name: value for name, ours, unit in _TIMES if (value := _spread(cell, ours, unit))}
    if throughput and cell.succeeded:
        aggregate["throughput"] = throughput
    if latency:
        aggregate["latency"] = latency
    results = {"request_performance": {"aggregate": aggregate}}
    return {"version": VERSION, "run": run, "scenario": scenario, "results": results}


def _scenario(variant: Variant, cell: Cell) -> dict[str, Any]:
    load: dict[str, Any] = {
        "tool": f"hpcsweep ({cell.client})",
        "tool_version": __version__,
        "source": "unknown",
        "input_seq_len": {"distribution": "other", "value": cell.prompt_tokens or 0.0},
    }
    if cell.completion_tokens is not None:
        load["output_seq_len"] = {"distribution": "other", "value": cell.completion_tokens}
    for theirs, ours in (("rate_qps", "rate"), ("concurrency", "concurrency")):
        asked = cell.settings.get(ours)
        if isinstance(asked, (int, float)) and not isinstance(asked, bool):
            load[theirs] = asked
    config = {name: value for name, value in cell.settings.items() if value is not None}
    scenario: dict[str, Any] = {"load": {"metadata": {"schema_version": "0.0.1"}, "standardized": load}}
    scenario["load"]["native"] = {"config": config}
    name = variant.model or "unknown"
    standard: dict[str, Any] = {
        "kind": "generic",
        "tool": variant.engine or "unknown",
        "tool_version": "unknown",
        "model": {"name": name},
    }
    standard["gpus"] = cell.gpus
    standard["accelerator_model"] = cell.gpu_name or "unknown"
    label = {"label": variant.short_name, "cfg_id": hashlib.sha256(variant.variant.encode()).hexdigest()[:_UID_LENGTH]}
    scenario["stack"] = [{"metadata": label, "standardized": standard, "native": {"config": dict(variant.axes)}}]
    return scenario


def _requests(cell: Cell) -> dict[str, Any]:
    requests: dict[str, Any] = {"total": cell.succeeded + cell.failed, "failures": cell.failed}
    if cell.prompt_tokens is not None:
        requests["input_length"] = {"units": "count", "mean": cell.prompt_tokens}
    if cell.completion_tokens is not None:
        requests["output_length"] = {"units": "count", "mean": cell.completion_tokens}
    return requests


def _figure(cell: Cell, name: str, unit: str) -> dict[str, Any] | None:
    figure = cell.throughput.get(name)
    return None if figure is None or figure.value is None else {"units": unit, "mean": figure.value}


def _spread(cell: Cell, name: str, unit: str) -> dict[str, Any] | None:
    summary: MetricSummary | None = cell.summary(name, "all")
    if summary is None:
        return None
    values = {
        "mean": summary.mean,
        "stddev": summary.stdev,
        "min": summary.minimum,
        "p50": summary.median,
        "p90": summary.p90,
        "p99": summary.p99,
        "max": summary.maximum,
    }
    return {"units": unit} | {key: value for key, value in values.items() if value is not None and math.isfinite(value)}

"""The report as one JSON object, by the stable schema of docs/report-json.md.

Keys are only ever added. Unknown numbers are null; times are seconds, sizes bytes.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import IO, Any

from hpcsweep.analysis.findings import Findings, RunFinding
from hpcsweep.analysis.findings.measured import Cell, StartupFinding
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report.formats.registry import DEFAULTS, Format, ReportOptions
from hpcsweep.report.plain import plain

SCHEMA = "hpcsweep.report/1"

_STARTUP_KEYS = (
    "startup_s", "load_s", "compile_s", "gpu_memory_bytes", "kv_cache_tokens", "compile_cache", "ended_in", "phases",
)  # fmt: skip
_OF_THE_RUN = {
    "run", "label", "variant", "repeat", "workload", "host", "gpu_name", "gpus", "summaries", "samples", "tps",
    "tpot_s",
}  # fmt: skip
"""Fields of a cell that are elsewhere in the object."""


class JsonFormat(Format):
    """Everything, by a documented schema."""

    name = "json"
    meaning = "everything, by a documented schema"
    suffixes = (".json",)

    def write(self, findings: Findings, stream: IO[str], options: ReportOptions = DEFAULTS) -> None:
        """Write the object."""
        write(findings, stream)


def write(findings: Findings, stream: IO[str]) -> None:
    """Write the object, one run at a time, so that the samples of a large sweep are never all in one string."""
    head = _head(findings)
    stream.write("{\n")
    for key, value in head.items():
        stream.write(f" {json.dumps(key)}: {_text(value)},\n")
    stream.write(' "runs": [')
    for number, run in enumerate(_runs(findings)):
        stream.write(("," if number else "") + "\n  " + _text(run))
    stream.write("\n ]\n}\n")


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _head(findings: Findings) -> dict[str, Any]:
    skipped = {"cells", "runs", "index", "startups"}
    body = {f.name: plain(getattr(findings, f.name)) for f in dataclasses.fields(findings) if f.name not in skipped}
    measures = {
        m.name: {"unit": m.unit, "higher_is_better": m.higher_is_better, "meaning": m.meaning} for m in METRICS.values()
    }
    return {"schema": SCHEMA, "simulated": findings.sweep.simulated, "measures": measures, **body}


def _runs(findings: Findings) -> Iterator[dict[str, Any]]:
    startups = {startup.run: startup for startup in findings.startups}
    cells: dict[str, list[Cell]] = {}
    for cell in findings.cells:
        cells.setdefault(cell.run, []).append(cell)
    for run in findings.runs:
        yield _run(run, startups.get(run.run), cells.get(run.run, []))


def _run(run: RunFinding, startup: StartupFinding | None, cells: list[Cell]) -> dict[str, Any]:
    body: dict[str, Any] = plain(run)
    body["run"] = run.label
    del body["label"]
    phases: dict[str, float] = {}
    for phase in startup.phases if startup is not None else ():
        if phase.duration_s is not None:
            phases[phase.phase.value] = phases.get(phase.phase.value, 0.0) + phase.duration_s
    return body | {
        "startup": None if startup is None else _startup(startup),
        "phases": plain(phases),
        "workloads": {cell.workload: _cell(cell) for cell in cells},
    }


def _startup(startup: StartupFinding) -> dict[str, Any]:
    return {name: plain(getattr(startup, name)) for name in _STARTUP_KEYS}


def _cell(cell: Cell) -> dict[str, Any]:
    """Return a workload of a run: its metrics by name and condition, and its samples in the order of sending."""
    body = {f.name: plain(getattr(cell, f.name)) for f in dataclasses.fields(cell) if f.name not in _OF_THE_RUN}
    metrics: dict[str, dict[str, Any]] = {}
    for summary in cell.summaries:
        values = plain(summary)
        metrics.setdefault(summary.metric, {})[summary.condition] = {
            key: values[key] for key in values if key not in ("metric", "condition")
        }
    return body | {"metrics": metrics, "samples": list(_samples(cell))}


def _samples(cell: Cell) -> Iterator[dict[str, Any]]:
    c = cell.samples
    columns: dict[str, list[Any]] = {}
    for field in dataclasses.fields(c):
        values = getattr(c, field.name)
        if len(values) == len(c):
            columns[field.name] = [plain(v) for v in (values.tolist() if hasattr(values, "tolist") else values)]
    for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
        columns[name] = [None if value is None else int(value) for value in columns[name]]
    columns["tps"] = [plain(value) for value in cell.tps.tolist()]
    columns["tpot_s"] = [plain(value) for value in cell.tpot_s.tolist()]
    names = list(columns)
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(names, values, strict=True)) | {"simulated": cell.simulated}

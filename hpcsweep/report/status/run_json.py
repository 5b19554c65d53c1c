"""`show --json`: one run with all its attempts, for scripts. Documented in docs/json.md."""

from dataclasses import asdict
from typing import Any

from hpcsweep.analysis.rows import AttemptRow, RunRow, WorkloadRow


def run_row_document(run: RunRow) -> dict[str, Any]:
    """Plain values only: the fields of `analysis.rows`, the samples as one object each."""
    return {**_plain(run, "attempts"), "attempts": [_attempt(attempt) for attempt in run.attempts]}


def _attempt(attempt: AttemptRow) -> dict[str, Any]:
    return {**_plain(attempt, "workloads"), "workloads": [_workload(workload) for workload in attempt.workloads]}


def _workload(workload: WorkloadRow) -> dict[str, Any]:
    samples: list[dict[str, Any]] = [asdict(sample) for sample in workload.samples]
    if workload.columns is not None:
        columns = {name: _values(column) for name, column in vars(workload.columns).items() if len(column)}
        samples = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return {**_plain(workload, "samples", "columns", "telemetry"), "samples": samples}


def _plain(row: Any, *without: str) -> dict[str, Any]:
    return {name: _value(value) for name, value in vars(row).items() if name not in without}


def _value(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _values(column: Any) -> list[Any]:
    """A column as JSON has it: None for NaN; whole numbers without a fraction."""
    values = column.tolist() if hasattr(column, "tolist") else column
    return [_number(value) for value in values]


def _number(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return None if isinstance(value, float) and value != value else value

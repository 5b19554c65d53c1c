"""`show --json`: one run with all its attempts, for scripts. The keys are documented in docs/json.md and stable."""

import dataclasses
from typing import Any

from hpcsweep.analysis.columns import SampleColumns
from hpcsweep.analysis.rows import AttemptRow, RunRow, WorkloadRow
from hpcsweep.report.plain import plain, plain_fields


def run_json(run: RunRow) -> dict[str, Any]:
    """Return the fields of `analysis.rows` as JSON values, with one object per sample."""
    return {**plain_fields(run, "attempts"), "attempts": [_attempt(attempt) for attempt in run.attempts]}


def _attempt(attempt: AttemptRow) -> dict[str, Any]:
    return {
        **plain_fields(attempt, "workloads"),
        "workloads": [_workload(workload) for workload in attempt.workloads],
    }


def _workload(workload: WorkloadRow) -> dict[str, Any]:
    samples = plain(workload.samples) if workload.columns is None else list(_samples(workload.columns))
    return {**plain_fields(workload, "samples", "columns", "telemetry"), "samples": samples}


def _samples(columns: SampleColumns) -> list[dict[str, Any]]:
    """Return the columns that have values, as one object per sample."""
    named = {field.name: plain(getattr(columns, field.name)) for field in dataclasses.fields(columns)}
    filled = {name: values for name, values in named.items() if values}
    return [dict(zip(filled, values, strict=True)) for values in zip(*filled.values(), strict=True)]

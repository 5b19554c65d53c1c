"""Read sweep.json, job.json, job.sh and submission.json into the tables `sweep`, `submission` and `run`."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection, delete, select

from hpcsweep.errors import StoreError
from hpcsweep.foreign_files import DOCUMENT_LIMIT_BYTES, read_regular
from hpcsweep.spec.base import validation_text
from hpcsweep.spec.file_names import SCRIPT_FILE, SPEC_FILE
from hpcsweep.spec.job import JobSpec, PlannedWorkload, RunSpec
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.spec.sweep import SweepFile, SweepRunEntry
from hpcsweep.store.ingest.preparations import save_preparation
from hpcsweep.store.schema import INGEST_CURSOR, RUN, SUBMISSION, SWEEP
from hpcsweep.store.scope import refuse_other_home
from hpcsweep.store.statements import insert_new, pairs, save, update_rows
from hpcsweep.sweep.layout import SUBMISSION_FILE, SWEEP_FILE, SweepFolder, current_jobs, is_label
from hpcsweep.sweep.submission import Submission

_SCRIPT_LIMIT_BYTES = 16 << 20
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class _CurrentTask:
    """The array task of the current job of a run; see `sweep.layout.current_jobs`."""

    submission_id: int
    job: JobSpec
    index: int
    run: RunSpec


def ingest_definition(
    connection: Connection, folder: SweepFolder, stamps: Mapping[str, str], home_id: str | None
) -> int:
    """Read the files that define a sweep into the store; return the sweep's id.

    `stamps`: of the files, taken before they are read. `home_id`: see `Home.identity`. Raises StoreError when a file is
    corrupt, or when the store has another sweep of the same name.
    """
    sweep = _read(SweepFile, folder.path / SWEEP_FILE)
    for run in sweep.runs:
        if not is_label(run.label):
            raise StoreError(
                f"{folder.path / SWEEP_FILE} is corrupt: {ascii(run.label)[:100]} cannot be the name of a run's folder",
                code="sweep_file_corrupt",
            )
    sweep_id = _save_sweep(connection, folder, sweep, home_id)
    jobs: list[tuple[JobSpec, bool]] = []
    submissions: dict[int, int] = {}
    for number in folder.job_numbers():
        job = _read(JobSpec, folder.job_dir(number) / SPEC_FILE)
        submissions[job.job], submitted = _save_submission(connection, sweep_id, folder, job)
        jobs.append((job, submitted))
    tasks = {label: _CurrentTask(submissions[task[0].job], *task) for label, task in current_jobs(jobs).items()}
    _save_runs(connection, sweep_id, sweep, tasks)
    for path, stamp in stamps.items():
        _save_stamp(connection, sweep_id, path, stamp)
    return sweep_id


def _save_sweep(connection: Connection, folder: SweepFolder, sweep: SweepFile, home_id: str | None) -> int:
    sweep_dir = str(folder.path.absolute())
    there = connection.execute(select(SWEEP).where(SWEEP.c.name == folder.name)).one_or_none()
    if there is not None and there.submitted_at != sweep.submitted_at:
        refuse_other_home(folder, home_id, there)
        if there.sweep_dir != sweep_dir and Path(there.sweep_dir).exists():
            raise StoreError(
                f"{sweep_dir}: the store has another sweep {folder.name}, from {there.sweep_dir}",
                code="sweep_name_conflict",
                hint="give each HPCSWEEP_HOME its own store",
            )
        connection.execute(delete(SWEEP).where(SWEEP.c.id == there.id))  # the folder was deleted and created again
    values = {
        "sweep_dir": sweep_dir,
        "experiment": str(sweep.experiment.get("name") or folder.name),
        "title": sweep.title,
        "cluster": sweep.cluster,
        "scheduler": str(sweep.profile.get("scheduler") or "local"),
        "submitted_at": sweep.submitted_at,
        "simulated": sweep.simulated,
        "axes": sweep.axes,
        "baseline": sweep.baseline,
        "versions": sweep.versions,
        "provenance": sweep.provenance,
        "profile": sweep.profile,
        "definition": sweep.experiment,
        "models": sweep.models,
        "home_id": home_id or (there.home_id if there is not None else None),
    }
    return save(connection, SWEEP, {"name": folder.name}, values)


def _save_submission(connection: Connection, sweep_id: int, folder: SweepFolder, job: JobSpec) -> tuple[int, bool]:
    """Return (id of the row, whether the job was submitted)."""
    submission_path = folder.job_dir(job.job) / SUBMISSION_FILE
    submission = _read(Submission, submission_path) if submission_path.exists() else None
    script_path = folder.job_dir(job.job) / SCRIPT_FILE
    script = _script(script_path)
    values = {
        "name": job.name,
        "is_array": len(job.array_tasks) > 1 and not (submission and submission.plain == "job"),
        "resources": job.resources.model_dump(mode="json"),
        "script": script,
        "job_id": submission.job_id if submission else None,
        "submitted_at": submission.submitted_at if submission and not submission.plain else None,
        "cancelled": submission.cancelled if submission else [],
        "needs": job.needs,
    }
    submission_id = save(connection, SUBMISSION, {"sweep_id": sweep_id, "job": job.job}, values)
    save_preparation(connection, submission_id, job)
    return submission_id, submission is not None


def _script(path: Path) -> str:
    """Return the text of job.sh; empty when it cannot be read."""
    try:
        return read_regular(path, _SCRIPT_LIMIT_BYTES).decode("utf-8", "replace").replace("\0", "?")
    except OSError:
        return ""


def _save_runs(connection: Connection, sweep_id: int, sweep: SweepFile, tasks: Mapping[str, _CurrentTask]) -> None:
    rows = [
        _run_row(position, run, tasks.get(run.label)) | {"documented_only": False}
        for position, run in enumerate(sweep.runs)
    ]
    taken = {run.label for run in sweep.runs}
    for entry in sweep.not_run:
        title = entry.label or entry.title or "not run"
        label = next(name for name in chain([title], (f"{title} ({n})" for n in count(2))) if name not in taken)
        taken.add(label)
        run = SweepRunEntry(
            label=label,
            axes=entry.axes,
            not_submitted=True,
            outcome=entry.outcome,
            state_reason=entry.reason,
        )
        rows.append(_run_row(len(rows), run, None) | {"documented_only": True})
    known = pairs(connection, select(RUN.c.label, RUN.c.id).where(RUN.c.sweep_id == sweep_id))
    insert_new(connection, RUN, [{**row, "sweep_id": sweep_id} for row in rows if row["label"] not in known])
    update_rows(connection, RUN, "id", [{**row, "id": known[row["label"]]} for row in rows if row["label"] in known])


def _run_row(position: int, run: SweepRunEntry, task: _CurrentTask | None) -> dict[str, Any]:
    resources = task.job.resources if task else None
    outcome = run.outcome or (OutcomeKind.NOT_RUN if run.not_submitted else None)
    return {
        "label": run.label,
        "position": position,
        "variant_id": run.variant_id,
        "repeat": run.repeat,
        "axes": run.axes,
        "engine": task.run.server.engine if task else run.engine,
        "model": task.run.server.served_name if task else run.model,
        "gpus": run.gpus or (task.run.gpus if task else 0),
        "gpu_type": resources.gpu_type if resources else None,
        "nodes": resources.nodes if resources else 1,
        "samples_total": sum(map(planned_samples, task.run.workloads)) if task else 0,
        "simulated": task.run.simulation is not None if task else run.simulated,
        "not_submitted": run.not_submitted,
        "outcome": outcome.value if outcome else None,
        "reason": run.state_reason,
        "submission_id": task.submission_id if task else None,
        "array_index": task.index if task else None,
        "known_attempts": task.run.attempt_offset if task else 0,
        "server": task.run.server.model_dump(mode="json") if task else run.server,
        "workloads": [_workload(planned) for planned in task.run.workloads] if task else [],
    }


def _workload(planned: PlannedWorkload) -> dict[str, Any]:
    """Return the entry of a workload in the column `run.workloads`."""
    return {
        "settings": planned.workload.model_dump(mode="json"),
        "left_out": planned.left_out and str(planned.left_out),
        "samples": planned_samples(planned),
        "sha256": next(iter(planned.facts.files.values()), None),
    }


def planned_samples(planned: PlannedWorkload) -> int:
    """Return the number of requests that a run sends of this workload, without the warm-up."""
    if planned.left_out is not None:
        return 0
    requests = planned.workload.num_requests
    return (planned.facts.requests if requests is None else requests) * planned.workload.repeats


def _save_stamp(connection: Connection, sweep_id: int, path: str, stamp: str) -> None:
    insert_new(connection, INGEST_CURSOR, [{"sweep_id": sweep_id, "path": path, "offset": 0, "stamp": stamp}])
    where = (INGEST_CURSOR.c.sweep_id == sweep_id, INGEST_CURSOR.c.path == path)
    connection.execute(INGEST_CURSOR.update().where(*where).values(stamp=stamp))


def _read(model: type[_Model], path: Path) -> _Model:
    try:
        return model.model_validate_json(read_regular(path, DOCUMENT_LIMIT_BYTES))
    except OSError as exc:
        raise StoreError(f"{path} cannot be read: {exc.strerror}", code="definition_unreadable") from exc
    except ValidationError as exc:
        raise StoreError(
            f"{path} is corrupt: {validation_text(exc)}",
            code="definition_corrupt",
            hint="the file is written once, by `hpcsweep submit`",
        ) from exc

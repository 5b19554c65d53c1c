"""What a sweep is: sweep.json, job.json, job.sh and submission.json into the tables sweep, submission and run."""

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
from hpcsweep.spec.job import JobSpec, PlannedWorkload, RunSpec
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.spec.sweep import SweepFile, SweepRunEntry
from hpcsweep.store.schema import INGEST_CURSOR, RUN, SUBMISSION, SWEEP
from hpcsweep.store.scope import refuse_other_home
from hpcsweep.store.statements import insert_new, pairs, save, update_rows
from hpcsweep.sweep.layout import SUBMISSION_FILE, SWEEP_FILE, SweepFolder, is_label, places
from hpcsweep.sweep.submission import Submission

SCRIPT_FILE = "job.sh"
_SCRIPT_LIMIT_BYTES = 16 << 20
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class _Place:
    """The job of a run that counts, see `submit.layout.places`."""

    submission_id: int
    job: JobSpec
    index: int
    run: RunSpec


def ingest_definition(
    connection: Connection, folder: SweepFolder, stamps: Mapping[str, str], home_id: str | None
) -> int:
    """Read the files that define a sweep into the store; the sweep's id. `stamps`: as they were before the reading.

    `home_id`: see `Home.identity`.

    Raises StoreError when a file is damaged, or when another sweep of the same name stands in the store.
    """
    sweep = _read(SweepFile, folder.path / SWEEP_FILE)
    for run in sweep.runs:
        if not is_label(run.label):
            raise StoreError(f"{folder.path / SWEEP_FILE} is damaged: a run cannot be called {ascii(run.label)[:100]}")
    sweep_id = _save_sweep(connection, folder, sweep, home_id)
    jobs: list[tuple[JobSpec, bool]] = []
    submissions: dict[int, int] = {}
    for number in folder.job_numbers():
        job = _read(JobSpec, folder.job_dir(number) / "job.json")
        submissions[job.job], handed_over = _save_submission(connection, sweep_id, folder, job)
        jobs.append((job, handed_over))
    found = places(jobs)
    _save_runs(
        connection,
        sweep_id,
        sweep,
        {label: _Place(submissions[place[0].job], *place) for label, place in found.items()},
    )
    for path, stamp in stamps.items():
        _save_stamp(connection, sweep_id, path, stamp)
    return sweep_id


def _save_sweep(connection: Connection, folder: SweepFolder, sweep: SweepFile, home_id: str | None) -> int:
    where = str(folder.path.absolute())
    there = connection.execute(select(SWEEP).where(SWEEP.c.name == folder.name)).one_or_none()
    if there is not None and there.submitted_at != sweep.submitted_at:
        refuse_other_home(folder, home_id, there)
        if there.sweep_dir != where and Path(there.sweep_dir).exists():
            raise StoreError(
                f"{where}: another sweep {folder.name} stands in this store, from {there.sweep_dir}",
                hint="give each HPCSWEEP_HOME its own store",
            )
        connection.execute(delete(SWEEP).where(SWEEP.c.id == there.id))  # the folder was made anew
    values = {
        "sweep_dir": where,
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
        "home_id": home_id or (there.home_id if there is not None else None),
    }
    return save(connection, SWEEP, {"name": folder.name}, values)


def _save_submission(connection: Connection, sweep_id: int, folder: SweepFolder, job: JobSpec) -> tuple[int, bool]:
    """(id of its row, whether it was handed over)."""
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
    }
    return save(connection, SUBMISSION, {"sweep_id": sweep_id, "job": job.job}, values), submission is not None


def _script(path: Path) -> str:
    """The text of job.sh; empty where there is none that can be read."""
    try:
        return read_regular(path, _SCRIPT_LIMIT_BYTES).decode("utf-8", "replace").replace("\0", "?")
    except OSError:
        return ""


def _save_runs(connection: Connection, sweep_id: int, sweep: SweepFile, places: Mapping[str, _Place]) -> None:
    rows = [_run_row(position, run, places.get(run.label)) | {"idea": False} for position, run in enumerate(sweep.runs)]
    taken = {run.label for run in sweep.runs}
    for entry in sweep.not_run:
        title = entry.label or entry.title or "not run"
        label = next(name for name in chain([title], (f"{title} ({n})" for n in count(2))) if name not in taken)
        taken.add(label)
        run = SweepRunEntry(
            label=label,
            axes=entry.axes,
            planned_only=True,
            outcome=entry.outcome,
            state_reason=entry.reason,
        )
        rows.append(_run_row(len(rows), run, None) | {"idea": True})
    known = pairs(connection, select(RUN.c.label, RUN.c.id).where(RUN.c.sweep_id == sweep_id))
    insert_new(connection, RUN, [{**row, "sweep_id": sweep_id} for row in rows if row["label"] not in known])
    update_rows(connection, RUN, "id", [{**row, "id": known[row["label"]]} for row in rows if row["label"] in known])


def _run_row(position: int, run: SweepRunEntry, place: _Place | None) -> dict[str, Any]:
    resources = place.job.resources if place else None
    outcome = run.outcome or (OutcomeKind.NOT_RUN if run.planned_only else None)
    return {
        "label": run.label,
        "position": position,
        "variant_id": run.variant_id,
        "repeat": run.repeat,
        "axes": run.axes,
        "engine": place.run.server.engine if place else run.engine,
        "model": place.run.server.served_name if place else run.model,
        "gpus": run.gpus or (place.run.gpus if place else 0),
        "gpu_type": resources.gpu_type if resources else None,
        "nodes": resources.nodes if resources else 1,
        "samples_total": sum(map(planned_samples, place.run.workloads)) if place else 0,
        "simulated": place.run.simulation is not None if place else run.simulated,
        "planned_only": run.planned_only,
        "outcome": outcome.value if outcome else None,
        "reason": run.state_reason,
        "submission_id": place.submission_id if place else None,
        "array_index": place.index if place else None,
        "known_attempts": place.run.attempt_offset if place else 0,
        "server": place.run.server.model_dump(mode="json") if place else run.server,
        "workloads": [_workload(planned) for planned in place.run.workloads] if place else [],
    }


def _workload(planned: PlannedWorkload) -> dict[str, Any]:
    """What the column `run.workloads` keeps of one."""
    return {
        "settings": planned.workload.model_dump(mode="json"),
        "left_out": None if planned.left_out is None else str(planned.left_out),
        "samples": planned_samples(planned),
        "sha256": next(iter(planned.facts.files.values()), None),
    }


def planned_samples(planned: PlannedWorkload) -> int:
    """Requests that a run will send of this workload, warm-up apart."""
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
        raise StoreError(f"{path} cannot be read: {exc.strerror}") from exc
    except ValidationError as exc:
        raise StoreError(f"{path} is damaged: {validation_text(exc)}", hint="it is written once, by submit") from exc

"""Add a run to a sweep's folder. The caller holds the sweep's lock; sweep.json is replaced last."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from hpcsweep.atomic_files import write_json, write_text
from hpcsweep.errors import HpcsweepError, PlanError, SpecError
from hpcsweep.node.records import read_record
from hpcsweep.plan.variables import baseline_of
from hpcsweep.render.job import job_files
from hpcsweep.render.own_script import own_environment, with_values
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.file_names import OLD_TASKS_DIR, SPEC_FILE, TASKS_DIR
from hpcsweep.spec.job import ArrayTask, JobSpec
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.spec.records import TaskExitRecord
from hpcsweep.spec.sweep import SWEEP_SCHEMA
from hpcsweep.sweep.layout import SWEEP_FILE, SweepFolder
from hpcsweep.sweep.prepare import Prepared, plan_jobs, sweep_document, versions
from hpcsweep.sweep.submission import Submission
from hpcsweep.sweep.write import copy_data, write_jobs

_SAME_JOB_S = 3600.0
"""A job with this id that ended by itself longer ago is another one: a reinstalled scheduler counts from 1 again."""


@dataclass(frozen=True)
class Newcomer:
    """The job that joins a sweep. `index`: in its array; None: a single job. `label`: the user's name of the run."""

    scheduler: str
    job_id: str | None
    name: str | None
    index: int | None
    label: str | None


def join_sweep(folder: SweepFolder, cache_dir: Path, prepared: Prepared, newcomer: Newcomer) -> tuple[Path, int]:
    """Add the only run of `prepared` to a new or existing sweep. Return the submission's folder and the task's index.

    A job that has joined before with this variant gets the same array task. Raises SpecError, OSError.
    """
    number = _own_job(folder, newcomer)
    index = newcomer.index or 0
    if number is not None:
        tasks = folder.read_job(number).array_tasks
        own = [task for task in tasks if newcomer.index is None or task.index == newcomer.index]
        same = [task for task in own if any(run.variant_id == prepared.runs[0].variant_id for run in task.runs)]
        if same:
            return folder.job_dir(number), same[-1].index
        if own and newcomer.index is not None:
            raise SpecError(
                f"array task {newcomer.index} of {newcomer.job_id} has already executed {own[0].runs[0].label}",
                code="array_task_used",
                hint="start hpcsweep-node once per array task, or submit jobs without an array",
            )
        index = max((task.index for task in own), default=-1) + 1 if newcomer.index is None else index
    return _add(folder, cache_dir, prepared, newcomer, number, index)


def record_failure(
    folder: SweepFolder,
    experiment_file: Path,
    experiment: Experiment,
    target: tuple[str, Cluster],
    newcomer: Newcomer,
    failure: HpcsweepError,
) -> None:
    """Record in a new or existing sweep why the job could not be run. Raises OSError."""
    document = _document(folder, experiment) or {
        "schema_version": SWEEP_SCHEMA,
        "sweep": folder.name,
        "experiment": experiment.model_dump(mode="json"),
        "experiment_file": str(experiment_file),
        "title": experiment.title or experiment.name,
        "cluster": target[0],
        "profile": target[1].model_dump(mode="json"),
        "submitted_at": time.time(),
        "axes": {},
        "baseline": {},
        "versions": versions(),
        "provenance": {},
        "simulated": False,
        "own_script": False,
        "runs": [],
        "not_run": [],
    }
    reason = f"{failure.message} ({failure.hint})" if failure.hint else failure.message
    job = f"job {newcomer.job_id}: " if newcomer.job_id else ""
    taken = {run["label"] for run in document["runs"]}
    run = {
        "label": _free(newcomer.label or f"job-{newcomer.index or 0}", "", taken),
        "not_submitted": True,
        "outcome": (OutcomeKind.UNSUPPORTED if isinstance(failure, PlanError) else OutcomeKind.FAILED).value,
        "state_reason": f"{job}{reason}",
    }
    (folder.path / "runs").mkdir(exist_ok=True)
    write_json(folder.path / SWEEP_FILE, {**document, "runs": [*document["runs"], run]})


def _add(
    folder: SweepFolder, cache_dir: Path, prepared: Prepared, newcomer: Newcomer, number: int | None, index: int
) -> tuple[Path, int]:
    document = _document(folder, prepared.experiment)
    (job,) = plan_jobs(prepared, folder.name, str(folder.path), str(cache_dir), preparations=False)
    provenance = {"command": f"hpcsweep-node in job {newcomer.job_id or '-'}"}
    ours = sweep_document(prepared, folder.name, [job], provenance).model_dump(mode="json")
    ours["baseline"] |= baseline_of(prepared.experiment)  # not the variant of the first job
    before: list[dict[str, Any]] = document["runs"] if document is not None else []
    repeat = 1 + sum(run.get("variant_id") == ours["runs"][0]["variant_id"] for run in before)
    taken = {run["label"]: run.get("variant_id") for run in before}
    label = _label(newcomer.label or ours["runs"][0]["label"], ours["runs"][0]["variant_id"], repeat, taken)
    exports = {"EXP_NAME": label, "HPCSWEEP_RUN": label, "HPCSWEEP_REPEAT": str(repeat)}
    planned = job.array_tasks[0].runs[0]
    run = planned.model_copy(
        update={
            "run_id": f"{folder.name}/{label}",
            "label": label,
            "repeat": repeat,
            "run_dir": f"{folder.path}/runs/{label}",
            "exports": {**planned.exports, **exports},
        }
    )
    task = ArrayTask(index=index, runs=[run])
    for name in ("data", "runs"):
        (folder.path / name).mkdir(exist_ok=True)
    copy_data(prepared, folder)
    (folder.path / "runs" / label).mkdir(exist_ok=True)
    if number is None:
        number = max([-1, *folder.job_numbers(), *_folders(folder)]) + 1
        job = job.model_copy(update={"job": number, "name": f"{folder.name}-{number}", "array_tasks": [task]})
        _write_job(folder, job, prepared)
    else:
        known = folder.read_job(number)
        job = known.model_copy(update={"array_tasks": [*known.array_tasks, task]})
        _write_task(folder, job, task, prepared)
    _write_submission(folder, job, prepared, newcomer)
    entry = {**ours["runs"][0], "label": label, "repeat": repeat, "job": number, "index": index}
    write_json(folder.path / SWEEP_FILE, _merged(document or {**ours, "runs": []}, ours, entry))
    return folder.job_dir(number), index


def _merged(document: Mapping[str, Any], ours: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return sweep.json with one more run and its levels."""
    axes = {axis: list(labels) for axis, labels in document["axes"].items()}
    for axis, labels in ours["axes"].items():
        axes[axis] = list(dict.fromkeys([*axes.get(axis, []), *labels]))
    return {
        **document,
        "axes": axes,
        "baseline": {**ours["baseline"], **document["baseline"]},
        "facts": {**document.get("facts", {}), **ours["facts"]},
        "simulated": bool(document["simulated"] or ours["simulated"]),
        "own_script": bool(document["own_script"] or ours["own_script"]),
        "runs": [*document["runs"], dict(entry)],
    }


def _document(folder: SweepFolder, experiment: Experiment) -> dict[str, Any] | None:
    """Return sweep.json; None: the sweep is new. Raises SpecError when it is a sweep of another experiment."""
    if not (folder.path / SWEEP_FILE).exists():
        return None
    document = folder.read_sweep().model_dump(mode="json")
    if document["experiment"] != experiment.model_dump(mode="json"):
        raise SpecError(
            f"sweep {folder.name} belongs to another experiment, or to an older version of {experiment.name}",
            code="sweep_of_other_experiment",
            hint="set HPCSWEEP_SWEEP to a new name",
        )
    return document


def _own_job(folder: SweepFolder, newcomer: Newcomer) -> int | None:
    """Return the number of the folder that an earlier start of this job, or another task of its array, created."""
    if newcomer.job_id is None:
        return None
    for number in reversed(folder.job_numbers()):
        submission = folder.read_submission(number)
        if submission is None or not submission.plain or submission.job_id != newcomer.job_id:
            continue
        own = "*" if newcomer.index is None else str(newcomer.index)
        job_dir = folder.job_dir(number)
        paths = [path for name in (TASKS_DIR, OLD_TASKS_DIR) for path in job_dir.glob(f"{name}/{own}.exit.json")]
        ends = [end for path in paths if (end := read_record(path, TaskExitRecord)) is not None]
        ended_at = max((end.ended_at or 0.0 for end in ends if end.exit_code == 0), default=None)
        return None if ended_at is not None and time.time() - ended_at > _SAME_JOB_S else number
    return None


def _label(wanted: str, variant_id: str, repeat: int, taken: Mapping[str, Any]) -> str:
    """Return the run's label: the user's name, with the repeat or the variant if that is taken."""
    if wanted not in taken:
        return wanted
    suffix = f"_rep-{repeat}" if taken[wanted] == variant_id else f"_{variant_id[:8]}"
    return _free(wanted, suffix, taken)


def _free(name: str, suffix: str, taken: Sequence[str] | Mapping[str, Any] | set[str]) -> str:
    names: Iterator[str] = chain([f"{name}{suffix}"], (f"{name}{suffix}-{n}" for n in count(2)))
    return next(label for label in names if label not in taken)


def _folders(folder: SweepFolder) -> list[int]:
    """Return the numbers of all submission folders, including those without job.json."""
    return [int(entry.name) for entry in (folder.path / "jobs").glob("*") if entry.name.isdigit()]


def _python(prepared: Prepared) -> str:
    return prepared.cluster.python or sys.executable


def _write_job(folder: SweepFolder, job: JobSpec, prepared: Prepared) -> None:
    script = prepared.script
    files = job_files(job, with_values(script or ""), own_environment(_python(prepared)))
    write_jobs([job], [files], folder)


def _write_task(folder: SweepFolder, job: JobSpec, task: ArrayTask, prepared: Prepared) -> None:
    files = job_files(job, "", own_environment(_python(prepared))).files
    name = f"{TASKS_DIR}/{task.index}.env"
    (folder.job_dir(job.job) / name).write_text(files[name], encoding="utf-8", errors="surrogateescape")
    write_text(folder.job_dir(job.job) / SPEC_FILE, files[SPEC_FILE])


def _write_submission(folder: SweepFolder, job: JobSpec, prepared: Prepared, newcomer: Newcomer) -> None:
    if newcomer.job_id is None:
        return
    before = folder.read_submission(job.job)
    submission = Submission(
        job_id=newcomer.job_id,
        cluster=prepared.cluster_name,
        scheduler=newcomer.scheduler,
        submitted_at=before.submitted_at if before is not None else time.time(),
        array_tasks=max(task.index for task in job.array_tasks) + 1,
        cancelled=before.cancelled if before is not None else [],
        plain="job" if newcomer.index is None else "array",
        name=newcomer.name,
    )
    folder.write_submission(job.job, submission)

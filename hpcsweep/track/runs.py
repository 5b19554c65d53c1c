"""Read sweeps from the store, with the current state of each run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Select, Table, func, select

from hpcsweep.schedulers.base import JobState
from hpcsweep.schedulers.registry import array_task_id
from hpcsweep.store.schema import (
    ATTEMPT,
    PHASE,
    RUN,
    SCHEDULER_STATUS,
    SUBMISSION,
    SWEEP,
    WORKLOAD_RESULT,
)
from hpcsweep.store.types import Json
from hpcsweep.track.evidence import RunVerdict
from hpcsweep.track.preparations import (
    PreparationStatus,
    latest_of_each,
    needed_of,
    preparation_rows,
    preparation_status,
    with_preparations,
)
from hpcsweep.track.verdict import Row, run_verdict, with_missing_files


@dataclass(frozen=True)
class Progress:
    """Progress of the latest attempt of a run, without warm-up requests.

    `phase_start_s`, `last_t_s`: on the attempt's clock, which runs `time_scale` times faster than `last_at`, Unix
    seconds of the last progress signal. `output_tps`: completion tokens of the good samples / (last end - first sent),
    summed over workloads; None: no sample has ended.
    """

    phase: str | None = None
    phase_start_s: float | None = None
    phase_budget_s: float | None = None
    last_t_s: float | None = None
    last_at: float | None = None
    idle_s: float | None = None
    cause: str | None = None  # of a stall
    startup_s: float | None = None
    duration_s: float | None = None
    time_scale: float = 1.0
    samples_done: int = 0
    samples_failed: int = 0
    samples_total: int = 0
    output_tps: float | None = None


@dataclass(frozen=True)
class RunStatus:
    """A run and its state."""

    run_id: int
    run: str
    axes: Mapping[str, str]
    repeat: int
    attempt: int | None
    job: str | None
    node: str | None
    simulated: bool
    verdict: RunVerdict
    progress: Progress
    queued_s: float | None
    gpus: int
    not_submitted: bool
    documented_only: bool


@dataclass(frozen=True)
class SweepStatus:
    """A sweep and its runs, in the order of the plan. `documented`: variants that the experiment lists as not run.

    `preparations`: all their jobs, by number.
    """

    sweep_id: int
    name: str
    experiment: str
    title: str
    cluster: str
    scheduler: str
    submitted_at: float
    simulated: bool
    sweep_dir: str
    runs: tuple[RunStatus, ...]
    documented: tuple[RunStatus, ...] = ()
    preparations: tuple[PreparationStatus, ...] = ()

    @property
    def current_preparations(self) -> tuple[PreparationStatus, ...]:
        """Return the latest job of each preparation."""
        return latest_of_each(self.preparations)


def read_runs(connection: Connection, sweeps: Sequence[str] | None = None) -> list[SweepStatus]:
    """Return these sweeps, or all of them, the oldest first, with a constant number of queries."""
    query = select(*_light(SWEEP)).order_by(SWEEP.c.submitted_at, SWEEP.c.id)
    if sweeps is not None:
        query = query.where(SWEEP.c.name.in_(list(sweeps)))
    chosen = connection.execute(query).mappings().all()
    ids = [row["id"] for row in chosen]
    submissions = {row["id"]: row for row in _of_sweeps(connection, _submissions(), ids)}
    status_query = select(SCHEDULER_STATUS, SUBMISSION.c.sweep_id).join(
        SUBMISSION, SUBMISSION.c.id == SCHEDULER_STATUS.c.submission_id
    )
    statuses = {(row["submission_id"], row["array_index"]): row for row in _of_sweeps(connection, status_query, ids)}
    attempts = {row["run_id"]: row for row in _of_sweeps(connection, _latest_attempts(), ids)}
    phases = {row["attempt_id"]: row for row in _of_sweeps(connection, _current_phases(), ids)}
    sums = {row["attempt_id"]: row for row in _of_sweeps(connection, _sample_sums(), ids)}
    runs: dict[int, list[RunStatus]] = {}
    folders = {row["id"]: Path(row["sweep_dir"]) for row in chosen}
    incomplete = {row["id"]: row["incomplete"] for row in chosen}
    schedulers = {row["id"]: row["scheduler"] for row in chosen}
    preparations: dict[int, list[PreparationStatus]] = {}
    for row in _of_sweeps(connection, preparation_rows(), ids):
        status = statuses.get((row["submission_id"], 0))
        earlier = preparations.setdefault(row["sweep_id"], [])
        earlier.append(preparation_status(row, status, folders[row["sweep_id"]], incomplete[row["sweep_id"]], earlier))
    for run in _of_sweeps(connection, select(*_light(RUN)).order_by(RUN.c.sweep_id, RUN.c.position), ids):
        attempt = attempts.get(run["id"])
        submission = submissions.get(run["submission_id"])
        status = statuses.get((run["submission_id"], run["array_index"]))
        verdict = run_verdict(run, attempt, submission, status, folders[run["sweep_id"]])
        verdict = with_missing_files(verdict, incomplete[run["sweep_id"]])
        needed = needed_of(submission, preparations.get(run["sweep_id"], ())) if submission is not None else []
        fresh = attempt if attempt is not None and attempt["attempt"] > run["known_attempts"] else None
        if needed and fresh is None and submission and run["array_index"] not in submission["cancelled"]:
            verdict = with_preparations(verdict, needed, JobState(status["state"]) if status else None)
        attempt_id = attempt["id"] if attempt is not None else None
        runs.setdefault(run["sweep_id"], []).append(
            RunStatus(
                run_id=run["id"],
                run=run["label"],
                axes=run["axes"],
                repeat=run["repeat"],
                attempt=attempt["attempt"] if attempt is not None else None,
                job=_job(fresh, submission, run["array_index"], schedulers[run["sweep_id"]]),
                node=(fresh["host"] if fresh else None) or (status["node"] if status else None),
                simulated=bool(
                    run["simulated"] if attempt is None or attempt["simulated"] is None else attempt["simulated"]
                ),
                verdict=verdict,
                progress=_progress(run, attempt, phases.get(attempt_id or 0), sums.get(attempt_id or 0)),
                queued_s=_queued_s(fresh, submission, needed),
                gpus=run["gpus"],
                not_submitted=run["not_submitted"],
                documented_only=run["documented_only"],
            )
        )
    return [
        SweepStatus(
            sweep_id=row["id"],
            name=row["name"],
            experiment=row["experiment"],
            title=row["title"],
            cluster=row["cluster"],
            scheduler=row["scheduler"],
            submitted_at=row["submitted_at"],
            simulated=row["simulated"],
            sweep_dir=row["sweep_dir"],
            runs=tuple(run for run in runs.get(row["id"], ()) if not run.documented_only),
            documented=tuple(run for run in runs.get(row["id"], ()) if run.documented_only),
            preparations=tuple(preparations.get(row["id"], ())),
        )
        for row in chosen
    ]


def _of_sweeps(connection: Connection, query: Select[Any], ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return the rows of `query`, which has a column sweep_id, that belong to these sweeps."""
    if not ids:
        return []
    column = query.selected_columns["sweep_id"]
    # Few sweeps in a list, many by the range of their ids: a constant number of parameters.
    wanted = column.in_(ids) if len(ids) <= 100 else column.between(min(ids), max(ids))
    chosen = set(ids)
    rows = connection.execute(query.where(wanted)).mappings().all()
    return [dict(row) for row in rows if row["sweep_id"] in chosen]


def _light(table: Table) -> list[Column[Any]]:
    """Return the columns without lists and objects, which are slow to read; `axes` is included."""
    return [column for column in table.c if column.name == "axes" or not isinstance(column.type, Json)]


def _submissions() -> Select[Any]:
    table = SUBMISSION.c
    return select(
        table.id,
        table.sweep_id,
        table.job,
        table.job_id,
        table.is_array,
        table.submitted_at,
        table.cancelled,
        table.needs,
    )


def _latest_attempts() -> Select[Any]:
    latest = (
        select(ATTEMPT.c.run_id, func.max(ATTEMPT.c.attempt).label("attempt")).group_by(ATTEMPT.c.run_id).subquery()
    )
    return (
        select(*_light(ATTEMPT), RUN.c.sweep_id)
        .join(latest, (latest.c.run_id == ATTEMPT.c.run_id) & (latest.c.attempt == ATTEMPT.c.attempt))
        .join(RUN, RUN.c.id == ATTEMPT.c.run_id)
    )


def _current_phases() -> Select[Any]:
    newest = select(PHASE.c.attempt_id, func.max(PHASE.c.seq).label("seq")).group_by(PHASE.c.attempt_id).subquery()
    return (
        select(PHASE, RUN.c.sweep_id)
        .join(newest, (newest.c.attempt_id == PHASE.c.attempt_id) & (newest.c.seq == PHASE.c.seq))
        .join(ATTEMPT, ATTEMPT.c.id == PHASE.c.attempt_id)
        .join(RUN, RUN.c.id == ATTEMPT.c.run_id)
    )


def _sample_sums() -> Select[Any]:
    table = WORKLOAD_RESULT.c
    return (
        select(
            table.attempt_id,
            RUN.c.sweep_id,
            func.sum(table.samples_done).label("done"),
            func.sum(table.samples_failed).label("failed"),
            func.sum(table.samples_total).label("total"),
            func.sum(table.completion_tokens).label("tokens"),
            func.sum(func.coalesce(table.duration_s, table.last_end_s - table.first_sent_s)).label("duration_s"),
        )
        .join(ATTEMPT, ATTEMPT.c.id == table.attempt_id)
        .join(RUN, RUN.c.id == ATTEMPT.c.run_id)
        .group_by(table.attempt_id, RUN.c.sweep_id)
    )


def _progress(run: Row, attempt: Row | None, phase: Row | None, sums: Row | None) -> Progress:
    planned = run["samples_total"]
    if attempt is None:
        return Progress(samples_total=planned)
    done, failed, total, tokens, duration_s = (
        (sums["done"], sums["failed"], sums["total"], sums["tokens"], sums["duration_s"]) if sums else (0, 0, 0, 0, 0)
    )
    return Progress(
        phase=attempt["phase"] or (phase["phase"] if phase else None),
        phase_start_s=phase["start_s"] if phase else None,
        phase_budget_s=phase["budget_s"] if phase else None,
        last_t_s=attempt["last_t_s"],
        last_at=attempt["last_at"],
        idle_s=attempt["idle_s"],
        cause=attempt["cause"],
        startup_s=attempt["startup_s"],
        duration_s=attempt["duration_s"],
        time_scale=attempt["time_scale"] or 1.0,
        samples_done=done,
        samples_failed=failed,
        samples_total=max(planned, total),
        output_tps=tokens / duration_s if duration_s and duration_s > 0 else None,
    )


def _job(attempt: Row | None, submission: Row | None, index: int | None, scheduler: str) -> str | None:
    if attempt is not None and attempt["job_id"]:
        return str(attempt["job_id"])
    if submission is None or submission["job_id"] is None:
        return None
    job_id = str(submission["job_id"])
    return array_task_id(scheduler, job_id, index) if submission["is_array"] and index is not None else job_id


def _queued_s(attempt: Row | None, submission: Row | None, needed: Sequence[PreparationStatus]) -> float | None:
    """Return the seconds from submission to the start of the attempt, without the time of the preparations.

    None: one of the times is not known.
    """
    if attempt is None or submission is None or not attempt["started_at"] or not submission["submitted_at"]:
        return None
    could_start_at = max([submission["submitted_at"], *(step.ended_at or 0.0 for step in needed)])
    return max(0.0, float(attempt["started_at"] - could_start_at))

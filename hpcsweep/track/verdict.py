"""Compute a run's state from stored rows; see `track.decide`."""

import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcsweep.node.identity import boot_id
from hpcsweep.node.process.processes import process_lives
from hpcsweep.node.records import OWNER_FILE, read_record
from hpcsweep.schedulers.base import ABSENT, JobState, JobStatus
from hpcsweep.schedulers.listings import ABSENCE_GRACE_S
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.spec.records import OwnerRecord
from hpcsweep.track.decide import decide
from hpcsweep.track.evidence import RunEvidence, RunVerdict, VerdictCode, VerdictSource

Row = Mapping[str, Any]
_FROM_FILES = (VerdictSource.RUN_FOLDER.value, VerdictSource.PLAN.value)
"""Sources whose verdict holds although other files are missing."""


def run_verdict(
    run: Row, attempt: Row | None, submission: Row | None, status: Row | None, sweep_dir: Path
) -> RunVerdict:
    """Return the state of a run, from its folder first, then from the scheduler.

    `attempt`: the latest; `submission`, `status`: of the latest job of the run. None: there is none.
    """
    if run["not_submitted"]:
        outcome = OutcomeKind(run["outcome"] or OutcomeKind.NOT_RUN)
        return RunVerdict(
            RunState.FINISHED,
            outcome,
            run["reason"],
            source=VerdictSource.PLAN.value,
            code=VerdictCode.NOT_SUBMITTED,
        )
    job_id = submission["job_id"] if submission else None
    job = job_status(status, job_id or "") if status else None
    number, outcome_name, reason, hint = 0, None, "", ""
    alive: bool | None = None
    if attempt is not None:
        number, outcome_name = attempt["attempt"], attempt["outcome"]
        reason, hint = attempt["reason"] or "", attempt["hint"] or ""
        if outcome_name is None and job is not None and job.state is JobState.GONE and _alive_after(attempt, status):
            job = None  # it wrote after the scheduler's report, which was wrong
        if outcome_name is None and (job is None or job.state in (JobState.GONE, JobState.UNKNOWN)):
            alive = owner_alive(sweep_dir / "runs" / run["label"] / f"attempt-{number}")
    evidence = RunEvidence(
        attempt=number,
        outcome=OutcomeKind(outcome_name) if outcome_name else None,
        reason=reason,
        not_run=run["not_run"],
        known_attempts=run["known_attempts"],
        owner_alive=alive,
        hint=hint,
        exit_code=attempt["exit_code"] if attempt is not None else None,
        silent=submission is not None and silent(job, sweep_dir / "jobs" / str(submission["job"]), run["array_index"]),
    )
    cancelled = submission is not None and run["array_index"] in submission["cancelled"]
    begun = number > run["known_attempts"]
    answer_lost = job_id is None and submission is not None and submission["submitted_at"] is not None
    submitted: bool | None = job_id is not None or begun
    if not submitted and answer_lost:
        submitted = None
    run_manually = job_id is None and begun and not answer_lost
    return decide(evidence, job, cancelled_by_us=cancelled, submitted=submitted, run_manually=run_manually)


def _alive_after(attempt: Row, status: Row | None) -> bool:
    """Return whether an attempt wrote something after the scheduler's last report about it.

    A scheduler reports absence repeatedly, so the report counts from `ABSENCE_GRACE_S` after its time.
    """
    if status is None or attempt["last_at"] is None:
        return False
    grace_s = ABSENCE_GRACE_S if status["native"] == ABSENT else 0.0
    return bool(attempt["last_at"] > status["at"] - grace_s)


def silent(job: JobStatus | None, job_dir: Path, index: int) -> bool:
    """Return whether an array task that has started or ended printed nothing: the agent prints a line at its start."""
    if job is None or not (job.state.started or job.state.final):
        return False
    logs = job_dir / "logs"
    try:
        return (logs / f"{index}.log").stat().st_size == 0
    except OSError:  # Slurm has not made it, or the scheduler names its logs by job ids
        return logs.is_dir() and not any(logs.iterdir())


def owner_alive(attempt_dir: Path) -> bool | None:
    """Return whether the agent of this attempt runs on this host; None: it is on another host, or not known."""
    owner = read_record(attempt_dir / OWNER_FILE, OwnerRecord)
    if owner is None or owner.host != socket.gethostname():
        return None
    return owner.boot_id == boot_id() and process_lives(owner.pid, owner.started_ticks)


def job_status(row: Row, job_id: str) -> JobStatus:
    """Return the stored report of a scheduler about one array task."""
    return JobStatus(
        job_id=job_id,
        index=row["array_index"],
        state=JobState(row["state"]),
        native=row["native"],
        reason=row["reason"],
        hint=row["hint"],
        outcome=OutcomeKind(row["outcome"]) if row["outcome"] else None,
        exit_code=row["exit_code"],
        signal=row["signal"],
        node=row["node"],
        restarts=row["restarts"],
    )


def with_missing_files(verdict: RunVerdict, incomplete: str | None) -> RunVerdict:
    """Return the verdict, or `unknown` when it depends on the absence of files that could not be read."""
    if incomplete is None or not verdict.state.final or verdict.source in _FROM_FILES:
        return verdict
    return replace(
        verdict,
        state=RunState.UNKNOWN,
        outcome=None,
        reason=f"not all of its files could be read ({incomplete}); the scheduler reports: {verdict.reason}",
        hint="the next `hpcsweep status` reads them again; until then the run is not submitted again",
        source=VerdictSource.NONE.value,
        code=VerdictCode.FILES_MISSING,
    )

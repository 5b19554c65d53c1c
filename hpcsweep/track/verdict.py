"""Where a run stands: rows of the store laid before the rule of `submit.merge`."""

import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcsweep.node.process.processes import process_lives
from hpcsweep.node.record.identity import boot_id
from hpcsweep.node.record.records import OWNER_FILE, read_record
from hpcsweep.schedulers.base import ABSENT, JobState, JobStatus
from hpcsweep.schedulers.listings import ABSENCE_GRACE_S
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.spec.records import OwnerRecord
from hpcsweep.track.decide import decide
from hpcsweep.track.evidence import RunEvidence, RunVerdict

Row = Mapping[str, Any]
_FROM_FILES = ("run folder", "plan")
"""Witnesses whose word stands although other files are missing."""


def run_verdict(
    run: Row, attempt: Row | None, submission: Row | None, status: Row | None, sweep_dir: Path
) -> RunVerdict:
    """Where a run stands, by its folder first, then by the scheduler.

    `attempt`: its latest; `submission`, `status`: of the latest job that carries it. None: there is none.
    """
    if run["not_submitted"]:
        outcome = OutcomeKind(run["outcome"] or OutcomeKind.NOT_RUN)
        return RunVerdict(RunState.FINISHED, outcome, run["reason"], source="plan")
    job_id = submission["job_id"] if submission else None
    job = _job_status(status, job_id or "") if status else None
    number, outcome_word, reason, hint = 0, None, "", ""
    alive: bool | None = None
    if attempt is not None:
        number, outcome_word = attempt["attempt"], attempt["outcome"]
        reason, hint = attempt["reason"] or "", attempt["hint"] or ""
        if outcome_word is None and job is not None and job.state is JobState.GONE and _later_sign(attempt, status):
            job = None  # it wrote something after the scheduler said so: that word was wrong, and is asked for again
        if outcome_word is None and (job is None or job.state in (JobState.GONE, JobState.UNKNOWN)):
            alive = owner_alive(sweep_dir / "runs" / run["label"] / f"attempt-{number}")
    evidence = RunEvidence(
        attempt=number,
        outcome=OutcomeKind(outcome_word) if outcome_word else None,
        reason=reason,
        not_run=run["not_run"],
        known_attempts=run["known_attempts"],
        owner_alive=alive,
        hint=hint,
        exit_code=attempt["exit_code"] if attempt is not None else None,
        silent=submission is not None and _silent(job, sweep_dir / "jobs" / str(submission["job"]), run["array_index"]),
    )
    cancelled = submission is not None and run["array_index"] in submission["cancelled"]
    begun = number > run["known_attempts"]
    answer_lost = job_id is None and submission is not None and submission["submitted_at"] is not None
    submitted: bool | None = job_id is not None or begun
    if not submitted and answer_lost:
        submitted = None
    run_manually = job_id is None and begun and not answer_lost
    return decide(evidence, job, cancelled_by_us=cancelled, submitted=submitted, run_manually=run_manually)


def _later_sign(attempt: Row, status: Row | None) -> bool:
    """Whether an attempt wrote something after the scheduler's last word about it.

    Absence is reported again and again, so that the attempt must have been silent for as long as absence is endured.
    """
    if status is None or attempt["last_at"] is None:
        return False
    grace_s = ABSENCE_GRACE_S if status["native"] == ABSENT else 0.0
    return bool(attempt["last_at"] > status["at"] - grace_s)


def _silent(job: JobStatus | None, job_dir: Path, index: int) -> bool:
    """Whether an element that has started, or is over, printed nothing: the agent prints a line as it begins."""
    if job is None or not (job.state.started or job.state.final):
        return False
    logs = job_dir / "logs"
    try:
        return (logs / f"{index}.log").stat().st_size == 0
    except OSError:  # Slurm has not made it, or the scheduler names its logs by job ids
        return logs.is_dir() and not any(logs.iterdir())


def owner_alive(attempt_dir: Path) -> bool | None:
    """True while the agent that took this attempt lives on this host; None: it is on another, or nobody knows."""
    owner = read_record(attempt_dir / OWNER_FILE, OwnerRecord)
    if owner is None or owner.host != socket.gethostname():
        return None
    return owner.boot_id == boot_id() and process_lives(owner.pid, owner.started_ticks)


def _job_status(row: Row, job_id: str) -> JobStatus:
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
    """The verdict, or `unknown` where it rests on the absence of files that could not be read."""
    if incomplete is None or not verdict.state.final or verdict.source in _FROM_FILES:
        return verdict
    return replace(
        verdict,
        state=RunState.UNKNOWN,
        outcome=None,
        reason=f"its files could not all be read ({incomplete}); the scheduler says: {verdict.reason}",
        hint="the next status reads them again; until then it is not submitted again",
        source="nobody",
    )

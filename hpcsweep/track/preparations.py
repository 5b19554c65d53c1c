"""The state of the preparations of a sweep, and what it means for the runs that need them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Select, select

from hpcsweep.schedulers.base import JobState
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.spec.preparation_failure import failure_text
from hpcsweep.store.schema import PREPARATION, SUBMISSION
from hpcsweep.track.decide import decide
from hpcsweep.track.evidence import RunEvidence, RunVerdict, VerdictCode
from hpcsweep.track.verdict import Row, job_status, owner_alive, silent, with_missing_files

_IN_QUEUE = (RunState.QUEUED, RunState.HELD)
_DECIDED_ALREADY = (VerdictCode.NOT_SUBMITTED, VerdictCode.NOT_RUN_RECORD)


@dataclass(frozen=True)
class PreparationStatus:
    """A preparation of a sweep, by its latest job. `number`: of the submission; `job`: the scheduler's id.

    `started_at`, `ended_at`: Unix seconds; None: it has not. `gpus`: of its job. `evidence`: what existed, or the last
    lines of its commands.
    """

    name: str
    number: int
    job: str | None
    node: str | None
    verdict: RunVerdict
    started_at: float | None
    ended_at: float | None
    walltime_s: float
    gpus: int
    evidence: tuple[str, ...]

    @property
    def completed(self) -> bool:
        """Return whether the runs that need it can start."""
        return self.verdict.outcome is OutcomeKind.COMPLETED

    def failure(self) -> str:
        """Return how it failed, in a sentence."""
        if self.verdict.code is VerdictCode.PREPARATION_FAILED:  # another one, which is the reason
            return self.verdict.reason
        return failure_text(self.name, self.verdict.outcome, self.verdict.reason)


def preparation_rows() -> Select[Any]:
    """Return the query for the preparations of sweeps, with their submissions."""
    table = SUBMISSION.c
    columns = (table.sweep_id, table.job, table.job_id, table.submitted_at, table.cancelled, table.needs)
    query = select(PREPARATION, *columns).join(SUBMISSION, SUBMISSION.c.id == PREPARATION.c.submission_id)
    return query.order_by(table.sweep_id, table.job)


def preparation_status(
    row: Row, status: Row | None, sweep_dir: Path, incomplete: str | None, earlier: Sequence[PreparationStatus]
) -> PreparationStatus:
    """Return the state of a preparation, from its records first, then from the scheduler, as for a run.

    `earlier`: the preparations of the sweep with lower numbers.
    """
    job_dir = sweep_dir / "jobs" / str(row["job"])
    job = job_status(status, row["job_id"] or "") if status else None
    alive: bool | None = None
    if row["attempt"] and row["outcome"] is None and (job is None or job.state in (JobState.GONE, JobState.UNKNOWN)):
        alive = owner_alive(job_dir / f"attempt-{row['attempt']}")
    evidence = RunEvidence(
        attempt=row["attempt"],
        outcome=OutcomeKind(row["outcome"]) if row["outcome"] else None,
        reason=row["reason"],
        owner_alive=alive,
        hint=row["hint"],
        exit_code=row["exit_code"],
        silent=silent(job, job_dir, 0),
    )
    unconfirmed = row["job_id"] is None and row["submitted_at"] is not None
    submitted = None if unconfirmed and not row["attempt"] else row["job_id"] is not None or bool(row["attempt"])
    verdict = decide(
        evidence,
        job,
        cancelled_by_us=0 in row["cancelled"],
        submitted=submitted,
        run_manually=row["job_id"] is None and not unconfirmed,
    )
    verdict = with_missing_files(verdict, incomplete)
    if not row["attempt"] and 0 not in row["cancelled"]:
        verdict = with_preparations(verdict, needed_of(row, earlier), job.state if job else None)
    return PreparationStatus(
        name=row["name"],
        number=row["job"],
        job=row["job_id"],
        node=row["host"] or (status["node"] if status else None),
        verdict=verdict,
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        walltime_s=row["walltime_s"],
        gpus=row["gpus"],
        evidence=tuple(row["evidence"]),
    )


def latest_of_each(preparations: Sequence[PreparationStatus]) -> tuple[PreparationStatus, ...]:
    """Return the latest submitted job of each preparation, in the order of the first jobs."""
    by_number = sorted(preparations, key=lambda step: step.number)
    latest = dict.fromkeys(step.name for step in by_number)
    chosen: dict[str, PreparationStatus] = {}
    for step in sorted(by_number, key=lambda step: step.verdict.state is not RunState.PLANNED):
        chosen[step.name] = step
    return tuple(chosen[name] for name in latest)


def needed_of(submission: Row, preparations: Sequence[PreparationStatus]) -> list[PreparationStatus]:
    """Return the preparations that a submission needs."""
    numbers = set((submission["needs"] or {}).values())
    return [step for step in preparations if step.number in numbers]


def with_preparations(verdict: RunVerdict, needed: Sequence[PreparationStatus], job: JobState | None) -> RunVerdict:
    """Return the verdict of a run without an attempt, explained by a preparation that has not completed.

    `job`: the last state of its job; None: not known. When a preparation fails, the scheduler deletes the jobs that
    wait for it, and gives no reason.
    """
    if verdict.code in _DECIDED_ALREADY or verdict.state is RunState.PLANNED:
        return verdict
    failed = next((step for step in needed if step.verdict.state.final and not step.completed), None)
    if failed is not None and (verdict.state.final or job is JobState.UNSCHEDULABLE):
        return replace(
            verdict,
            state=RunState.FINISHED,
            outcome=OutcomeKind.NOT_RUN,
            reason=failed.failure(),
            hint="`hpcsweep retry` submits the preparation again, and then the runs",
            awaits_scheduler=False,
            code=VerdictCode.PREPARATION_FAILED,
        )
    if verdict.state not in _IN_QUEUE:
        return verdict
    if failed is not None:
        return replace(verdict, state=RunState.QUEUED, reason=f"{failed.failure()}; its job is being deleted")
    waiting = next((step for step in needed if not step.completed), None)
    if waiting is None:
        return verdict
    state = waiting.verdict.state
    reason = f"waiting for preparation {waiting.name}, which is {state.value}"
    hint = waiting.verdict.hint
    if state in (RunState.HELD, RunState.UNKNOWN) and waiting.verdict.reason:
        reason += f": {waiting.verdict.reason}"
    return replace(verdict, state=RunState.QUEUED, reason=reason, hint=hint, code=VerdictCode.WAITING_FOR_PREPARATION)

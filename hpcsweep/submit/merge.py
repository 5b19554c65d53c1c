"""What the witnesses say, merged: pure functions with a table of cases in the tests.

Order of trust: our own marker in the run folder, then the accounting, then the queue. "Not in the queue" is unknown,
never completed. States only move forward within one attempt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hpcsweep.schedulers.base import JobState, JobStatus, Listing
from hpcsweep.spec.phases import OutcomeKind, RunState


@dataclass(frozen=True)
class RunEvidence:
    """What the run folder says of a run, for its latest attempt.

    `began`: an attempt was taken. `outcome`: how it ended, as the agent recorded it with `reason` and `hint`; None: no
    end was recorded. `not_run`: the agent said that it did not get to this run, with the reason. `attempt`: number of
    the latest attempt, 0: none. `known_attempts`: attempts that were there when the latest job was submitted; a new
    one must be above it.
    """

    attempt: int = 0
    outcome: OutcomeKind | None = None
    reason: str = ""
    not_run: str | None = None
    known_attempts: int = 0
    owner_alive: bool | None = None
    hint: str = ""


@dataclass(frozen=True)
class RunVerdict:
    """Where a run stands. `settled_by`: the witness that decided, for `hpcsweep status`."""

    state: RunState
    outcome: OutcomeKind | None = None
    reason: str = ""
    hint: str = ""
    settled_by: str = ""


def merge_listings(listings: Sequence[Listing]) -> Listing:
    """One listing of several, the most trustworthy last.

    Of how a job ended a later witness knows more: the accounting says who cancelled it. As long as the queue shows a
    job alive, and as soon as it shows it ended, the accounting only trails it: it does not learn why a job waits, and
    still holds the end of a life after which the job was requeued. What the winner leaves out comes from the other.
    Complete when all witnesses were: a job that none of them shows is not known to any.
    """
    merged: dict[tuple[str, int | None], JobStatus] = {}
    for listing in listings:
        for key, status in listing.statuses.items():
            merged[key] = _later(merged[key], status) if key in merged else status
    trouble = "; ".join(dict.fromkeys(listing.trouble for listing in listings if listing.trouble))
    return Listing(merged, all(listing.complete for listing in listings), trouble)


def every_element(listing: Listing, elements: Mapping[str, int]) -> dict[tuple[str, int], JobStatus]:
    """(job id, element index) -> status of the elements of these jobs (id -> number of elements).

    What is left of an array when its waiting elements were cancelled is told once, for all of them. A complete
    listing without an element says that it is gone; an incomplete one says nothing of it.
    """
    told: dict[tuple[str, int], JobStatus] = {}
    for job_id, number in elements.items():
        whole = listing.statuses.get((job_id, None))
        for index in range(number):
            status = listing.statuses.get((job_id, index), whole)
            if status is not None:
                told[job_id, index] = replace(status, index=index)
            elif listing.complete:
                told[job_id, index] = JobStatus(job_id, index, JobState.GONE, "gone")
    return told


def _later(earlier: JobStatus, later: JobStatus) -> JobStatus:
    later_knows_more = earlier.state is JobState.UNKNOWN or (earlier.state.final and later.state.final)
    winner, other = (later, earlier) if later_knows_more else (earlier, later)
    if winner.state.final is not other.state.final:
        return winner  # two lives of one job: what the other says of nodes and exit codes is not about this one
    same_state = winner.state is other.state
    return replace(
        winner,
        reason=winner.reason or (other.reason if same_state else ""),
        hint=winner.hint or (other.hint if same_state else ""),
        node=winner.node or other.node,
        outcome=winner.outcome or (other.outcome if same_state else None),
        exit_code=winner.exit_code if winner.exit_code is not None else other.exit_code,
        signal=winner.signal if winner.signal is not None else other.signal,
        restarts=winner.restarts if winner.restarts is not None else other.restarts,
    )


_EXPLAINS = {
    OutcomeKind.LOST: (OutcomeKind.WALLTIME, OutcomeKind.CANCELLED, OutcomeKind.PREEMPTED, OutcomeKind.OUT_OF_MEMORY),
    OutcomeKind.CANCELLED: (OutcomeKind.WALLTIME, OutcomeKind.PREEMPTED, OutcomeKind.LOST),
}
"""An outcome in the run folder that is a guess -> what a scheduler may know better.

`lost` only says that the agent is gone, `cancelled` only that a signal came which the agent could not explain.
"""


def decide(run: RunEvidence, job: JobStatus | None, *, cancelled_by_us: bool, handed_over: bool | None) -> RunVerdict:
    """Where a run stands, from its folder and the scheduler's word about its element.

    `job` None: the scheduler says nothing of it (purged, not asked yet, or it does not answer). `cancelled_by_us`:
    we cancelled the element. `handed_over`: the scheduler took the job; None: its answer was lost.
    """
    fresh = run.attempt > run.known_attempts
    if fresh and job is not None and job.state.final and _explained(run, job, cancelled_by_us):
        return _ended(job, fresh, cancelled_by_us)
    if fresh and run.outcome is not None and not _started_anew(run, job, cancelled_by_us):
        return RunVerdict(RunState.FINISHED, run.outcome, run.reason, run.hint, settled_by="run folder")
    if not fresh and run.not_run is not None and (cancelled_by_us or not _alive(job)):
        return RunVerdict(RunState.FINISHED, OutcomeKind.NOT_RUN, run.not_run, settled_by="run folder")
    if handed_over is None:
        reason = "the scheduler's answer to its submission was lost: nobody knows whether it took the job"
        hint = "status looks for the job each time; naming the run to `hpcsweep retry` submits it again all the same"
        return RunVerdict(RunState.UNKNOWN, reason=reason, hint=hint, settled_by="nobody")
    if not handed_over:
        return RunVerdict(RunState.PLANNED, reason="not handed over to the scheduler", settled_by="submission")
    if job is None or job.state is JobState.UNKNOWN:
        return _without_scheduler(run, job, fresh, cancelled_by_us)
    if job.state is JobState.GONE:
        return _gone(run, fresh, cancelled_by_us)
    if job.state.final:
        return _ended(job, fresh, cancelled_by_us)
    if job.state is JobState.NEVER:
        return RunVerdict(RunState.HELD, reason=job.reason, hint=job.hint, settled_by="scheduler")
    if job.state is JobState.HELD:
        return RunVerdict(RunState.HELD, reason=job.reason, hint=job.hint, settled_by="scheduler")
    if job.state is JobState.PENDING:
        again = f"requeued after attempt {run.attempt}" if fresh else ""
        return RunVerdict(RunState.QUEUED, reason=job.reason or again, hint=job.hint, settled_by="scheduler")
    if fresh:
        return RunVerdict(RunState.RUNNING, reason=job.reason, settled_by="run folder")
    return RunVerdict(RunState.QUEUED, reason="its job is running, this run has not begun", settled_by="scheduler")


def _started_anew(run: RunEvidence, job: JobStatus | None, cancelled_by_us: bool) -> bool:
    """An attempt that was ended from outside, of a job that is, or may be, started again: not the run's outcome."""
    if cancelled_by_us and run.outcome is OutcomeKind.CANCELLED:
        return False
    return _alive(job) and run.outcome in (OutcomeKind.PREEMPTED, OutcomeKind.LOST, OutcomeKind.CANCELLED)


def _alive(job: JobStatus | None) -> bool:
    """The scheduler has not done with the job: it may yet come to runs that it has not begun."""
    return job is not None and job.state in (JobState.PENDING, JobState.RUNNING, JobState.HELD, JobState.ENDING)


def _explained(run: RunEvidence, job: JobStatus, cancelled_by_us: bool) -> bool:
    """The scheduler knows better than the run folder why the attempt ended."""
    if cancelled_by_us and run.outcome is OutcomeKind.CANCELLED:
        return False
    return run.outcome is not None and job.outcome in _EXPLAINS.get(run.outcome, ())


def _without_scheduler(run: RunEvidence, job: JobStatus | None, fresh: bool, cancelled_by_us: bool) -> RunVerdict:
    if cancelled_by_us and not fresh:
        return RunVerdict(
            RunState.FINISHED, OutcomeKind.CANCELLED, "cancelled before it started", settled_by="our own cancellation"
        )
    if fresh and run.owner_alive:
        return RunVerdict(RunState.RUNNING, settled_by="run folder")
    reason = job.reason if job is not None and job.reason else "the scheduler does not know the job (any more)"
    return RunVerdict(RunState.UNKNOWN, reason=reason, hint=job.hint if job else "", settled_by="nobody")


def _ended(job: JobStatus, fresh: bool, cancelled_by_us: bool) -> RunVerdict:
    """The allocation is over, but the agent left no word about this run."""
    where = f" on {job.node}" if job.node else ""
    if job.outcome is not None and job.outcome is not OutcomeKind.COMPLETED:
        return RunVerdict(RunState.FINISHED, job.outcome, f"{job.reason or job.native}{where}", job.hint, "scheduler")
    if cancelled_by_us:
        return RunVerdict(RunState.FINISHED, OutcomeKind.CANCELLED, f"cancelled{where}", settled_by="our cancellation")
    told = job.reason or (job.native if job.exit_code is None else f"{job.native}, exit code {job.exit_code}")
    if fresh:
        reason = f"the agent left no end of this attempt, its job is over: {told}{where}"
        return RunVerdict(RunState.FINISHED, OutcomeKind.LOST, reason, job.hint, "scheduler")
    reason = f"its job is over without having begun this run: {told}{where}"
    return RunVerdict(RunState.FINISHED, OutcomeKind.NOT_RUN, reason, job.hint, "scheduler")


def _gone(run: RunEvidence, fresh: bool, cancelled_by_us: bool) -> RunVerdict:
    """The scheduler answers, and does not know the job any more."""
    if fresh and run.owner_alive:
        return RunVerdict(RunState.RUNNING, settled_by="run folder")
    if cancelled_by_us:
        reason = "cancelled" if fresh else "cancelled before it started"
        return RunVerdict(RunState.FINISHED, OutcomeKind.CANCELLED, reason, settled_by="our own cancellation")
    if fresh:
        reason = "the agent left no end of this attempt, and the scheduler does not know its job any more"
        return RunVerdict(RunState.FINISHED, OutcomeKind.LOST, reason, settled_by="scheduler")
    reason = "it had not begun when its job vanished: cancelled by somebody while it waited, or forgotten since"
    return RunVerdict(RunState.FINISHED, OutcomeKind.NOT_RUN, reason, settled_by="scheduler")

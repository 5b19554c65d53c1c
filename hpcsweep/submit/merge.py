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

    `began`: an attempt was taken. `outcome`: the agent's own word of how it ended, None: no word. `not_run`: the
    agent said that it did not get to this run, with the reason. `attempt`: number of the latest attempt, 0: none.
    `known_attempts`: attempts that were there when the latest job was submitted; a new one must be above it. `hint`:
    the agent's own. `exit_code`: of the server; negative: that signal ended it. `silent`: its job has
    not printed anything, so that its script has not started.
    """

    attempt: int = 0
    outcome: OutcomeKind | None = None
    reason: str = ""
    not_run: str | None = None
    known_attempts: int = 0
    owner_alive: bool | None = None
    hint: str = ""
    exit_code: int | None = None
    silent: bool = False


@dataclass(frozen=True)
class RunVerdict:
    """Where a run stands. `settled_by`: the witness that decided, for `hpcsweep status`.

    `awaits_scheduler`: the scheduler may still report a better reason when the job has ended.
    """

    state: RunState
    outcome: OutcomeKind | None = None
    reason: str = ""
    hint: str = ""
    settled_by: str = ""
    awaits_scheduler: bool = False


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
    shown = {job_id for job_id, _ in merged}
    absent = frozenset(
        (job_id, index)
        for listing in listings
        for job_id, index in listing.absent
        if (job_id, index) not in merged and (index is not None or job_id not in shown)
    )
    return Listing(merged, all(listing.complete for listing in listings), trouble, absent)


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


_SIGKILL = 9

_KILLED = (OutcomeKind.WALLTIME, OutcomeKind.PREEMPTED, OutcomeKind.OUT_OF_MEMORY)
_EXPLAINS = {
    OutcomeKind.LOST: (*_KILLED, OutcomeKind.CANCELLED),
    OutcomeKind.CANCELLED: (*_KILLED, OutcomeKind.LOST),
}
"""An outcome in the run folder that is a guess -> what a scheduler may know better.

`lost` only says that the agent is gone, `cancelled` only that a signal came which the agent could not explain.
"""

ABSENCE_GRACE_S = 120.0
"""How long a job may be unknown to a scheduler that forgets jobs as they end before its run counts as lost.

Longer than the 60 s for which NFS may hide a new file from the login node: the agent's end record may be there soon.
"""

PERHAPS_AGAIN = frozenset({OutcomeKind.PREEMPTED, OutcomeKind.LOST, OutcomeKind.CANCELLED})
"""Outcomes of an attempt after which a scheduler may start the job again: not final before it has been asked."""


def decide(
    run: RunEvidence,
    job: JobStatus | None,
    *,
    cancelled_by_us: bool,
    handed_over: bool | None,
    by_hand: bool = False,
) -> RunVerdict:
    """Where a run stands, from its folder and the scheduler's word about its element.

    `job` None: the scheduler says nothing of it (not asked yet, or it does not answer). `cancelled_by_us`: we cancelled
    the element. `handed_over`: the scheduler took the job; None: its answer was lost. `by_hand`: no scheduler was given
    the job, so that none can start it again.
    """
    fresh = run.attempt > run.known_attempts
    if fresh and job is not None and job.state.final and _explained(run, job, cancelled_by_us):
        return _ended(job, fresh, cancelled_by_us)
    if fresh and job is not None and _killed_for_memory(run, job):
        reason = f"{run.reason}; its job {job.reason or job.native}"
        return RunVerdict(RunState.FINISHED, OutcomeKind.OUT_OF_MEMORY, reason, job.hint or run.hint, "scheduler")
    over = by_hand or (job is not None and (job.state.final or job.absent))
    if fresh and run.outcome is not None and (over or not _perhaps_again(run.outcome, cancelled_by_us)):
        awaited = _by_sigkill(run) and (job is None or not job.state.final)
        return RunVerdict(RunState.FINISHED, run.outcome, run.reason, run.hint, "run folder", awaited)
    if not fresh and run.not_run is not None and (cancelled_by_us or over):
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
        return _gone(run, job, fresh, cancelled_by_us)
    if job.state.final:
        return _ended(job, fresh, cancelled_by_us, run.silent)
    if job.state is JobState.NEVER:
        return RunVerdict(RunState.HELD, reason=job.reason, hint=job.hint, settled_by="scheduler")
    if job.state is JobState.HELD:
        return RunVerdict(RunState.HELD, reason=job.reason, hint=job.hint, settled_by="scheduler")
    if job.state is JobState.PENDING:
        again = f"requeued after attempt {run.attempt}" if fresh else ""
        return RunVerdict(RunState.QUEUED, reason=job.reason or again, hint=job.hint, settled_by="scheduler")
    if fresh:
        return RunVerdict(RunState.RUNNING, reason=job.reason, settled_by="run folder")
    if run.silent and job.hint:
        reason = f"its job is running{f' on {job.node}' if job.node else ''}, but its script has not started"
        return RunVerdict(RunState.QUEUED, reason=reason, hint=job.hint, settled_by="scheduler")
    return RunVerdict(RunState.QUEUED, reason="its job is running, this run has not begun", settled_by="scheduler")


def _perhaps_again(outcome: OutcomeKind, cancelled_by_us: bool) -> bool:
    """Whether an attempt was ended from outside, so that the scheduler may start its job again."""
    return outcome in PERHAPS_AGAIN and not (cancelled_by_us and outcome is OutcomeKind.CANCELLED)


def _explained(run: RunEvidence, job: JobStatus, cancelled_by_us: bool) -> bool:
    """The scheduler knows better than the run folder why the attempt ended."""
    if run.outcome not in _EXPLAINS or (cancelled_by_us and run.outcome is OutcomeKind.CANCELLED):
        return False
    if job.state is JobState.GONE:  # it has no record of this job: what it says is of the array
        return False
    return job.outcome in _EXPLAINS[run.outcome]


def _by_sigkill(run: RunEvidence) -> bool:
    return run.outcome is OutcomeKind.CRASHED and run.exit_code == -_SIGKILL


def _killed_for_memory(run: RunEvidence, job: JobStatus) -> bool:
    """The server was killed by SIGKILL, and the scheduler reports that the job's memory limit killed processes."""
    return _by_sigkill(run) and job.state.final and job.outcome is OutcomeKind.OUT_OF_MEMORY


def _without_scheduler(run: RunEvidence, job: JobStatus | None, fresh: bool, cancelled_by_us: bool) -> RunVerdict:
    if cancelled_by_us and not fresh:
        return RunVerdict(
            RunState.FINISHED, OutcomeKind.CANCELLED, "cancelled before it started", settled_by="our own cancellation"
        )
    if fresh and run.owner_alive:
        return RunVerdict(RunState.RUNNING, settled_by="run folder")
    reason = job.reason if job is not None and job.reason else "the scheduler does not know the job (any more)"
    ended = run.outcome if fresh else OutcomeKind.NOT_RUN if run.not_run is not None else None
    if ended is not None:
        what = f"attempt {run.attempt} ended as {ended.value}" if fresh else f"not run ({run.not_run})"
        asked = (
            f"the scheduler did not say whether it starts the job again ({reason})"
            if job is not None
            else ("the scheduler has not answered yet whether it starts the job again")
        )
        reason = f"{what}; {asked}"
    return RunVerdict(RunState.UNKNOWN, reason=reason, hint=job.hint if job else "", settled_by="nobody")


_NEVER_STARTED = (
    "more walltime does not help: did a login file wait for something on the node? Slurm: login_shell: false in the "
    "cluster profile leaves the login files out"
)


def _ended(job: JobStatus, fresh: bool, cancelled_by_us: bool, silent: bool = False) -> RunVerdict:
    """The allocation is over, but the agent left no word about this run."""
    where = f" on {job.node}" if job.node else ""
    if job.outcome is OutcomeKind.WALLTIME and not fresh and silent:
        reason = f"its job {job.reason or job.native}{where}, and its script never started"
        return RunVerdict(RunState.FINISHED, OutcomeKind.NOT_RUN, reason, _NEVER_STARTED, "scheduler")
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


def _gone(run: RunEvidence, job: JobStatus, fresh: bool, cancelled_by_us: bool) -> RunVerdict:
    """The scheduler answers, and has no record of the job any more. `job.outcome`: what it says of the whole array."""
    if fresh and run.owner_alive:
        return RunVerdict(RunState.RUNNING, settled_by="run folder")
    if cancelled_by_us:
        reason = "cancelled" if fresh else "cancelled before it started"
        return RunVerdict(RunState.FINISHED, OutcomeKind.CANCELLED, reason, settled_by="our own cancellation")
    if fresh:
        why = f": {job.reason}" if job.outcome is not None else ""
        reason = f"the agent left no end of this attempt, and the scheduler does not know its job any more{why}"
        return RunVerdict(RunState.FINISHED, OutcomeKind.LOST, reason, settled_by="scheduler")
    if job.outcome is not None:
        reason = f"{job.outcome.value} before it began: {job.reason}"
        return RunVerdict(RunState.FINISHED, job.outcome, reason, settled_by="scheduler")
    reason = "it had not begun when its job vanished: cancelled by somebody while it waited, or forgotten since"
    return RunVerdict(RunState.FINISHED, OutcomeKind.NOT_RUN, reason, settled_by="scheduler")

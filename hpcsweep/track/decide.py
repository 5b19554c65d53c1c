"""Decide the state of a run from its folder and the scheduler's report: pure, with a table of cases in the tests.

Order of trust: our own end record in the run folder, then the scheduler. States only move forward within one attempt.
"""

from hpcsweep.schedulers.base import JobState, JobStatus
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.track.evidence import RunEvidence, RunVerdict

_SIGKILL = 9

_KILLED = (OutcomeKind.WALLTIME, OutcomeKind.PREEMPTED, OutcomeKind.OUT_OF_MEMORY)
_EXPLAINS = {
    OutcomeKind.LOST: (*_KILLED, OutcomeKind.CANCELLED),
    OutcomeKind.CANCELLED: (*_KILLED, OutcomeKind.LOST),
}
"""An outcome in the run folder that is a guess -> what a scheduler may know better.

`lost` only says that the agent is gone, `cancelled` only that a signal came which the agent could not explain.
"""

PERHAPS_AGAIN = frozenset({OutcomeKind.PREEMPTED, OutcomeKind.LOST, OutcomeKind.CANCELLED})
"""Outcomes of an attempt after which a scheduler may start the job again: not final before it has been asked."""


def decide(
    run: RunEvidence,
    job: JobStatus | None,
    *,
    cancelled_by_us: bool,
    submitted: bool | None,
    run_manually: bool = False,
) -> RunVerdict:
    """Where a run stands, from its folder and the scheduler's word about its element.

    `job` None: the scheduler says nothing of it (not asked yet, or it does not answer). `cancelled_by_us`: we cancelled
    the element. `submitted`: the scheduler took the job; None: its answer was lost. `by_hand`: no scheduler was given
    the job, so that none can start it again.
    """
    fresh = run.attempt > run.known_attempts
    if fresh and job is not None and job.state.final and _explained(run, job, cancelled_by_us):
        return _ended(job, fresh, cancelled_by_us)
    if fresh and job is not None and _killed_for_memory(run, job):
        reason = f"{run.reason}; its job {job.reason or job.native}"
        return RunVerdict(RunState.FINISHED, OutcomeKind.OUT_OF_MEMORY, reason, job.hint or run.hint, "scheduler")
    over = run_manually or (job is not None and (job.state.final or job.absent))
    if fresh and run.outcome is not None and (over or not _perhaps_again(run.outcome, cancelled_by_us)):
        awaited = _by_sigkill(run) and (job is None or not job.state.final)
        return RunVerdict(RunState.FINISHED, run.outcome, run.reason, run.hint, "run folder", awaited)
    if not fresh and run.not_run is not None and (cancelled_by_us or over):
        return RunVerdict(RunState.FINISHED, OutcomeKind.NOT_RUN, run.not_run, source="run folder")
    if submitted is None:
        reason = "the scheduler's answer to its submission was lost: nobody knows whether it took the job"
        hint = "status looks for the job each time; naming the run to `hpcsweep retry` submits it again all the same"
        return RunVerdict(RunState.UNKNOWN, reason=reason, hint=hint, source="nobody")
    if not submitted:
        return RunVerdict(RunState.PLANNED, reason="not handed over to the scheduler", source="submission")
    if job is None or job.state is JobState.UNKNOWN:
        return _without_scheduler(run, job, fresh, cancelled_by_us)
    if job.state is JobState.GONE:
        return _gone(run, job, fresh, cancelled_by_us)
    if job.state.final:
        return _ended(job, fresh, cancelled_by_us, run.silent)
    if job.state is JobState.UNSCHEDULABLE:
        return RunVerdict(RunState.HELD, reason=job.reason, hint=job.hint, source="scheduler")
    if job.state is JobState.HELD:
        return RunVerdict(RunState.HELD, reason=job.reason, hint=job.hint, source="scheduler")
    if job.state is JobState.PENDING:
        again = f"requeued after attempt {run.attempt}" if fresh else ""
        return RunVerdict(RunState.QUEUED, reason=job.reason or again, hint=job.hint, source="scheduler")
    if fresh:
        return RunVerdict(RunState.RUNNING, reason=job.reason, source="run folder")
    if run.silent and job.hint:
        reason = f"its job is running{f' on {job.node}' if job.node else ''}, but its script has not started"
        return RunVerdict(RunState.QUEUED, reason=reason, hint=job.hint, source="scheduler")
    return RunVerdict(RunState.QUEUED, reason="its job is running, this run has not begun", source="scheduler")


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
            RunState.FINISHED, OutcomeKind.CANCELLED, "cancelled before it started", source="our own cancellation"
        )
    if fresh and run.owner_alive:
        return RunVerdict(RunState.RUNNING, source="run folder")
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
    return RunVerdict(RunState.UNKNOWN, reason=reason, hint=job.hint if job else "", source="nobody")


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
        return RunVerdict(RunState.FINISHED, OutcomeKind.CANCELLED, f"cancelled{where}", source="our cancellation")
    told = job.reason or (job.native if job.exit_code is None else f"{job.native}, exit code {job.exit_code}")
    if fresh:
        reason = f"the agent left no end of this attempt, its job is over: {told}{where}"
        return RunVerdict(RunState.FINISHED, OutcomeKind.LOST, reason, job.hint, "scheduler")
    reason = f"its job is over without having begun this run: {told}{where}"
    return RunVerdict(RunState.FINISHED, OutcomeKind.NOT_RUN, reason, job.hint, "scheduler")


def _gone(run: RunEvidence, job: JobStatus, fresh: bool, cancelled_by_us: bool) -> RunVerdict:
    """The scheduler answers, and has no record of the job any more. `job.outcome`: what it says of the whole array."""
    if fresh and run.owner_alive:
        return RunVerdict(RunState.RUNNING, source="run folder")
    if cancelled_by_us:
        reason = "cancelled" if fresh else "cancelled before it started"
        return RunVerdict(RunState.FINISHED, OutcomeKind.CANCELLED, reason, source="our own cancellation")
    if fresh:
        why = f": {job.reason}" if job.outcome is not None else ""
        reason = f"the agent left no end of this attempt, and the scheduler does not know its job any more{why}"
        return RunVerdict(RunState.FINISHED, OutcomeKind.LOST, reason, source="scheduler")
    if job.outcome is not None:
        reason = f"{job.outcome.value} before it began: {job.reason}"
        return RunVerdict(RunState.FINISHED, job.outcome, reason, source="scheduler")
    reason = "it had not begun when its job vanished: cancelled by somebody while it waited, or forgotten since"
    return RunVerdict(RunState.FINISHED, OutcomeKind.NOT_RUN, reason, source="scheduler")

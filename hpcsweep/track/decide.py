"""Decide the state of a run from its folder and the scheduler's report: pure, with a table of cases in the tests.

Order of trust: the agent's end record in the run folder, then the scheduler. The states of one attempt only move
forward.
"""

from hpcsweep.schedulers.base import JobState, JobStatus
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.track.evidence import RunEvidence, RunVerdict, VerdictCode, VerdictSource

_SIGKILL = 9

_KILLED = (OutcomeKind.WALLTIME, OutcomeKind.PREEMPTED, OutcomeKind.OUT_OF_MEMORY)
_EXPLAINS = {
    OutcomeKind.LOST: (*_KILLED, OutcomeKind.CANCELLED),
    OutcomeKind.CANCELLED: (*_KILLED, OutcomeKind.LOST),
}
"""Uncertain outcome in the run folder -> outcomes of the scheduler that explain it.

`lost`: the agent disappeared. `cancelled`: the agent received a signal whose reason it could not determine.
"""

PERHAPS_AGAIN = frozenset({OutcomeKind.PREEMPTED, OutcomeKind.LOST, OutcomeKind.CANCELLED})
"""Outcomes of an attempt after which a scheduler may start the job again: not final before the scheduler is queried."""

_NEVER_STARTED_HINT = (
    "more walltime does not help: check whether a login file waits for something on the node; Slurm: `login_shell: "
    "false` in the cluster profile skips the login files"
)


def decide(
    run: RunEvidence,
    job: JobStatus | None,
    *,
    cancelled_by_us: bool,
    submitted: bool | None,
    run_manually: bool = False,
) -> RunVerdict:
    """Return the state of a run, from its folder and the scheduler's report about its array task.

    `job` None: the scheduler was not queried, or did not respond. `cancelled_by_us`: hpcsweep cancelled the array task.
    `submitted`: the scheduler accepted the job; None: unconfirmed. `run_manually`: no scheduler has the job, so none
    can start it again.
    """
    fresh = run.attempt > run.known_attempts
    if fresh and job is not None and job.state.final and _explained(run, job, cancelled_by_us):
        return _ended(job, fresh, cancelled_by_us)
    if fresh and job is not None and _killed_for_memory(run, job):
        reason = f"{run.reason}; its job {job.reason or job.native}"
        return RunVerdict(
            RunState.FINISHED,
            OutcomeKind.OUT_OF_MEMORY,
            reason,
            job.hint or run.hint,
            VerdictSource.SCHEDULER.value,
            code=VerdictCode.OUT_OF_MEMORY,
        )
    over = run_manually or (job is not None and (job.state.final or job.absent))
    if fresh and run.outcome is not None and (over or not _perhaps_again(run.outcome, cancelled_by_us)):
        awaited = _by_sigkill(run) and (job is None or not job.state.final)
        return RunVerdict(
            RunState.FINISHED,
            run.outcome,
            run.reason,
            run.hint,
            VerdictSource.RUN_FOLDER.value,
            awaited,
            VerdictCode.END_RECORD,
        )
    if not fresh and run.not_run is not None and (cancelled_by_us or over):
        return _finished(OutcomeKind.NOT_RUN, run.not_run, VerdictCode.NOT_RUN_RECORD, VerdictSource.RUN_FOLDER)
    if submitted is None:
        return _open(
            RunState.UNKNOWN,
            "the submission timed out; the job may or may not have been created",
            VerdictCode.SUBMISSION_UNCONFIRMED,
            VerdictSource.NONE,
            hint="every `hpcsweep status` searches for the job; `hpcsweep retry` with the run's name submits it again",
        )
    if not submitted:
        return _open(RunState.PLANNED, "not submitted", VerdictCode.PLANNED, VerdictSource.SUBMISSION)
    if job is None or job.state is JobState.UNKNOWN:
        return _without_scheduler(run, job, fresh, cancelled_by_us)
    if job.state is JobState.GONE:
        return _gone(run, job, fresh, cancelled_by_us)
    if job.state.final:
        return _ended(job, fresh, cancelled_by_us, run.silent)
    return _active(run, job, fresh)


def _active(run: RunEvidence, job: JobStatus, fresh: bool) -> RunVerdict:
    """Return the state of a run whose job is pending, held or running."""
    if job.state is JobState.UNSCHEDULABLE:
        return _open(RunState.HELD, job.reason, VerdictCode.UNSCHEDULABLE, hint=job.hint)
    if job.state is JobState.HELD:
        return _open(RunState.HELD, job.reason, VerdictCode.HELD, hint=job.hint)
    if job.state is JobState.PENDING:
        again = f"requeued after attempt {run.attempt}" if fresh else ""
        code = VerdictCode.REQUEUED if fresh else VerdictCode.PENDING
        return _open(RunState.QUEUED, job.reason or again, code, hint=job.hint)
    if fresh:
        return _open(RunState.RUNNING, job.reason, VerdictCode.RUNNING, VerdictSource.RUN_FOLDER)
    if run.silent and job.hint:
        reason = f"its job is running{f' on {job.node}' if job.node else ''}, but its script has not started"
        return _open(RunState.QUEUED, reason, VerdictCode.SCRIPT_NOT_STARTED, hint=job.hint)
    return _open(RunState.QUEUED, "its job is running, this run has not started", VerdictCode.WAITING_IN_JOB)


def _open(
    state: RunState,
    reason: str,
    code: VerdictCode,
    source: VerdictSource = VerdictSource.SCHEDULER,
    hint: str = "",
) -> RunVerdict:
    return RunVerdict(state, reason=reason, hint=hint, source=source.value, code=code)


def _finished(
    outcome: OutcomeKind,
    reason: str,
    code: VerdictCode,
    source: VerdictSource = VerdictSource.SCHEDULER,
    hint: str = "",
) -> RunVerdict:
    return RunVerdict(RunState.FINISHED, outcome, reason, hint, source.value, code=code)


def _perhaps_again(outcome: OutcomeKind, cancelled_by_us: bool) -> bool:
    """Return whether an attempt was ended from outside, so that the scheduler may start its job again."""
    return outcome in PERHAPS_AGAIN and not (cancelled_by_us and outcome is OutcomeKind.CANCELLED)


def _explained(run: RunEvidence, job: JobStatus, cancelled_by_us: bool) -> bool:
    """Return whether the scheduler's outcome explains the uncertain outcome in the run folder."""
    if run.outcome not in _EXPLAINS or (cancelled_by_us and run.outcome is OutcomeKind.CANCELLED):
        return False
    if job.state is JobState.GONE:  # the scheduler has no record of this array task: its outcome is that of the array
        return False
    return job.outcome in _EXPLAINS[run.outcome]


def _by_sigkill(run: RunEvidence) -> bool:
    return run.outcome is OutcomeKind.CRASHED and run.exit_code == -_SIGKILL


def _killed_for_memory(run: RunEvidence, job: JobStatus) -> bool:
    """Return whether SIGKILL ended the server, and the scheduler reports an exceeded memory limit."""
    return _by_sigkill(run) and job.state.final and job.outcome is OutcomeKind.OUT_OF_MEMORY


def _without_scheduler(run: RunEvidence, job: JobStatus | None, fresh: bool, cancelled_by_us: bool) -> RunVerdict:
    if cancelled_by_us and not fresh:
        return _finished(
            OutcomeKind.CANCELLED, "cancelled before it started", VerdictCode.CANCELLED, VerdictSource.CANCELLATION
        )
    if fresh and run.owner_alive:
        return _open(RunState.RUNNING, "", VerdictCode.RUNNING, VerdictSource.RUN_FOLDER)
    reason = job.reason if job is not None and job.reason else "job not found in the queue or the accounting"
    code = VerdictCode.JOB_NOT_FOUND
    ended = run.outcome if fresh else OutcomeKind.NOT_RUN if run.not_run is not None else None
    if ended is not None:
        what = f"attempt {run.attempt} ended as {ended.value}" if fresh else f"not run ({run.not_run})"
        if job is None:
            reason = f"{what}; the scheduler has not reported yet whether it starts the job again"
        else:
            reason = f"{what}; the scheduler did not report whether it starts the job again ({reason})"
        code = VerdictCode.AWAITING_SCHEDULER
    return _open(RunState.UNKNOWN, reason, code, VerdictSource.NONE, job.hint if job else "")


def _ended(job: JobStatus, fresh: bool, cancelled_by_us: bool, silent: bool = False) -> RunVerdict:
    """Return the verdict when the allocation has ended, and the agent left no end record of this run."""
    node = f" on {job.node}" if job.node else ""
    if job.outcome is OutcomeKind.WALLTIME and not fresh and silent:
        reason = f"its job {job.reason or job.native}{node}, and its script never started"
        return _finished(OutcomeKind.NOT_RUN, reason, VerdictCode.SCRIPT_NEVER_STARTED, hint=_NEVER_STARTED_HINT)
    if job.outcome is not None and job.outcome is not OutcomeKind.COMPLETED:
        reason = f"{job.reason or job.native}{node}"
        return _finished(job.outcome, reason, VerdictCode.SCHEDULER_EXPLAINS, hint=job.hint)
    if cancelled_by_us:
        return _finished(OutcomeKind.CANCELLED, f"cancelled{node}", VerdictCode.CANCELLED, VerdictSource.CANCELLATION)
    end = job.reason or (job.native if job.exit_code is None else f"{job.native}, exit code {job.exit_code}")
    if fresh:
        reason = f"job ended without a final record from the agent: {end}{node}"
        return _finished(OutcomeKind.LOST, reason, VerdictCode.NO_END_RECORD, hint=job.hint)
    reason = f"job ended before this run started: {end}{node}"
    return _finished(OutcomeKind.NOT_RUN, reason, VerdictCode.NEVER_BEGAN, hint=job.hint)


def _gone(run: RunEvidence, job: JobStatus, fresh: bool, cancelled_by_us: bool) -> RunVerdict:
    """Return the verdict when the scheduler responds, and has no record of the job. `job.outcome`: of the array."""
    if fresh and run.owner_alive:
        return _open(RunState.RUNNING, "", VerdictCode.RUNNING, VerdictSource.RUN_FOLDER)
    if cancelled_by_us:
        reason = "cancelled" if fresh else "cancelled before it started"
        return _finished(OutcomeKind.CANCELLED, reason, VerdictCode.CANCELLED, VerdictSource.CANCELLATION)
    if fresh:
        why = f": {job.reason}" if job.outcome is not None else ""
        reason = f"the agent left no final record, and the scheduler no longer has its job{why}"
        return _finished(OutcomeKind.LOST, reason, VerdictCode.NO_END_RECORD)
    if job.outcome is not None:
        reason = f"{job.outcome.value} before this run started: {job.reason}"
        return _finished(job.outcome, reason, VerdictCode.SCHEDULER_EXPLAINS)
    reason = "the job disappeared before this run started (cancelled, or purged from the queue)"
    return _finished(OutcomeKind.NOT_RUN, reason, VerdictCode.JOB_DISAPPEARED)

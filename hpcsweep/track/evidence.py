"""Records of the evidence for a run's state, and of the verdict."""

from dataclasses import dataclass
from enum import Enum

from hpcsweep.spec.phases import OutcomeKind, RunState


@dataclass(frozen=True)
class RunEvidence:
    """What the run folder has for the latest attempt of a run.

    `attempt`: number of the latest attempt, 0: none began. `outcome`: from the agent's end record; None: it has none.
    `not_run`: why the agent did not start the run; None: no such record. `known_attempts`: attempts before the latest
    submission; a new one has a higher number. `owner_alive`: whether the agent's process runs; None: not known.
    `hint`: the agent's. `exit_code`: of the server; negative: the signal that ended it. `silent`: the job has not
    printed anything, so its script has not started.
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


class VerdictSource(str, Enum):
    """What a state was determined from, as `hpcsweep status --json` prints it."""

    RUN_FOLDER = "run folder"
    SCHEDULER = "scheduler"
    SUBMISSION = "submission"
    PLAN = "plan"
    CANCELLATION = "cancellation"
    NONE = "none"


class VerdictCode(str, Enum):
    """The rule of `track.decide` that determined a state."""

    NOT_SUBMITTED = "not_submitted"
    """The run is part of the plan only."""
    PLANNED = "planned"
    SUBMISSION_UNCONFIRMED = "submission_unconfirmed"
    PENDING = "pending"
    REQUEUED = "requeued"
    HELD = "held"
    UNSCHEDULABLE = "unschedulable"
    WAITING_IN_JOB = "waiting_in_job"
    """Its job runs, this run has not started."""
    SCRIPT_NOT_STARTED = "script_not_started"
    RUNNING = "running"
    END_RECORD = "end_record"
    """The agent recorded how the attempt ended."""
    NOT_RUN_RECORD = "not_run_record"
    """The agent recorded that it did not start the run."""
    SCHEDULER_EXPLAINS = "scheduler_explains"
    """The scheduler reported how the job ended."""
    OUT_OF_MEMORY = "out_of_memory"
    SCRIPT_NEVER_STARTED = "script_never_started"
    CANCELLED = "cancelled"
    NO_END_RECORD = "no_end_record"
    """The job ended, and the agent left no end record."""
    NEVER_BEGAN = "never_began"
    """The job ended before this run started."""
    JOB_DISAPPEARED = "job_disappeared"
    AWAITING_SCHEDULER = "awaiting_scheduler"
    JOB_NOT_FOUND = "job_not_found"
    FILES_MISSING = "files_missing"
    WAITING_FOR_PREPARATION = "waiting_for_preparation"
    PREPARATION_FAILED = "preparation_failed"


@dataclass(frozen=True)
class RunVerdict:
    """State of a run. `source`: what it was determined from.

    `awaits_scheduler`: the scheduler may still report a better reason when the job has ended.
    """

    state: RunState
    outcome: OutcomeKind | None = None
    reason: str = ""
    hint: str = ""
    source: str = ""
    awaits_scheduler: bool = False
    code: VerdictCode | None = None

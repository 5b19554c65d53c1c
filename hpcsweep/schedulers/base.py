"""What a scheduler gives: argv to run, and what its output means. Nothing here runs anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from hpcsweep.schedulers.user_script import ScriptRequest
from hpcsweep.spec.phases import OutcomeKind


@dataclass(frozen=True)
class CommandResult:
    """What a command answered. `exit_code` None: it was stopped by our own time-out."""

    argv: tuple[str, ...]
    exit_code: int | None
    stdout: str
    stderr: str
    wall_s: float = 0.0


ABSENT = "absent"
"""Native state of a job that a scheduler without a record of ended jobs reported not to know."""


class JobState(str, Enum):
    """State of one allocation, in the words of all schedulers. `unknown` is neither good nor bad.

    `gone`: the job is over, and the scheduler has no record (any more) of how it ended.
    """

    PENDING = "pending"
    HELD = "held"
    UNSCHEDULABLE = "unschedulable"
    RUNNING = "running"
    ENDING = "ending"
    COMPLETED = "completed"
    FAILED = "failed"
    GONE = "gone"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> "JobState | None":
        return cls.UNSCHEDULABLE if value == "never" else None  # as stores written before issue 15 have it

    @property
    def final(self) -> bool:
        """The allocation is over."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.GONE)

    @property
    def started(self) -> bool:
        """The allocation holds nodes."""
        return self in (JobState.RUNNING, JobState.ENDING)


@dataclass(frozen=True)
class JobStatus:
    """State of one allocation, as one source reports it.

    `job_id`: the scheduler's id of the submission. `index`: the array index; None for a single job.
    `state`: UNSCHEDULABLE for a job that was accepted but can never start as it is.
    `outcome`: set when the scheduler itself reports how the job ended (TIMEOUT, NODE_FAIL ...).
    `native`: the scheduler's own name of the state. `reason`, `hint`: sentences for the user.
    `name`: the job's name; None if the source does not report it. Schedulers reuse ids: a status with a name other than
    that of our submission is about another job. `log_path`: where the job writes its output; None if not reported. A
    renamed job is still ours if it logs into our folder.
    `lags`: the source learns late of a start or a requeue; see `is_stale_against`.
    """

    job_id: str
    index: int | None
    state: JobState
    native: str
    reason: str = ""
    hint: str = ""
    outcome: OutcomeKind | None = None
    exit_code: int | None = None
    signal: int | None = None
    node: str | None = None
    restarts: int | None = None
    name: str | None = None
    lags: bool = False
    log_path: str | None = None

    @property
    def absent(self) -> bool:
        """The scheduler reported that it does not know the job, and keeps no record of ended jobs."""
        return self.native == ABSENT

    def is_stale_against(self, known: JobState) -> bool:
        """Return whether this status, of a lagging source, adds nothing to the known state."""
        if not self.lags or self.state.final or known.final or known is JobState.UNKNOWN:
            return False
        return not self.state.started or known.started


@dataclass(frozen=True)
class QueueSnapshot:
    """What one query told of all jobs asked for. `complete`: a job that is not in it is not known to this witness.

    `absent`: jobs and array tasks, (id, None) for all of a submission, of which a scheduler that keeps no record of
    ended jobs (PBS without history, or after it has purged them) reported no more than that it does not have them any
    more. They are most likely over; see `store.status.record_absence`.
    """

    statuses: Mapping[tuple[str, int | None], JobStatus] = field(default_factory=dict)
    complete: bool = True
    error: str = ""
    absent: frozenset[tuple[str, int | None]] = frozenset()


@dataclass(frozen=True)
class Partition:
    """A partition (Slurm) or queue (PBS). Figures are of one node, the largest where they differ; None: not known."""

    name: str
    default: bool
    usable: bool
    nodes: int
    max_walltime_s: float | None = None
    cpus: int | None = None
    memory_bytes: int | None = None
    gpus: Mapping[str, int] = field(default_factory=dict)  # GPU type ("" where it has none) -> GPUs of one node
    gpus_free: int | None = None  # on all its nodes, now
    gpu_resource: str = ""  # PBS: the resource whose value is the GPU type; empty: no node says its type
    routes_to: tuple[str, ...] = ()  # PBS: the queues that a routing queue hands its jobs to
    only_routed: bool = False  # PBS: takes jobs from a routing queue only


@dataclass(frozen=True)
class ClusterFacts:
    """What a cluster says of itself. `max_array_size`: elements of one array. None: not known."""

    version: str = ""
    partitions: tuple[Partition, ...] = ()
    max_array_size: int | None = None
    accounting: bool | None = None
    warnings: tuple[str, ...] = ()
    server: str = ""  # PBS: name of the server that answered


class Scheduler(Protocol):
    """One scheduler: builders of argv and parsers of answers."""

    name: str
    template: str
    array_index_variable: str
    query_timeout_s: float
    """How long an answer to a question may take, in seconds; a server that hangs would never give one."""
    query_timeout_per_job_s: float
    """Added for each submission that is asked about: some servers are asked about one id after the other."""

    def submit_argv(self, script: str, job_dir: str, text: str = "") -> tuple[str, ...]:
        """argv that submits the file `script`; everything else stands in its directives.

        `text`: what the file says, for a scheduler that wants its directives on the command line (PBS); it may
        raise SpecError for a directive that the scheduler would refuse or ignore.
        """
        ...

    def read_user_script(self, text: str, *, array_allowed: bool = False) -> ScriptRequest:
        """Return what the directives of a user's own script request, and warnings about lines that are not read.

        Raises SpecError for a script that makes an array, unless `array_allowed`.
        """
        ...

    def submit_user_script_argv(
        self, script: str, exports: Mapping[str, str], *, name: str, log_dir: str, text: str = "", walltime_s: float = 0
    ) -> tuple[str, ...]:
        """argv that submits a user's own script, whose directives hold, with those `exports` that it can carry.

        `text`: what the script says. `walltime_s`: for a script that asks for none and a scheduler that does not tell
        its jobs when they end; 0: leave it to the scheduler.
        """
        ...

    def parse_submit(self, answer: CommandResult) -> str:
        """The job id. Raises SchedulerError with the scheduler's own words and what to change.

        Raises SchedulerUnreachable when the scheduler did not answer: the job may exist all the same (`find_argv`).
        """
        ...

    def cancel_argv(self, job_id: str, indexes: Sequence[int] | None) -> tuple[str, ...]:
        """argv that cancels a job (`indexes` None) or elements of its array, in one call."""
        ...

    def cancel_error(self, answer: CommandResult) -> str:
        """Why a cancellation failed, for a person; empty: done, or everything asked for was over already."""
        ...

    def queries(self, job_ids: Sequence[str], user: str) -> Sequence[tuple[str, ...]]:
        """argv of each witness, the more trustworthy last; constant in the number of jobs."""
        ...

    def parse_query(self, number: int, answer: CommandResult) -> QueueSnapshot:
        """What query `number` told. Never raises: an answer that cannot be read is `complete=False` with trouble."""
        ...

    def find_argv(self, name: str, user: str) -> tuple[str, ...]:
        """argv that looks for jobs of this name: a submission whose answer was lost may have been carried out."""
        ...

    def parse_find(self, answer: CommandResult, job_dir: str) -> list[str]:
        """Ids of the jobs that were submitted from `job_dir`, oldest first. Raises SchedulerError."""
        ...

    def probes(self) -> Sequence[tuple[str, ...]]:
        """argv of the commands that tell what this cluster is."""
        ...

    def parse_probes(self, answers: Sequence[CommandResult]) -> ClusterFacts:
        """What the answers to `probes`, in their order, tell. Never raises: what cannot be read is a warning."""
        ...

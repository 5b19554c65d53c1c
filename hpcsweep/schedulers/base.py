"""The contract of a scheduler: argv to run, and parsers of what the commands print. Nothing here runs anything."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

from hpcsweep.errors import SpecError
from hpcsweep.schedulers.user_script import ScriptRequest
from hpcsweep.spec.phases import OutcomeKind

if TYPE_CHECKING:  # the models, and with them pydantic, are not needed to query a scheduler
    from hpcsweep.spec.base import Model

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class CommandResult:
    """What a command printed. `exit_code` None: it was stopped after our time-out."""

    argv: tuple[str, ...]
    exit_code: int | None
    stdout: str
    stderr: str
    wall_s: float = 0.0


@dataclass(frozen=True)
class Query(Generic[Parsed]):
    """A command to run, and the parser of its result."""

    argv: tuple[str, ...]
    parse: Callable[[CommandResult], Parsed]


@dataclass(frozen=True)
class JobEnvironment:
    """Names of the environment variables by which a scheduler describes a job to its processes; empty: it sets none.

    `job_id`: id of this allocation; if it is set, the process runs under this scheduler. `array_index`: index of an
    array task. `array_job_id`: id of the whole array. `composed_task_id`: `job_id` of an array task is not the id that
    the scheduler's commands print, which is composed of the array's id and the index (Slurm).
    `end_time`: Unix time of the end of the walltime. `restart_count`: starts of this job before the present one.
    `start_id`: a text that differs between starts of the job. `host`: the node's name as the scheduler has it.
    `job_name`, `queue`, `submit_dir`: of the submission. `node_list`: the nodes of the job, in the notation
    `gpu-[01-02]`; `node_file`: path of a file with a node per line.
    """

    job_id: str
    array_index: str = ""
    array_job_id: str = ""
    composed_task_id: bool = False
    end_time: str = ""
    restart_count: str = ""
    start_id: str = ""
    host: str = ""
    job_name: str = ""
    queue: str = ""
    submit_dir: str = ""
    node_list: str = ""
    node_file: str = ""


ABSENT = "absent"
"""Native state of a job that a scheduler without a record of ended jobs reported as unknown."""


class JobState(str, Enum):
    """State of one allocation, in terms common to all schedulers. UNKNOWN is neither good nor bad.

    HELD: it waits until a person releases it. UNSCHEDULABLE: it was accepted, but can never start as it is.
    GONE: the job is over, and the scheduler has no record (any more) of how it ended.
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
        return cls.UNSCHEDULABLE if value == "never" else None  # the value that earlier versions stored

    @property
    def final(self) -> bool:
        """Return whether the allocation is over."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.GONE)

    @property
    def started(self) -> bool:
        """Return whether the allocation has nodes."""
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
    """Statuses that one query returned, by (job id, array index).

    `complete`: a job that is not listed does not exist for this source. `error`: why the query failed; empty: it did
    not. `absent`: jobs and array tasks, (id, None) for a whole submission, that a scheduler without a record of ended
    jobs (PBS with history off, or after the history was purged) reported as unknown. They are most likely over; see
    `track.status.record_absence`.
    """

    statuses: Mapping[tuple[str, int | None], JobStatus] = field(default_factory=dict)
    complete: bool = True
    error: str = ""
    absent: frozenset[tuple[str, int | None]] = frozenset()


@dataclass(frozen=True)
class Partition:
    """A partition (Slurm) or queue (PBS). Figures are of one node, the largest where they differ; None: unknown."""

    name: str
    default: bool
    usable: bool
    nodes: int
    max_walltime_s: float | None = None
    cpus: int | None = None
    memory_bytes: int | None = None
    gpus: Mapping[str, int] = field(default_factory=dict)  # GPU type ("" where it has none) -> GPUs of one node
    gpus_free: int | None = None  # on all its nodes, now
    gpu_resource: str = ""  # PBS: the resource whose value is the GPU type; empty: no node reports its type
    routes_to: tuple[str, ...] = ()  # PBS: the destinations of a routing queue
    only_routed: bool = False  # PBS: accepts jobs from a routing queue only


@dataclass(frozen=True)
class ClusterFacts:
    """What a scheduler reports about its cluster. `max_array_size`: array tasks of one submission. None: unknown."""

    version: str = ""
    partitions: tuple[Partition, ...] = ()
    max_array_size: int | None = None
    accounting: bool | None = None
    warnings: tuple[str, ...] = ()
    server: str = ""  # PBS: name of the server that replied


class Scheduler(ABC):
    """One scheduler: builders of argv and parsers of output. A plugin is a subclass; see docs/plugins.md.

    `name`: as in `scheduler:` of a cluster profile. `template`: name of the job script's template. `template_text`: its
    text, for a plugin; empty: the template ships with hpcsweep. `environment`: names of the job's variables.
    `options_model`: model of `scheduler_options:` of a profile; None: the scheduler has no options of its own.
    `queue_key`: the profile key that names a partition or queue. `has_gpu_types`: the scheduler has a notion of GPU
    types (PBS has none; a resource of the site is used instead). `tracks_session`: only the processes of the job's
    session belong to the job (PBS).
    `query_timeout_s`: time limit of a query, in seconds; `query_timeout_per_job_s` is added for each submission,
    because some servers look ids up one after the other. `client_prefixes`: prefixes of environment variables that
    change what its commands print.
    """

    name: str
    template: str
    template_text: str = ""
    environment: JobEnvironment
    options_model: "type[Model] | None" = None
    queue_key: str = "queue"
    has_dependencies: bool = False
    has_gpu_types: bool = True
    tracks_session: bool = False
    query_timeout_s: float = 10.0
    query_timeout_per_job_s: float = 0.0
    client_prefixes: tuple[str, ...] = ()

    @abstractmethod
    def submit_argv(self, script: str, job_dir: str, text: str = "") -> tuple[str, ...]:
        """Return the argv that submits the file `script`, whose directives contain everything else.

        `text`: content of the file, for a scheduler that needs its directives on the command line (PBS). May raise
        SpecError for a directive that the scheduler would refuse or ignore.
        """

    @abstractmethod
    def parse_submit(self, answer: CommandResult) -> str:
        """Return the job id. Raises SchedulerError with the scheduler's message and what to change.

        Raises SchedulerUnreachable if the submission timed out or failed on the way: the job may exist (`find_query`).
        """

    @abstractmethod
    def cancel_argv(self, job_id: str, indexes: Sequence[int] | None) -> tuple[str, ...]:
        """Return the argv that cancels a job (`indexes` None) or some tasks of its array, in one call."""

    @abstractmethod
    def cancel_error(self, answer: CommandResult) -> str:
        """Return why a cancellation failed, as a sentence; empty if it worked or the jobs were over already."""

    @abstractmethod
    def queries(self, job_ids: Sequence[str], user: str) -> Sequence[Query[QueueSnapshot]]:
        """Return the state queries, the most reliable source last; their number does not depend on that of the jobs.

        A parser never raises: output that it cannot read is a snapshot with `complete=False` and an error.
        """

    @abstractmethod
    def array_task_id(self, job_id: str, index: int) -> str:
        """Return the id of an array task as the scheduler's commands print it, such as `12_3` or `12[3].server`."""

    def submission_id(self, job_id: str) -> str:
        """Return the id of the submission that a job id belongs to: `12[].server` for `12[3].server`."""
        return job_id

    def log_index(self, file_name: str) -> int | None:
        """Return the array index in the name of a job's output file. None: it has none."""
        match = re.fullmatch(r"(\d+)\.log", file_name)
        return int(match[1]) if match else None

    def find_query(self, name: str, user: str, job_dir: str) -> Query[list[str]] | None:
        """Return the query for jobs of this name that were submitted from `job_dir`: their ids, the oldest first.

        It is used after a submission timed out. Its parser raises SchedulerError. None: no such query exists.
        """
        return None

    def own_state_query(self, job_id: str, restarts: int) -> Query[str] | None:
        """Return the query that a running job makes about itself when it is signalled; None: there is none.

        `job_id`: from the job's environment. `restarts`: of this start. The parser returns `PREEMPTED`, `REQUEUED`,
        another native state, or an empty text.
        """
        return None

    def after_argv(self, argv: tuple[str, ...], job_ids: Sequence[str]) -> tuple[str, ...]:
        """Return the argv of a submission, changed so that the job starts after these jobs have succeeded.

        If one of them fails or is deleted, the scheduler must remove the job. See `has_dependencies`.
        """
        raise SpecError(
            f"{self.name}: jobs that start after another job are not supported", code="dependencies_unsupported"
        )

    def read_user_script(self, text: str, *, array_allowed: bool = False) -> ScriptRequest:
        """Return what the directives of a user's own script request, and warnings about lines that are not read.

        Raises SpecError for a script that makes an array, unless `array_allowed`.
        """
        return ScriptRequest()

    def submit_user_script_argv(
        self, script: str, exports: Mapping[str, str], *, name: str, log_dir: str, text: str = "", walltime_s: float = 0
    ) -> tuple[str, ...]:
        """Return the argv that submits a user's own script with its own directives, and the `exports` that it can pass.

        `text`: content of the script. `walltime_s`: for a script that requests no walltime, if the scheduler does not
        report the end of the job to the job; 0: leave it to the scheduler. Raises SpecError if it cannot be done.
        """
        raise SpecError(
            f"{self.name}: submitting your own script is not supported",
            code="own_script_unsupported",
            hint="submit without --script",
        )

    def probes(self) -> Sequence[tuple[str, ...]]:
        """Return the argv of the commands that describe the cluster."""
        return ()

    def parse_probes(self, answers: Sequence[CommandResult]) -> ClusterFacts:
        """Return the facts in the output of `probes`, in their order. Never raises: unreadable output is a warning."""
        return ClusterFacts()

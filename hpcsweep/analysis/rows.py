"""The typed rows that the analysis reads. The store's queries and the imports return them.

Plain frozen dataclasses, so that the analysis does not depend on the database. Times are in seconds, sizes in bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hpcsweep.analysis.columns import SampleColumns, SampleRow
from hpcsweep.plan.bound.deploy import BoundModel
from hpcsweep.spec.phases import OutcomeKind, Phase, RunState, StallCause


@dataclass(frozen=True)
class PhaseRow:
    """A phase of an attempt. `end_s` None: the attempt ended during it without an end record."""

    phase: Phase
    start_s: float
    end_s: float | None
    budget_s: float | None = None
    evidence: str = ""


@dataclass(frozen=True)
class FactRow:
    """A fact read from logs or the server. Of several with the same name, the last one is valid."""

    name: str
    value: float | str | bool
    unit: str = ""
    source: str = ""


@dataclass(frozen=True)
class WorkloadRow:
    """A workload of one attempt. `left_out`: why it was not sent; it has no samples then.

    The samples are in `samples` or, where there may be many (a report over a large sweep), in `columns`; never in both.
    `settings`: the workload as the experiment states it (`spec.workload.Workload` as JSON values); empty: not known.
    """

    workload: str
    client: str = "builtin"
    left_out: str | None = None
    samples_total: int = 0
    samples: Sequence[SampleRow] = ()
    durations_s: tuple[float, ...] = ()  # one per repeat of the workload; empty: it did not complete
    warnings: tuple[str, ...] = ()
    client_figures: dict[str, float] = field(default_factory=dict)
    server_figures: dict[str, float] = field(default_factory=dict)
    energy_j: tuple[
        float, ...
    ] = ()  # from the driver's energy counters, one per repeat; empty: not known for all repeats
    telemetry: tuple[tuple[float, dict[str, float]], ...] = ()  # (t_s, figures)
    dataset_sha256: str | None = None
    columns: SampleColumns | None = None
    settings: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class NodePart:
    """The part of a server on another node than that of the agent."""

    rank: int
    node: str
    phases: tuple[PhaseRow, ...] = ()
    facts: tuple[FactRow, ...] = ()


@dataclass(frozen=True)
class AttemptRow:
    """One attempt of a run. `outcome` None: it has not ended, or its end is not known."""

    attempt: int
    host: str | None
    job_id: str | None
    engine: str
    simulated: bool
    time_scale: float
    outcome: OutcomeKind | None
    phase: Phase | None
    reason: str = ""
    cause: StallCause | None = None  # of outcome stalled
    decided_by: str = ""
    evidence: tuple[str, ...] = ()
    hint: str = ""
    exit_code: int | None = None
    startup_s: float | None = None  # launch to ready; None: never ready
    duration_s: float | None = None  # attempt begin to attempt end, on the attempt's clock
    argv: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()
    gpu_name: str | None = None
    started_at: float | None = None  # Unix seconds
    phases: tuple[PhaseRow, ...] = ()
    facts: tuple[FactRow, ...] = ()
    workloads: tuple[WorkloadRow, ...] = ()
    warnings: tuple[str, ...] = ()
    killed: tuple[str, ...] = ()
    attempt_dir: str = ""
    nodes: tuple[str, ...] = ()  # of a server on several nodes, that of the agent first; empty: `host`
    node: str | None = None  # at fault; None: not known
    parts: tuple[NodePart, ...] = ()  # on the other nodes

    def fact(self, name: str) -> FactRow | None:
        """Return the last fact with this name; None: there are none."""
        return next((fact for fact in reversed(self.facts) if fact.name == name), None)


@dataclass(frozen=True)
class RunRow:
    """One variant measured once in one sweep, with all its attempts. `last` is the attempt that counts."""

    run: str
    sweep: str
    variant_id: str
    repeat: int
    axes: dict[str, str]
    engine: str
    model: str
    gpus: int
    state: RunState
    outcome: OutcomeKind | None  # of the last attempt, or from the scheduler, or not_run
    reason: str = ""
    simulated: bool = False
    not_submitted: bool = False  # documented in the experiment as not run, with its reason
    job: str | None = None
    node: str | None = None
    gpu_type: str | None = None
    nodes: int = 1
    source: str = ""  # of state and outcome; empty: not known
    queued_s: float | None = None
    attempts: tuple[AttemptRow, ...] = ()
    server: dict[str, object] = field(default_factory=dict)  # `spec.server.ServerConfig` as JSON; empty: not known

    @property
    def last(self) -> AttemptRow | None:
        """The attempt that counts: the last completed one, else the last one."""
        done = [a for a in self.attempts if a.outcome is OutcomeKind.COMPLETED]
        counting = done or list(self.attempts)
        return counting[-1] if counting else None


@dataclass(frozen=True)
class PreparationRow:
    """One job that prepared a sweep. `gpus`: of the job. `duration_s` None: its end is not known."""

    name: str
    outcome: OutcomeKind | None
    gpus: int
    duration_s: float | None
    reason: str = ""


@dataclass(frozen=True)
class SweepRow:
    """One submitted sweep of an experiment."""

    sweep: str
    experiment: str
    title: str
    submitted_at: float
    cluster: str
    scheduler: str
    axes: dict[str, tuple[str, ...]]  # axis -> labels of its levels in this sweep, in the order of the file
    baseline: dict[str, str]
    objective: dict[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    simulated: bool = False
    runs: tuple[RunRow, ...] = ()
    scripts: dict[str, str] = field(default_factory=dict)  # path -> text of what was submitted
    sweep_dir: str = ""
    preparations: tuple[PreparationRow, ...] = ()
    models: dict[str, BoundModel] = field(default_factory=dict)  # by the name or path that servers were given

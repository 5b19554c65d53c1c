"""The typed rows that the analysis reads: what the store's queries return, and what an import gives.

Plain frozen dataclasses, so that the analysis knows nothing of databases. All times in seconds, all sizes in bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hpcsweep.analysis.columns import SampleColumns
from hpcsweep.plan.bound.deploy import BoundModel
from hpcsweep.spec.phases import OutcomeKind, Phase, RunState, StallCause


@dataclass(frozen=True)
class PhaseRow:
    """A phase of an attempt. `end_s` None: it was still in it when the attempt ended without a word."""

    phase: Phase
    start_s: float
    end_s: float | None
    budget_s: float | None = None
    evidence: str = ""


@dataclass(frozen=True)
class FactRow:
    """A fact read on the way; the last of its name holds."""

    name: str
    value: float | str | bool
    unit: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One request. `itl_s` may be empty when only aggregates were asked for; see `itl_count`."""

    sample: str
    index: int
    sent_s: float
    prompt_tokens: int | None
    completion_tokens: int | None
    ttft_s: float | None
    e2e_s: float | None
    error: str | None = None
    warmup: bool = False
    cold: str | None = None
    repeat: int = 1
    tokens_from: str = "usage"
    lateness_s: float = 0.0
    finish_reason: str | None = None
    cached_tokens: int | None = None
    itl_s: tuple[float, ...] = ()
    error_detail: str = ""


@dataclass(frozen=True)
class WorkloadRow:
    """A workload of one attempt. `left_out`: why it was not sent; then there are no samples.

    The samples stand in `samples`, or in `columns` where there may be many (a report over a large sweep): never in
    both. `settings`: the workload as the experiment states it (`spec.workload.Workload` as JSON values); empty: not
    known.
    """

    workload: str
    client: str = "builtin"
    left_out: str | None = None
    samples_total: int = 0
    samples: Sequence[SampleRow] = ()
    durations_s: tuple[float, ...] = ()  # one per repeat of the workload; empty: it did not end
    warnings: tuple[str, ...] = ()
    client_figures: dict[str, float] = field(default_factory=dict)
    server_figures: dict[str, float] = field(default_factory=dict)
    energy_j: tuple[float, ...] = ()  # by the counters of the GPUs' driver, one per repeat; empty: not of all repeats
    telemetry: tuple[tuple[float, dict[str, float]], ...] = ()  # (t_s, figures)
    dataset_sha256: str | None = None
    columns: SampleColumns | None = None
    settings: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class AttemptRow:
    """One try of a run. `outcome` None: it has not ended, or nobody knows."""

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

    def fact(self, name: str) -> FactRow | None:
        """The last fact of this name."""
        return next((fact for fact in reversed(self.facts) if fact.name == name), None)


@dataclass(frozen=True)
class RunRow:
    """One variant measured once in one sweep, with all its attempts, the last one being the one that counts."""

    run: str
    sweep: str
    variant_id: str
    repeat: int
    axes: dict[str, str]
    engine: str
    model: str
    gpus: int
    state: RunState
    outcome: OutcomeKind | None  # of the run: the last attempt's, or what the scheduler said, or not_run
    reason: str = ""
    simulated: bool = False
    planned_only: bool = False  # stands in the experiment as not to be run, with its reason
    job: str | None = None
    node: str | None = None
    gpu_type: str | None = None
    nodes: int = 1
    settled_by: str = ""  # the witness that decided on state and outcome; empty: not known
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
class SweepRow:
    """One submission of an experiment."""

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
    models: dict[str, BoundModel] = field(
        default_factory=dict
    )  # by the name or path given to the server; known ones only

"""What the analysis finds: every number that any rendering of a report may print, with what is needed to read it.

Renderings format these values and compute none of their own. Seconds, bytes and tokens inside; percentages are
percent (1.3 means +1.3%). `simulated` stands on everything that has a number: at least one row behind it came from
the simulated engine. `condition` is `warm` (cold first requests left out) or `all`.
"""

from dataclasses import dataclass, field

from hpcsweep.analysis.findings.compared import (
    AxisFinding,
    Comparison,
    Interaction,
    ParetoPoint,
    Recommendation,
    ScaledResult,
    Waterfall,
)
from hpcsweep.analysis.findings.measured import CacheEffect, Cell, Costs, Result, StartupFinding
from hpcsweep.spec.phases import OutcomeKind, Phase, RunState, StallCause


@dataclass(frozen=True)
class FactFinding:
    """A fact of an attempt, with its unit and where it was read."""

    value: float | str | bool
    unit: str
    source: str


@dataclass(frozen=True)
class RunFinding:
    """One run: what became of it, and everything needed to repeat it. `counts`: the attempt that counts."""

    run: str
    label: str
    variant: str
    repeat: int
    axes: dict[str, str]
    state: RunState
    outcome: OutcomeKind | None
    phase: Phase | None
    reason: str
    cause: StallCause | None
    decided_by: str
    evidence: tuple[str, ...]
    hint: str
    planned_only: bool
    job: str | None
    host: str | None
    gpu_name: str | None
    gpu_type: str | None
    gpus: int
    nodes: int
    engine: str
    model: str
    attempts: int
    counts: int | None
    duration_s: float | None
    queued_s: float | None
    exit_code: int | None
    argv: tuple[str, ...]
    env: dict[str, str]
    versions: dict[str, str]
    facts: dict[str, FactFinding]
    warnings: tuple[str, ...]
    killed: tuple[str, ...]
    attempt_dir: str
    simulated: bool

    @property
    def measured(self) -> bool:
        """The attempt that counts came to its end."""
        return self.outcome is OutcomeKind.COMPLETED


@dataclass(frozen=True)
class Variant:
    """One server configuration of the sweep. `name`: `ep=on, eager=yes, len=32k (32768)`; `label`: without repeat.

    `changed`: the axes in which it differs from the baseline. `short_name`: for tables, E01, E02 ...
    """

    variant: str
    short_name: str
    label: str
    name: str
    axes: dict[str, str]
    changed: tuple[str, ...]
    is_baseline: bool
    gpus: int
    engine: str
    model: str
    runs: tuple[str, ...]
    completed: int
    simulated: bool


@dataclass(frozen=True)
class Remark:
    """Something a reader must know: `code` is a stable snake_case name, `about` a variant, run or workload."""

    code: str
    about: str
    text: str


@dataclass(frozen=True)
class SweepFacts:
    """The sweep itself."""

    sweep: str
    experiment: str
    title: str
    submitted_at: float
    cluster: str
    scheduler: str
    axes: dict[str, tuple[str, ...]]
    baseline: dict[str, str]
    baseline_variant: str | None
    workloads: tuple[str, ...]
    notes: tuple[str, ...]
    provenance: dict[str, str]
    scripts: dict[str, str]
    sweep_dir: str
    simulated: bool
    all_simulated: bool


@dataclass(frozen=True)
class Findings:
    """All of it. Tuples are in the order of the experiment's grid; nothing here is cut for length."""

    sweep: SweepFacts
    variants: tuple[Variant, ...]
    runs: tuple[RunFinding, ...]
    cells: tuple[Cell, ...]
    results: tuple[Result, ...]
    comparisons: tuple[Comparison, ...]
    axes: tuple[AxisFinding, ...]
    interactions: tuple[Interaction, ...]
    waterfalls: tuple[Waterfall, ...]
    scaling: tuple[ScaledResult, ...]
    pareto: tuple[ParetoPoint, ...]
    startups: tuple[StartupFinding, ...]
    cache_effects: tuple[CacheEffect, ...]
    costs: Costs
    recommendation: Recommendation
    remarks: tuple[Remark, ...]
    index: dict[str, Variant] = field(default_factory=dict, repr=False)

    def variant(self, variant_id: str) -> Variant:
        """The variant of this id. KeyError if there is none."""
        return self.index[variant_id]

"""Findings: every number that a report may print, with what is needed to read it.

Report formats format these values and compute none of their own. Units are seconds, bytes and tokens; percentages are
in percent (1.3 is +1.3 %). `simulated` is True on every number that comes from at least one run of the simulated
engine. `condition` is `warm` (without cold requests) or `all`.
"""

from dataclasses import dataclass, field

from hpcsweep.analysis.findings.compared import (
    AxisFinding,
    Comparison,
    Interaction,
    NextStep,
    ParetoPoint,
    Recommendation,
    ScaledResult,
    Waterfall,
)
from hpcsweep.analysis.findings.measured import CacheEffect, Cell, Costs, Result, StartupFinding, Values
from hpcsweep.spec.phases import OutcomeKind, Phase, RunState, StallCause


@dataclass(frozen=True)
class FactFinding:
    """A fact of an attempt, with its unit and the source it was read from."""

    value: float | str | bool
    unit: str
    source: str


@dataclass(frozen=True)
class RunFinding:
    """One run: its outcome, and everything needed to repeat it. `counts`: number of the attempt that counts."""

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
        """Whether the run completed."""
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
    """An observation that changes how the tables are read.

    `code`: a stable snake_case name. `about`: the variant or run it concerns; empty: the sweep. `values`: the numbers
    and names in `text`.
    """

    code: str
    about: str
    text: str
    values: Values = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class SweepFacts:
    """The sweep: its experiment, cluster, axes and submitted files."""

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
    """All findings of a sweep. Tuples are in the order of the experiment's grid and are never cut for length."""

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
    next_steps: tuple[NextStep, ...]
    index: dict[str, Variant] = field(default_factory=dict, repr=False)

    def variant(self, variant_id: str) -> Variant:
        """Return the variant with this id. Raises KeyError if there is none."""
        return self.index[variant_id]

"""Findings that compare variants: verdicts, effects, recommendation. The package docstring defines the conventions."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from hpcsweep.analysis.findings.measured import Figure, SampleSet, Validity, Values


class Verdict(str, Enum):
    """The result of comparing a variant with a reference."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference seen"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Comparison:
    """`variant` against `reference` on one workload and metric.

    `difference` in the metric's unit; `percent`: (variant / reference - 1) x 100, with its interval. `p_adjusted`:
    by Holm over all comparisons of the same metric and sample set; None: no verdict. `provisional`: one of the two
    has a single run, or the spread between server starts is assumed. `code`: why there is not
    any verdict, else empty. `reason`: the same in words, or what the verdict is based on.
    """

    workload: str
    metric: str
    higher_is_better: bool
    condition: SampleSet
    reference: str
    variant: str
    reference_value: Figure
    variant_value: Figure
    difference: Figure
    percent: Figure
    verdict: Verdict
    reason: str
    p_value: float | None
    p_adjusted: float | None
    provisional: bool
    simulated: bool
    code: str = ""


@dataclass(frozen=True)
class Effect:
    """The mean change of a metric, percent, from the reference level to this one, over pairs that differ in it alone.

    `cache`: for a startup time, the state of the compile cache (hit, miss or off); None: it plays no part.
    """

    axis: str
    level: str
    reference: str
    workload: str | None
    metric: str
    condition: SampleSet
    percent: Figure
    verdict: Verdict
    p_value: float
    p_adjusted: float
    cache: str | None = None


@dataclass(frozen=True)
class LevelFinding:
    """One level of an axis: the outcomes of its runs, and how it compares with the reference level.

    `outcomes`: outcome -> number, without completed runs. `one_at_a_time`: the baseline with only this level changed,
    against the baseline; empty: not in the sweep. `main_effects`: over all pairs of variants that differ in this axis
    alone; empty below 2 pairs.
    """

    level: str
    is_reference: bool
    runs: int
    completed: int
    outcomes: dict[str, int]
    one_at_a_time: tuple[Comparison, ...]
    main_effects: tuple[Effect, ...]
    startup: tuple[Effect, ...]


@dataclass(frozen=True)
class AxisFinding:
    """One axis. `levels`: in the order of the experiment. `statements`: a sentence per level with failed runs."""

    axis: str
    reference: str | None
    levels: tuple[LevelFinding, ...]
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Interaction:
    """The joint effect of two axes against the product of their own effects: `percent` is the deviation.

    `seen`: the deviation is significant (Holm over all interactions of the metric).
    """

    axes: tuple[str, str]
    levels: tuple[str, str]
    workload: str
    metric: str
    condition: SampleSet
    percent: Figure
    seen: bool


@dataclass(frozen=True)
class WaterfallStep:
    """One option added to the previous ones. `comparison` None: no other level of this axis is comparable."""

    axis: str
    before: str
    after: str
    variant: str
    comparison: Comparison | None
    kept: bool
    reason: str


@dataclass(frozen=True)
class Waterfall:
    """Options added one after another, in percent.

    `total`: the kept steps together. `claimed`: the product of every step's best level taken at face value, as a study
    without intervals would state it.
    """

    workload: str
    metric: str
    condition: SampleSet
    start: str
    steps: tuple[WaterfallStep, ...]
    total: Figure
    claimed: Figure


@dataclass(frozen=True)
class ScaledResult:
    """A variant on `gpus_total` GPUs: `replicas` servers of `gpus` each. Arithmetic, not a measurement."""

    variant: str
    workload: str
    gpus: int
    replicas: int
    gpus_total: int
    output_throughput: Figure
    total_throughput: Figure
    per_gpu: Figure


@dataclass(frozen=True)
class ParetoPoint:
    """tok/s/user (1 / mean TPOT) against tok/s/GPU (output throughput / GPUs). `dominated_by` None: on the front."""

    variant: str
    workload: str
    tps_per_user: Figure
    tps_per_gpu: Figure
    dominated_by: str | None


@dataclass(frozen=True)
class Candidate:
    """A variant scored by the objective. `rank` None: not ranked; `reason` gives the reason.

    `chance_best`: share of draws from the intervals in which it has the highest score; None: not ranked, or the only
    one with a score. `against_best`: its score against the best, percent; None: it is the best, or is not compared.
    `equal_to_best`: not significantly different (Holm over all candidates). `comparable` False: its conditions differ
    from those of the best; `reason` names the difference.
    """

    variant: str
    score: Figure
    rank: int | None
    chance_best: float | None
    validity: Validity
    against_best: Figure | None
    equal_to_best: bool
    reason: str
    comparable: bool = True


@dataclass(frozen=True)
class Statement:
    """A sentence of the recommendation, with a stable code and its numbers and names as `values`."""

    code: str
    text: str
    values: Values = field(default_factory=dict, hash=False)


Level = Literal["high", "medium", "low"]


@dataclass(frozen=True)
class Confidence:
    """How much the recommendation can be relied on: a level, and the reasons that lower it.

    low: single runs, results with caveats, or only one variant with a score. medium: repeated and valid results, but
    close candidates or variants without a result. high: none of these.
    """

    level: Level
    reasons: tuple[Statement, ...]
    text: str


@dataclass(frozen=True)
class NextStep:
    """Further runs that would settle which of `variants` is best.

    `code`: `resolve_difference`, or `measure_spread` where the spread between runs is not known yet. `repeats`:
    further runs of each variant. `difference_percent`: the difference that they resolve with `power` at `alpha`
    (two-sided t test); None: the spread is not known. `spread_percent`: relative standard deviation of the score
    between runs; None: not known. `gpu_hours`: of all these runs, from the durations of the completed ones; None: no
    duration is known.
    """

    code: Literal["resolve_difference", "measure_spread"]
    variants: tuple[str, ...]
    repeats: int
    difference_percent: float | None
    spread_percent: float | None
    gpu_hours: float | None
    power: float
    alpha: float
    text: str
    simulated: bool


@dataclass(frozen=True)
class WorkloadBest:
    """The same decision for one workload alone. `equal`: variants not significantly different from the best.

    `not_measured`: completed variants without a valid result on this workload.
    """

    workload: str
    best: str
    chosen: str
    equal: tuple[str, ...]
    score: Figure
    not_measured: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recommendation:
    """Which variant to run. `chosen` None: nothing is recommended; `why` gives the reason.

    `best`: highest score; `chosen` differs from it when a simpler or cheaper variant is not significantly different.
    `by_workload`: one entry per workload where the objective covers several; else empty. `per_workload`: only one
    variant has a result on every workload, so that the entries of `by_workload` are the recommendation. `statements`:
    why, the decision first. `missing`: what was not measured and could change the decision. `argv`: the serve command
    without the run's host and port; `env`: variables to set; `files`: relative name -> text of files it needs;
    `command`: argv and env as shell text; may be empty.
    """

    objective: str
    metric: str
    workload: str | None
    condition: SampleSet
    chosen: str | None
    best: str | None
    statements: tuple[Statement, ...]
    candidates: tuple[Candidate, ...]
    by_workload: tuple[WorkloadBest, ...]
    per_workload: bool
    missing: tuple[Statement, ...]
    confidence: Confidence | None
    provisional: bool
    argv: tuple[str, ...]
    env: dict[str, str]
    files: dict[str, str]
    command: str
    simulated: bool

    @property
    def why(self) -> tuple[str, ...]:
        """The sentences of `statements`."""
        return tuple(statement.text for statement in self.statements)

    @property
    def not_measured(self) -> tuple[str, ...]:
        """The sentences of `missing`."""
        return tuple(statement.text for statement in self.missing)

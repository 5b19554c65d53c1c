"""Findings that set variants against each other: verdicts, effects, recommendation. Read `findings.py` first."""

from dataclasses import dataclass
from enum import Enum

from hpcsweep.analysis.findings.measured import Figure, SampleSet, Validity


class Verdict(str, Enum):
    """What a comparison says of the second against the first."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference seen"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Comparison:
    """`variant` against `reference` on one workload and metric.

    `difference` in the metric's unit; `percent`: (variant / reference - 1) x 100, with its interval. `p_adjusted`:
    by Holm over all comparisons of the same report section. `provisional`: a single run stands on a side, and the
    spread between server starts had to be assumed. `reason`: why not comparable, or what the verdict rests on.
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


@dataclass(frozen=True)
class Effect:
    """The mean change of a metric, percent, from the reference level to this one, over pairs differing in it alone.

    `cache`: of a startup time, what the compile cache was to the starts, hit, miss or off; None: it plays no part.
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
    """One level of an axis: what became of its runs, and how it compares with the reference level.

    `one_at_a_time`: the baseline with only this level changed, against the baseline; empty: not in the sweep.
    `main_effects`: over all pairs of variants that differ in this axis alone; empty below 2 pairs.
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
    """One axis. `levels` in the order of the experiment."""

    axis: str
    reference: str | None
    levels: tuple[LevelFinding, ...]
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Interaction:
    """Two axes whose effects do not simply multiply: `percent` is how far the joint change is from the product."""

    axes: tuple[str, str]
    levels: tuple[str, str]
    workload: str
    metric: str
    condition: SampleSet
    percent: Figure
    seen: bool


@dataclass(frozen=True)
class WaterfallStep:
    """One option chosen after another. `comparison` None: no level of this axis could be measured beside the others."""

    axis: str
    before: str
    after: str
    variant: str
    comparison: Comparison | None
    kept: bool
    reason: str


@dataclass(frozen=True)
class Waterfall:
    """Options added one after the other, percent.

    `total`: product of the kept steps. `claimed`: product with every step's best level taken at face value, as a
    study without intervals would state it.
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
    """tok/s/user (1 / mean TPOT) against tok/s/GPU (output throughput / GPUs). `dominated_by`: None: on the front."""

    variant: str
    workload: str
    tps_per_user: Figure
    tps_per_gpu: Figure
    dominated_by: str | None


@dataclass(frozen=True)
class Candidate:
    """A variant as the objective sees it. `rank` None: not ranked, and `reason` says why.

    `chance_best`: share of draws from the intervals in which it comes out first; None: it takes no part.
    `against_best`: its score against the best, percent; None: it is the best, or takes no part. `equal_to_best`: no
    difference is seen (Holm over all candidates).
    """

    variant: str
    score: Figure
    rank: int | None
    chance_best: float | None
    validity: Validity
    against_best: Figure | None
    equal_to_best: bool
    reason: str


@dataclass(frozen=True)
class WorkloadBest:
    """The same decision for one workload alone. `equal`: variants that cannot be told apart from the best one."""

    workload: str
    best: str
    chosen: str
    equal: tuple[str, ...]
    score: Figure


@dataclass(frozen=True)
class Recommendation:
    """What to run. `chosen` None: nothing can be recommended, and `why` says so.

    `best`: highest score; `chosen` differs from it when a simpler or cheaper variant cannot be told apart from it.
    `by_workload`: one entry a workload where the objective is over several; else empty.
    `argv`: the serve command without the run's own host and port; `env`: what must be set for it; `files`: relative
    name -> text that must lie beside it; `command`: argv and env as shell text, empty where no command can be given.
    """

    objective: str
    metric: str
    workload: str | None
    condition: SampleSet
    chosen: str | None
    best: str | None
    why: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    by_workload: tuple[WorkloadBest, ...]
    not_measured: tuple[str, ...]
    provisional: bool
    argv: tuple[str, ...]
    env: dict[str, str]
    files: dict[str, str]
    command: str
    simulated: bool

"""Findings on what was measured: cells, results, startups, costs. Read `findings.py` first."""

from dataclasses import dataclass
from typing import Literal

from hpcsweep.analysis.columns import Floats, SampleColumns
from hpcsweep.spec.phases import OutcomeKind, Phase

SampleSet = Literal["all", "warm"]
"""`warm`: cold first requests are left out."""

Status = Literal["valid", "provisional", "invalid"]


@dataclass(frozen=True)
class Figure:
    """One number with n, unit, conditions and interval.

    `value` None: it cannot be had; `note` says why. `of`: what `n` counts (samples, runs, repeats, pairs).
    `low`, `high` None: no interval can be given, and `note` says why. `method`: how the interval was made.
    """

    value: float | None
    unit: str
    n: int = 0
    of: str = "samples"
    condition: SampleSet = "all"
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    method: str = ""
    simulated: bool = False
    note: str = ""


@dataclass(frozen=True)
class MetricSummary:
    """One metric of one cell or result: the distribution over its successful, counted samples.

    `interval` of the mean: `low`, `high`. `spread`: standard deviation / mean. `median_low`, `median_high`: interval
    of the median by order statistics; None below 6 samples.
    """

    metric: str
    unit: str
    condition: SampleSet
    n: int
    mean: float
    median: float
    p90: float
    p99: float
    minimum: float
    maximum: float
    stdev: float | None
    spread: float | None
    low: float | None
    high: float | None
    median_low: float | None
    median_high: float | None
    simulated: bool

    def figure(self) -> Figure:
        """The mean, as a figure."""
        note = "" if self.low is not None else "no interval from one sample"
        return Figure(
            self.mean,
            self.unit,
            self.n,
            "samples",
            self.condition,
            self.low,
            self.high,
            method="t over samples of one server, on the logarithmic scale" if self.low is not None else "",
            simulated=self.simulated,
            note=note,
        )


@dataclass(frozen=True)
class Reason:
    """A reason to use a result with care: a stable code, and a sentence with the numbers."""

    code: str
    text: str
    status: Status = "invalid"


@dataclass(frozen=True)
class Validity:
    """`valid`: averaged and ranked. `provisional`: shown, compared with care, not ranked. `invalid`: only shown."""

    status: Status = "valid"
    reasons: tuple[Reason, ...] = ()

    @property
    def ranked(self) -> bool:
        """It may carry a rank."""
        return self.status == "valid"


@dataclass(frozen=True)
class ColdSample:
    """A first request, kept apart. `slower_by`: its metric e2e over the warm median, as a ratio; None: not known."""

    sample: str
    index: int
    kind: str
    e2e_s: float | None
    ttft_s: float | None
    slower_by: float | None


@dataclass(frozen=True)
class Outlier:
    """A warm sample far from the others: more than 3.5 robust standard deviations (MAD) and 10% from the median."""

    sample: str
    index: int
    metric: str
    value: float
    median: float


@dataclass(frozen=True)
class Drift:
    """A trend of a metric over the order of sending: percent change from the first to the last warm sample."""

    metric: str
    change: Figure
    seen: bool


@dataclass(frozen=True, eq=False)
class Cell:
    """One run x workload: what one server did under one load. `left_out`: n/a and why; then nothing was measured.

    `throughput`: by name `request_throughput` (requests/s), `output_throughput`, `total_throughput` (tokens/s), and
    `goodput` (requests/s that keep the SLO) where one is stated; over all requests that are no warm-up, failed ones
    giving no tokens. `tps`, `tpot_s`: one value a sample, NaN where it cannot be had; in the order of `samples`.
    `settings`: the workload as the experiment states it.
    """

    run: str
    label: str
    variant: str
    repeat: int
    workload: str
    client: str
    host: str | None
    gpu_name: str | None
    gpus: int
    left_out: str | None
    validity: Validity
    samples_total: int
    succeeded: int
    failed: int
    failures: dict[str, int]
    prompt_tokens: float | None
    completion_tokens: float | None
    summaries: tuple[MetricSummary, ...]
    throughput: dict[str, Figure]
    cold: tuple[ColdSample, ...]
    outliers: tuple[Outlier, ...]
    drift: tuple[Drift, ...]
    energy: Figure | None
    samples: SampleColumns
    tps: Floats
    tpot_s: Floats
    telemetry: tuple[tuple[float, dict[str, float]], ...]
    server_figures: dict[str, float]
    client_figures: dict[str, float]
    settings: dict[str, object]
    dataset_sha256: str | None
    warnings: tuple[str, ...]
    simulated: bool

    def summary(self, metric: str, condition: SampleSet) -> MetricSummary | None:
        """The summary of this metric under this condition; None: nothing was measured."""
        return next((s for s in self.summaries if s.metric == metric and s.condition == condition), None)


@dataclass(frozen=True)
class Result:
    """One variant x workload over its repeats. `means`: metric -> condition -> mean over the runs that count.

    `runs`: labels of the runs that count; `set_aside`: labels of those that the validity gate keeps out.
    """

    variant: str
    workload: str
    left_out: str | None
    validity: Validity
    runs: tuple[str, ...]
    set_aside: tuple[str, ...]
    samples: int
    means: dict[str, dict[SampleSet, Figure]]
    simulated: bool

    def mean(self, metric: str, condition: SampleSet) -> Figure | None:
        """The mean of `metric`; throughputs exist for `all` only. None: not measured."""
        return self.means.get(metric, {}).get(condition)


@dataclass(frozen=True)
class PhaseFinding:
    """One phase of an attempt. `ended` False: the attempt ended in it; then `duration_s` is up to that end."""

    phase: Phase
    start_s: float
    duration_s: float | None
    ended: bool
    budget_s: float | None
    evidence: str


@dataclass(frozen=True)
class StartupFinding:
    """One attempt's startup. Seconds; None: not seen in the log. `compile_cache`: hit, miss, off or None."""

    run: str
    label: str
    variant: str
    attempt: int
    startup_s: float | None
    load_s: float | None
    compile_s: float | None
    gpu_memory_bytes: float | None
    kv_cache_tokens: float | None
    compile_cache: str | None
    phases: tuple[PhaseFinding, ...]
    outcome: OutcomeKind | None
    ended_in: Phase | None
    simulated: bool


@dataclass(frozen=True)
class CacheEffect:
    """Startup of one variant with a cold and a warm compile cache."""

    variant: str
    cold: Figure
    warm: Figure


@dataclass(frozen=True)
class Costs:
    """GPU-hours of the sweep, on the attempts' own clock (simulated hours where the engine was).

    used = startup + measured + teardown_and_idle + wasted; `wasted_by`: outcome -> GPU-hours of attempts that gave
    nothing. `queued_hours`: hours of waiting, not multiplied by GPUs. `energy`: joule per output token, by cell.
    """

    used: Figure
    startup: Figure
    measured: Figure
    other: Figure
    wasted: Figure
    wasted_by: dict[str, float]
    queued_hours: Figure

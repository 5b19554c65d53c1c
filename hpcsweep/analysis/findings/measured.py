"""Findings on what was measured: cells, results, startups, costs. The package docstring defines the conventions."""

from dataclasses import dataclass, field, replace
from typing import Literal

from hpcsweep.analysis.columns import Floats, SampleColumns
from hpcsweep.plan.bound.formulas import Limiter
from hpcsweep.spec.phases import OutcomeKind, Phase

SampleSet = Literal["all", "warm"]
"""Which samples a figure counts. `all`: every successful request; `warm`: without cold requests."""

Status = Literal["valid", "provisional", "invalid"]

Values = dict[str, str | float | list[str]]
"""The values of a reason, remark or statement by name, for programs; its text has them in a sentence."""


@dataclass(frozen=True)
class Figure:
    """One number with n, unit, sample set and 95 % confidence interval.

    `value` None: not available; `note` gives the reason. `of`: what `n` counts (samples, runs, repeats, pairs).
    `low`, `high` None: no interval; `note` gives the reason. `method`: how the interval was computed.
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

    def scaled(self, factor: float, unit: str) -> "Figure":
        """Return the figure and its interval multiplied by `factor`, in another unit."""
        value, low, high = (None if x is None else x * factor for x in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high, unit=unit)


@dataclass(frozen=True)
class MetricSummary:
    """One metric of one cell: the distribution over its successful samples, without warm-up requests.

    `low`, `high`: interval of the mean; None for one sample. `spread`: standard deviation / mean. `median_low`,
    `median_high`: interval of the median by order statistics; None below 6 samples.
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
        """Return the mean as a figure."""
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
    """A caveat: a stable code, a sentence with the numbers, the numbers as `values`, and what it does to the result."""

    code: str
    text: str
    status: Status = "invalid"
    values: Values = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Validity:
    """`valid`: averaged and ranked. `provisional`: shown and compared, not ranked. `invalid`: only shown."""

    status: Status = "valid"
    reasons: tuple[Reason, ...] = ()

    @property
    def ranked(self) -> bool:
        """Whether the result may have a rank."""
        return self.status == "valid"


@dataclass(frozen=True)
class ColdSample:
    """A cold request. `kind`: why it is cold. `slower_by`: its latency / the warm median; None: not known."""

    sample: str
    index: int
    kind: str
    e2e_s: float | None
    ttft_s: float | None
    slower_by: float | None


@dataclass(frozen=True)
class Outlier:
    """A warm sample more than 3.5 robust standard deviations (MAD) and more than 10 % from the median."""

    sample: str
    index: int
    metric: str
    value: float
    median: float


@dataclass(frozen=True)
class Drift:
    """A trend over the order of sending. `change`: from the first to the last warm sample, percent.

    `seen`: the trend is significant (p < 0.01) and at least 2 %.
    """

    metric: str
    change: Figure
    seen: bool


@dataclass(frozen=True)
class Bound:
    """The bound of one load on one server; see docs/bounds.md.

    `tps`: tokens per second of one request with the least TTFT and TPOT. `output_throughput`: tokens per second of all
    requests together. `sequences`: mean number of requests under way; `context_tokens`: their mean length.
    `limiter`: what bounds a decode step. `gpu`: the data sheet's name of the GPU.
    """

    tps: float
    tpot_s: float
    ttft_s: float
    output_throughput: float
    limiter: Limiter
    sequences: float
    context_tokens: float
    gpu: str

    def share(self, metric: str, value: float) -> float | None:
        """Return the part of the bound that a measured value reaches, 0 to about 1; None: no bound of this metric."""
        if metric in ("tpot_s", "ttft_s"):
            return float(getattr(self, metric)) / value if value > 0 else None
        if metric in ("tps", "output_throughput"):
            return value / float(getattr(self, metric))
        return None


@dataclass(frozen=True, eq=False)
class Cell:
    """One run x workload: the results of one server under one load. `left_out`: why the workload was not sent.

    `throughput`: by name `request_throughput` (requests/s), `output_throughput`, `total_throughput` (tokens/s), and
    `goodput` (requests/s within the SLO) where one is stated; over all requests except warm-ups, failed ones counting
    no tokens. `cold_share`: share of the total latency that cold requests add over the warm median, which is how much
    they lower a throughput at constant concurrency. `tps`, `tpot_s`: one value per sample, NaN where it is not
    defined, in the order of `samples`. `settings`: the workload as the experiment states it.
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
    cold_share: float
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
    bound: Bound | None = None

    def summary(self, metric: str, condition: SampleSet) -> MetricSummary | None:
        """Return the summary of `metric` over this sample set; None: nothing was measured."""
        return next((s for s in self.summaries if s.metric == metric and s.condition == condition), None)


@dataclass(frozen=True)
class Result:
    """One variant x workload over its repeats. `means`: metric -> sample set -> mean over the included runs.

    `runs`: labels of the included runs; `set_aside`: labels of the runs that the validity gate excludes. `cold`: the
    cold requests of the included runs. `bound`: of the load, None: not known.
    """

    variant: str
    workload: str
    left_out: str | None
    validity: Validity
    runs: tuple[str, ...]
    set_aside: tuple[str, ...]
    samples: int
    means: dict[str, dict[SampleSet, Figure]]
    cold: tuple[ColdSample, ...]
    simulated: bool
    bound: Bound | None = None

    def mean(self, metric: str, condition: SampleSet) -> Figure | None:
        """Return the mean of `metric`; throughputs exist for `all` only. None: not measured."""
        return self.means.get(metric, {}).get(condition)

    def headline(self, metric: str) -> Figure | None:
        """Return the mean to show first: over warm samples where there are any, else over all; None: not measured.

        An interval over a few samples with a cold one among them shows the cold request, not the server.
        """
        return self.mean(metric, "warm") or self.mean(metric, "all")


@dataclass(frozen=True)
class PhaseFinding:
    """One phase of an attempt. `ended` False: the attempt ended during it, and `duration_s` is up to that end."""

    phase: Phase
    start_s: float
    duration_s: float | None
    ended: bool
    budget_s: float | None
    evidence: str


@dataclass(frozen=True)
class NodeStart:
    """The start of one node of a server on several nodes; None: not reported there."""

    node: str
    load_s: float | None
    compile_s: float | None
    weights_bytes_per_gpu: float | None
    kv_cache_bytes: float | None
    last_phase: Phase | None


@dataclass(frozen=True)
class StartupFinding:
    """The startup of one attempt in seconds and bytes; None: not known. `compile_cache`: hit, miss, off or None."""

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
    nodes: tuple[NodeStart, ...] = ()


@dataclass(frozen=True)
class CacheEffect:
    """Startup time of one variant with a cold and with a warm compile cache."""

    variant: str
    cold: Figure
    warm: Figure


@dataclass(frozen=True)
class Costs:
    """GPU-hours of the sweep, on the attempts' own clock (simulated hours for the simulated engine).

    used = startup + measured + other + wasted. `other`: between workloads, warm-ups and teardown. `wasted_by`:
    outcome -> GPU-hours of attempts without a result. `queued_hours`: hours in the queue, not
    multiplied by GPUs. `preparations`: GPU-hours of the jobs of `prepare:`, on the real clock and not in `used`.
    """

    used: Figure
    startup: Figure
    measured: Figure
    other: Figure
    wasted: Figure
    wasted_by: dict[str, float]
    queued_hours: Figure
    preparations: Figure = Figure(0.0, "GPU-hours", 0, "jobs")

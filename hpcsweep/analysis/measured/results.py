"""Results: a variant on a workload over its repeats, with the uncertainty of each mean.

The spread of a mean has two parts: between requests of one server, and between servers (another start, another
node). Only repeats show the second. It is pooled over all repeated variants of a workload. Without repeats it is
assumed to be `ASSUMED_RUN_SPREAD`, and every figure that depends on the assumption is marked.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hpcsweep.analysis.findings.measured import Cell, Figure, Reason, Result, SampleSet
from hpcsweep.analysis.measured.metrics import METRICS, RUN_METRICS, SAMPLE_METRICS
from hpcsweep.analysis.measured.validity import MIN_WARM_SAMPLES, gate, tokens_reason
from hpcsweep.analysis.stats.distribution import LEVEL, describe, t_quantile

ASSUMED_RUN_SPREAD = 0.02
"""Relative standard deviation between runs of the same variant where none was repeated: 2 %.

Repeated serving benchmarks on unchanged hardware commonly differ by 1 to 3 %. The figure is an assumption.
"""

MIN_RUN_SPREAD = 0.001
"""Lower bound of the spread between runs: equal figures of a few runs do not show a spread of zero."""

MIN_POOLED_DF = 3
"""Degrees of freedom below which the pooled spread is too uncertain to be used alone."""

ALL_METRICS: tuple[tuple[str, SampleSet], ...] = (
    *((name, "all") for name in (*SAMPLE_METRICS, *RUN_METRICS)),
    *((name, "warm") for name in SAMPLE_METRICS),
)


@dataclass(frozen=True)
class Observation:
    """One metric of one run: its mean and relative standard error within that server (None: a single value)."""

    mean: float
    relative_se: float | None
    n: int


@dataclass(frozen=True)
class RunSpread:
    """Relative standard deviation `sd` between runs of one variant, with `df` degrees of freedom.

       `assumed`: not from repeats.
    `sample_sd`: relative spread of single requests within a server, pooled; None: no server has two.
    """

    sd: float
    df: float
    assumed: bool
    sample_sd: float | None


@dataclass(frozen=True)
class Estimate:
    """A mean on the logarithmic scale. `single`: from one run; `assumed`: the spread between runs is assumed."""

    value: float
    log_mean: float
    se: float
    df: float
    n: int
    runs: int
    single: bool
    assumed: bool


def observe(cell: Cell, metric: str, condition: SampleSet) -> Observation | None:
    """Return the observation of a metric in one cell; None: not measured, or not above 0."""
    if metric in RUN_METRICS:
        figure = cell.throughput.get(metric)
        if figure is None or figure.value is None or figure.value <= 0:
            return None
        half = None if figure.high is None else math.log(figure.high / figure.value)
        se = None if half is None else half / t_quantile(0.5 + LEVEL / 2, figure.n - 1)
        return Observation(figure.value, se, figure.n)
    summary = cell.summary(metric, condition)
    if summary is None or not summary.mean > 0:
        return None
    relative = None if summary.spread is None else summary.spread / math.sqrt(summary.n)
    return Observation(summary.mean, relative, summary.n)


def counting(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells that may be averaged: measured and not invalid."""
    return [cell for cell in cells if cell.left_out is None and cell.validity.status != "invalid"]


def pool(groups: Iterable[Sequence[Observation]], assumed: float = ASSUMED_RUN_SPREAD) -> RunSpread:
    """Return the spread between runs over all variants, on the logarithmic scale; one group per variant.

    Where too few runs were repeated, the larger of `assumed` and the observed spread is used.
    """
    squares, df, sample_squares, sample_df = 0.0, 0, 0.0, 0
    for group in groups:
        logs = [math.log(observation.mean) for observation in group]
        middle = sum(logs) / len(logs) if logs else 0.0
        squares += sum((value - middle) ** 2 for value in logs)
        df += max(len(logs) - 1, 0)
        for observation in group:
            if observation.relative_se is not None:
                sample_squares += (observation.n - 1) * observation.n * observation.relative_se**2
                sample_df += observation.n - 1
    sample_sd = math.sqrt(sample_squares / sample_df) if sample_df else None
    seen = math.sqrt(squares / df) if df else 0.0
    if df >= MIN_POOLED_DF:
        return RunSpread(max(seen, MIN_RUN_SPREAD), df, assumed=False, sample_sd=sample_sd)
    return RunSpread(max(seen, assumed), math.inf, assumed=True, sample_sd=sample_sd)


def estimate(observations: Sequence[Observation], spread: RunSpread, *, of_samples: bool) -> Estimate | None:
    """Return the mean over these runs with its standard error.

    None: no runs, or a run with one sample in a workload for which no server has two.
    """
    runs = len(observations)
    if not runs:
        return None
    log_mean = sum(math.log(observation.mean) for observation in observations) / runs
    variance = spread.sd**2 / runs
    df = spread.df
    if spread.assumed:
        # The assumed spread is that between servers; the spread within each server is added to it.
        parts = [_within(observation, spread, of_samples=of_samples) for observation in observations]
        within = [part for part in parts if part is not None]
        if len(within) < runs:
            return None
        variance += sum(v for v, _ in within) / runs**2
        doubt = sum((v / runs**2) ** 2 / d for v, d in within if v)
        df = variance**2 / doubt if doubt else math.inf
    return Estimate(
        value=math.exp(log_mean) if runs > 1 else observations[0].mean,
        log_mean=log_mean,
        se=math.sqrt(variance),
        df=df,
        n=sum(observation.n for observation in observations),
        runs=runs,
        single=runs == 1,
        assumed=spread.assumed,
    )


def _within(observation: Observation, spread: RunSpread, *, of_samples: bool) -> tuple[float, float] | None:
    """Return the variance of one run's mean within its server, and its degrees of freedom."""
    if observation.relative_se is not None:
        return observation.relative_se**2, observation.n - 1
    if not of_samples:
        return 0.0, 1.0  # a throughput is one figure of many requests, covered by the spread between runs
    return None if spread.sample_sd is None else (spread.sample_sd**2 / observation.n, 1.0)


def build_results(cells: Sequence[Cell], variants: Sequence[str]) -> tuple[Result, ...]:
    """Return one result per variant and workload, by workload in the order of the cells."""
    by_key: dict[tuple[str, str], list[Cell]] = {}
    workloads: dict[str, None] = {}
    for cell in cells:
        workloads.setdefault(cell.workload)
        by_key.setdefault((cell.variant, cell.workload), []).append(cell)
    results = []
    for workload in workloads:
        usual = _usual_tokens([cell for cell in cells if cell.workload == workload])
        for variant in variants:
            own = by_key.get((variant, workload))
            if own:
                results.append(_result(variant, workload, own, usual))
    return tuple(results)


def _usual_tokens(cells: Sequence[Cell]) -> float | None:
    known = sorted(cell.completion_tokens for cell in counting(cells) if cell.completion_tokens is not None)
    return known[len(known) // 2] if known else None


def _result(variant: str, workload: str, cells: Sequence[Cell], usual: float | None) -> Result:
    sent = [cell for cell in cells if cell.left_out is None]
    chosen = counting(cells)
    reasons = _reasons(sent, chosen, usual)
    simulated = any(cell.simulated for cell in cells)
    means: dict[str, dict[SampleSet, Figure]] = {}
    for metric, condition in ALL_METRICS:
        figure = mean_figure(metric, condition, chosen or sent, simulated)
        if figure is not None:
            means.setdefault(metric, {})[condition] = figure
    return Result(
        variant=variant,
        workload=workload,
        left_out=None if sent else cells[0].left_out,
        validity=gate(reasons),
        runs=tuple(cell.label for cell in chosen),
        set_aside=tuple(cell.label for cell in sent if cell not in chosen),
        samples=sum(cell.succeeded for cell in chosen or sent),
        means=means,
        cold=tuple(request for cell in chosen or sent for request in cell.cold),
        simulated=simulated,
        bound=next((cell.bound for cell in chosen or sent if cell.bound is not None), None),
    )


def _reasons(sent: Sequence[Cell], chosen: Sequence[Cell], usual: float | None) -> list[Reason]:
    if not sent:
        return []
    if not chosen:
        return [reason for cell in sent for reason in cell.validity.reasons]
    reasons = _gathered(chosen)
    tokens = [cell.completion_tokens for cell in chosen if cell.completion_tokens is not None]
    differ = tokens_reason(sum(tokens) / len(tokens) if tokens else None, usual)
    if differ is not None:
        reasons.append(differ)
    if len(chosen) == 1:
        excluded = len(sent) - 1
        more = f"; {excluded} more excluded" if excluded else ""
        text = f"one run only: the spread between server starts is not known{more}"
        reasons.append(Reason("one_run_only", text, "provisional", {"excluded": excluded}))
    return reasons


def _gathered(chosen: Sequence[Cell]) -> list[Reason]:
    """Return the caveats of the runs, one per code; samples are too few only if they are too few over all runs."""
    by_code: dict[str, list[Reason]] = {}
    for cell in chosen:
        for reason in cell.validity.reasons:
            by_code.setdefault(reason.code, []).append(reason)
    if sum(_warm(cell) for cell in chosen) >= MIN_WARM_SAMPLES:
        by_code.pop("too_few_samples", None)
    return [
        replace(same[0], text=f"{same[0].text} (in {len(same)} of {len(chosen)} runs)") if len(chosen) > 1 else same[0]
        for same in by_code.values()
    ]


def _warm(cell: Cell) -> int:
    summary = cell.summary("e2e_s", "warm")
    return 0 if summary is None else summary.n


def mean_figure(metric: str, condition: SampleSet, cells: Sequence[Cell], simulated: bool) -> Figure | None:
    """Return the mean of the runs' means; of one run, its own figure with the interval within that server."""
    if not cells:
        return None
    figures = [_cell_figure(cell, metric, condition) for cell in cells]
    known = [figure for figure in figures if figure is not None and figure.value is not None]
    if len(known) < 2:
        return known[0] if known else None
    over_runs = describe(np.array([[figure.value for figure in known]]))[0]
    return Figure(
        over_runs.mean,
        METRICS[metric].unit,
        over_runs.n,
        "runs",
        condition,
        over_runs.low,
        over_runs.high,
        method="t over runs, on the logarithmic scale",
        simulated=simulated,
        note=f"each the mean of {_range([figure.n for figure in known])} {known[0].of}",
    )


def _range(counts: Sequence[int]) -> str:
    return str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"


def _cell_figure(cell: Cell, metric: str, condition: SampleSet) -> Figure | None:
    if metric in RUN_METRICS:
        return cell.throughput.get(metric)
    summary = cell.summary(metric, condition)
    return None if summary is None else summary.figure()


def observations_by_variant(
    cells: Sequence[Cell], workload: str, metric: str, condition: SampleSet
) -> Mapping[str, list[Observation]]:
    """Return the observations of a metric in the included cells of a workload, by variant."""
    by_variant: dict[str, list[Observation]] = {}
    for cell in counting(cells):
        if cell.workload == workload:
            observation = observe(cell, metric, condition)
            if observation is not None:
                by_variant.setdefault(cell.variant, []).append(observation)
    return by_variant

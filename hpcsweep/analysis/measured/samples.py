"""Samples of one workload on one server: cold ones kept apart, drift and outliers named, metrics summarised."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hpcsweep.analysis.columns import Flags, Floats, SampleColumns
from hpcsweep.analysis.findings.measured import ColdSample, Drift, Figure, MetricSummary, Outlier, SampleSet
from hpcsweep.analysis.measured.metrics import METRICS, SAMPLE_METRICS
from hpcsweep.analysis.rows import AttemptRow, WorkloadRow
from hpcsweep.analysis.stats.distribution import Distribution, describe, middle, robust_distances, trend

FAR_STDEVS = 3.5
"""An outlier is at least this many robust standard deviations from the median ..."""

FAR_SHARE = 0.10
"""... and at least this share of it: among nearly equal values, small differences are no outliers."""

DRIFT_SHARE = 0.02
"""A trend counts as drift when it is significant and changes the metric by at least this share."""

SAME_SHAPE = 0.10
"""Prompt lengths within this share of each other count as one shape."""


@dataclass(frozen=True, eq=False)
class MeasuredSamples:
    """The samples of a workload with what is derived of them. `good`: successful and no warm-up; `warm`: also not cold.

    `matrix`: one row a metric of SAMPLE_METRICS, one column a sample; NaN where it cannot be had.
    """

    columns: SampleColumns
    matrix: Floats
    good: Flags
    warm: Flags

    def values(self, metric: str, chosen: Flags) -> Floats:
        """The finite values of a metric over the chosen samples, in the order of sending."""
        row = self.matrix[SAMPLE_METRICS.index(metric)][chosen]
        finite: Floats = row[np.isfinite(row)]
        return finite

    def chosen(self, condition: SampleSet) -> Flags:
        """Which samples a condition counts."""
        return self.warm if condition == "warm" else self.good


_NO_SAMPLES = SampleColumns.from_rows(())


def columns_of(row: WorkloadRow) -> SampleColumns:
    """The samples of a workload as columns, however they came."""
    if row.columns is not None:
        return row.columns
    return SampleColumns.from_rows(row.samples) if row.samples else _NO_SAMPLES


def with_cold_marks(attempt: AttemptRow) -> list[SampleColumns]:
    """The samples of each workload of an attempt, cold ones marked.

    Where nothing is marked and nothing was warmed up (rows read from somebody's table), place decides: the first
    request that this server answered is cold, and so is the first of a later workload with prompts of a new length.
    """
    workloads = [columns_of(row) for row in attempt.workloads]
    if any(bool(c.warmup.any()) or any(c.cold) for c in workloads):
        return workloads
    marked: list[SampleColumns] = []
    lengths: list[float] = []
    for columns in workloads:
        if not len(columns):
            marked.append(columns)
            continue
        first = int(np.argmin(columns.sent_s))
        length = float(columns.prompt_tokens[first])
        known = any(abs(length - other) <= SAME_SHAPE * other for other in lengths)
        kind = None if known else "first_of_shape" if lengths else "first_of_server"
        marked.append(replace(columns, cold=[kind if place == first else None for place in range(len(columns))]))
        lengths.append(length)
    return marked


def measure(columns: SampleColumns) -> MeasuredSamples:
    """The metrics of each sample, by the formulas of `vllm bench serve` (tps: tokens / e2e, 0 s gives NaN)."""
    return _measure(columns) if len(columns) else _NOTHING


def _measure(columns: SampleColumns) -> MeasuredSamples:
    tokens, e2e, ttft = columns.completion_tokens, columns.e2e_s, columns.ttft_s
    with np.errstate(divide="ignore", invalid="ignore"):
        tps = np.where(e2e > 0, tokens / e2e, np.nan)
        tpot = np.where(tokens > 1, (e2e - ttft) / (tokens - 1), np.nan)
        decode_tps = np.where(tpot > 0, 1 / tpot, np.nan)
    by_name = {"tps": tps, "decode_tps": decode_tps, "ttft_s": ttft, "tpot_s": tpot, "e2e_s": e2e}
    failed, cold = _said(columns.error), _said(columns.cold)
    good = ~failed & ~columns.warmup
    return MeasuredSamples(columns, np.array([by_name[name] for name in SAMPLE_METRICS]), good, good & ~cold)


def _said(words: Sequence[str | None]) -> Flags:
    """Which of the words are there. Nearly always there is none, or one."""
    if words.count(None) == len(words):
        return np.zeros(len(words), np.bool_)
    return np.array([word is not None for word in words], np.bool_)


_NOTHING = _measure(_NO_SAMPLES)


def summarise(measured: MeasuredSamples, simulated: bool) -> tuple[MetricSummary, ...]:
    """One summary a metric and condition that has a value; none where nothing succeeded."""
    found: list[MetricSummary] = []
    conditions: tuple[SampleSet, ...] = ("all", "warm")
    for condition in conditions if len(measured.columns) else ():
        chosen = measured.chosen(condition)
        matrix = measured.matrix if chosen.all() else measured.matrix[:, chosen]
        if not matrix.shape[1]:
            continue
        if np.isfinite(matrix.sum()):  # a NaN anywhere would make the sum one
            described = describe(matrix)
            found += [
                _summary(name, condition, d, simulated) for name, d in zip(SAMPLE_METRICS, described, strict=True)
            ]
            continue
        whole = [bool(row.all()) for row in np.isfinite(matrix)]
        complete = [place for place, is_whole in enumerate(whole) if is_whole]
        described = describe(matrix[complete]) if complete else []
        found += [
            _summary(SAMPLE_METRICS[p], condition, d, simulated) for p, d in zip(complete, described, strict=True)
        ]
        for place, is_whole in enumerate(whole):
            values = matrix[place][np.isfinite(matrix[place])]
            if not is_whole and len(values):
                found.append(_summary(SAMPLE_METRICS[place], condition, describe(values[None, :])[0], simulated))
    return tuple(found)


def _summary(name: str, condition: SampleSet, one: Distribution, simulated: bool) -> MetricSummary:
    return MetricSummary(
        metric=name,
        unit=METRICS[name].unit,
        condition=condition,
        n=one.n,
        mean=one.mean,
        median=one.median,
        p90=one.p90,
        p99=one.p99,
        minimum=one.minimum,
        maximum=one.maximum,
        stdev=one.stdev,
        spread=one.stdev / one.mean if one.stdev is not None and one.mean else None,
        low=one.low,
        high=one.high,
        median_low=one.median_low,
        median_high=one.median_high,
        simulated=simulated,
    )


def cold_samples(measured: MeasuredSamples) -> tuple[ColdSample, ...]:
    """The cold samples that were counted, each against the median of the warm ones."""
    columns = measured.columns
    cold = np.flatnonzero(measured.good & ~measured.warm).tolist()
    warm = measured.values("e2e_s", measured.warm) if cold else _NO_SAMPLES.e2e_s
    median = middle(warm) if len(warm) else None
    found = []
    for place in cold:
        e2e, ttft = float(columns.e2e_s[place]), float(columns.ttft_s[place])
        found.append(
            ColdSample(
                sample=columns.sample[place],
                index=int(columns.index[place]),
                kind=str(columns.cold[place]),
                e2e_s=e2e if np.isfinite(e2e) else None,
                ttft_s=ttft if np.isfinite(ttft) else None,
                slower_by=e2e / median if median and np.isfinite(e2e) else None,
            )
        )
    return tuple(found)


def outliers(measured: MeasuredSamples, metrics: Sequence[str] = ("e2e_s", "ttft_s")) -> tuple[Outlier, ...]:
    """Warm samples far from the others; none below 5 samples, where nobody can tell."""
    found: list[Outlier] = []
    for metric in metrics if len(measured.columns) else ():
        row = measured.matrix[SAMPLE_METRICS.index(metric)]
        places = np.flatnonzero(measured.warm & np.isfinite(row))
        if len(places) < 5:
            continue
        values = row[places]
        median = middle(values)
        far = (robust_distances(values) > FAR_STDEVS) & (np.abs(values - median) > FAR_SHARE * median)
        for place in places[far].tolist():
            found.append(
                Outlier(
                    measured.columns.sample[place],
                    int(measured.columns.index[place]),
                    metric,
                    float(row[place]),
                    median,
                )
            )
    return tuple(found)


def drift(measured: MeasuredSamples, simulated: bool, metrics: Sequence[str] = ("tps", "ttft_s")) -> tuple[Drift, ...]:
    """The trend of each metric over the order of sending, warm samples only; none below 5 samples.

    None either where the last request was sent before the median one was answered: all were in flight together, the
    later ones waited for the earlier ones, and their order says nothing about a change of the server.
    """
    found: list[Drift] = []
    e2e = measured.values("e2e_s", measured.warm)
    sent = measured.columns.sent_s[measured.warm]
    if not len(e2e) or float(np.ptp(sent)) < middle(e2e):
        return ()
    for metric in metrics:
        values = measured.values(metric, measured.warm)
        line = trend(np.log(values[values > 0]))  # a ratio: nothing falls by more than 100%
        if line is None:
            continue
        percent, low, high = (100 * math.expm1(part) for part in (line.change, line.low, line.high))
        figure = Figure(
            percent,
            "%",
            len(values),
            "samples",
            "warm",
            low,
            high,
            method="least squares on logarithms",
            simulated=simulated,
        )
        found.append(Drift(metric, figure, seen=line.p_value < 0.01 and abs(percent) >= 100 * DRIFT_SHARE))
    return tuple(found)

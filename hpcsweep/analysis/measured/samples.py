"""Metrics of the samples of one workload on one server: summaries, throughputs, cold requests, outliers, drift."""

import math
from collections.abc import Mapping, Sequence
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
"""... and at least this share of it, so that small differences among nearly equal values are not outliers."""

DRIFT_SHARE = 0.02
"""A trend counts as drift when it is significant and changes the metric by at least this share."""

SAME_SHAPE = 0.10
"""Prompt lengths within this share of each other are one shape."""


@dataclass(frozen=True, eq=False)
class MeasuredSamples:
    """Samples with their metrics. `good`: successful and not a warm-up; `warm`: also not cold.

    `matrix`: one row per metric of SAMPLE_METRICS, one column per sample; NaN where a metric is not defined.
    """

    columns: SampleColumns
    matrix: Floats
    good: Flags
    warm: Flags

    def values(self, metric: str, chosen: Flags) -> Floats:
        """Return the finite values of a metric over the chosen samples, in the order of sending."""
        row = self.matrix[SAMPLE_METRICS.index(metric)][chosen]
        finite: Floats = row[np.isfinite(row)]
        return finite

    def chosen(self, condition: SampleSet) -> Flags:
        """Return which samples a sample set contains."""
        return self.warm if condition == "warm" else self.good


_NO_SAMPLES = SampleColumns.from_rows(())


def columns_of(row: WorkloadRow) -> SampleColumns:
    """Return the samples of a workload as columns."""
    if row.columns is not None:
        return row.columns
    return SampleColumns.from_rows(row.samples) if row.samples else _NO_SAMPLES


def with_cold_marks(attempt: AttemptRow) -> list[SampleColumns]:
    """Return the samples of each workload of an attempt, with cold ones marked.

    Imported rows have neither marks nor warm-up requests. In that case the first request of the server is marked cold,
    and so is the first request of a later workload whose prompts have a new length.
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
        marked.append(replace(columns, cold=[kind if index == first else None for index in range(len(columns))]))
        lengths.append(length)
    return marked


def measure(columns: SampleColumns) -> MeasuredSamples:
    """Compute the metrics of each sample by the formulas of `vllm bench serve`; NaN where one is not defined.

    TPS: tokens / latency. TPOT: (latency - TTFT) / (tokens - 1), from 2 tokens on. Decode TPS: 1 / TPOT.
    """
    return _measure(columns) if len(columns) else _NOTHING


def _measure(columns: SampleColumns) -> MeasuredSamples:
    tokens, e2e, ttft = columns.completion_tokens, columns.e2e_s, columns.ttft_s
    with np.errstate(divide="ignore", invalid="ignore"):
        tps = np.where(e2e > 0, tokens / e2e, np.nan)
        tpot = np.where(tokens > 1, (e2e - ttft) / (tokens - 1), np.nan)
        decode_tps = np.where(tpot > 0, 1 / tpot, np.nan)
    by_name = {"tps": tps, "decode_tps": decode_tps, "ttft_s": ttft, "tpot_s": tpot, "e2e_s": e2e}
    failed, cold = _is_set(columns.error), _is_set(columns.cold)
    good = ~failed & ~columns.warmup
    return MeasuredSamples(columns, np.array([by_name[name] for name in SAMPLE_METRICS]), good, good & ~cold)


def _is_set(words: Sequence[str | None]) -> Flags:
    """Return which of the words are not None; quick where all are."""
    if words.count(None) == len(words):
        return np.zeros(len(words), np.bool_)
    return np.array([word is not None for word in words], np.bool_)


_NOTHING = _measure(_NO_SAMPLES)


def summarise(measured: MeasuredSamples, simulated: bool) -> tuple[MetricSummary, ...]:
    """Return one summary per metric and sample set that has values; none where no request succeeded."""
    summaries: list[MetricSummary] = []
    conditions: tuple[SampleSet, ...] = ("all", "warm")
    for condition in conditions if len(measured.columns) else ():
        chosen = measured.chosen(condition)
        matrix = measured.matrix if chosen.all() else measured.matrix[:, chosen]
        if not matrix.shape[1]:
            continue
        if np.isfinite(matrix.sum()):  # a NaN anywhere would make the sum one
            described = describe(matrix)
            summaries += [
                _summary(name, condition, d, simulated) for name, d in zip(SAMPLE_METRICS, described, strict=True)
            ]
            continue
        whole = [bool(row.all()) for row in np.isfinite(matrix)]
        complete = [row for row, is_whole in enumerate(whole) if is_whole]
        described = describe(matrix[complete]) if complete else []
        summaries += [
            _summary(SAMPLE_METRICS[p], condition, d, simulated) for p, d in zip(complete, described, strict=True)
        ]
        for row, is_whole in enumerate(whole):
            values = matrix[row][np.isfinite(matrix[row])]
            if not is_whole and len(values):
                summaries.append(_summary(SAMPLE_METRICS[row], condition, describe(values[None, :])[0], simulated))
    return tuple(summaries)


def _summary(name: str, condition: SampleSet, values: Distribution, simulated: bool) -> MetricSummary:
    return MetricSummary(
        metric=name,
        unit=METRICS[name].unit,
        condition=condition,
        n=values.n,
        mean=values.mean,
        median=values.median,
        p90=values.p90,
        p99=values.p99,
        minimum=values.minimum,
        maximum=values.maximum,
        stdev=values.stdev,
        spread=values.stdev / values.mean if values.stdev is not None and values.mean else None,
        low=values.low,
        high=values.high,
        median_low=values.median_low,
        median_high=values.median_high,
        simulated=simulated,
    )


def throughputs(
    measured: MeasuredSamples, chosen: Flags, duration_s: float, slo: Mapping[str, object]
) -> dict[str, float]:
    """Return requests, tokens and, with an SLO, requests within the SLO per second, over the chosen samples.

    `duration_s`: above 0. `slo`: metric -> limit in seconds, or None for no limit.
    """
    columns = measured.columns
    output = float(np.nansum(columns.completion_tokens[chosen]))
    prompt = float(np.nansum(columns.prompt_tokens[chosen]))
    rates = {
        "request_throughput": int(chosen.sum()) / duration_s,
        "output_throughput": output / duration_s,
        "total_throughput": (output + prompt) / duration_s,
    }
    if any(limit is not None for limit in slo.values()):
        rates["goodput"] = int((chosen & _within_slo(measured, slo)).sum()) / duration_s
    return rates


def _within_slo(measured: MeasuredSamples, slo: Mapping[str, object]) -> Flags:
    kept = np.ones(len(measured.columns), np.bool_)
    for metric, limit in slo.items():
        if isinstance(limit, (int, float)) and metric in SAMPLE_METRICS:
            values = measured.matrix[SAMPLE_METRICS.index(metric)]
            if metric == "tpot_s":
                values = np.nan_to_num(values)  # a response of one token has no TPOT; it counts as 0, as in vLLM
            with np.errstate(invalid="ignore"):
                kept &= values <= limit
    return kept


def cold_share(measured: MeasuredSamples) -> float:
    """Return the share of the total latency that cold requests add over the warm median; 0 where none is warm.

    At constant concurrency a throughput is inversely proportional to the mean latency, so this is also the share by
    which cold requests lower it.
    """
    warm = measured.values("e2e_s", measured.warm)
    cold = measured.values("e2e_s", measured.good & ~measured.warm)
    if not len(warm) or not len(cold):
        return 0.0
    total = float(warm.sum() + cold.sum())
    excess = float(np.maximum(cold - middle(warm), 0.0).sum())
    return excess / total if total > 0 else 0.0


def cold_samples(measured: MeasuredSamples) -> tuple[ColdSample, ...]:
    """Return the successful cold requests, each with its ratio to the warm median."""
    columns = measured.columns
    cold = np.flatnonzero(measured.good & ~measured.warm).tolist()
    warm = measured.values("e2e_s", measured.warm) if cold else _NO_SAMPLES.e2e_s
    median = middle(warm) if len(warm) else None
    requests = []
    for row in cold:
        e2e, ttft = float(columns.e2e_s[row]), float(columns.ttft_s[row])
        requests.append(
            ColdSample(
                sample=columns.sample[row],
                index=int(columns.index[row]),
                kind=str(columns.cold[row]),
                e2e_s=e2e if np.isfinite(e2e) else None,
                ttft_s=ttft if np.isfinite(ttft) else None,
                slower_by=e2e / median if median and np.isfinite(e2e) else None,
            )
        )
    return tuple(requests)


def outliers(measured: MeasuredSamples, metrics: Sequence[str] = ("e2e_s", "ttft_s")) -> tuple[Outlier, ...]:
    """Return the warm samples far from the others; none below 5 samples, which are too few to judge."""
    far_samples: list[Outlier] = []
    for metric in metrics if len(measured.columns) else ():
        row = measured.matrix[SAMPLE_METRICS.index(metric)]
        indexes = np.flatnonzero(measured.warm & np.isfinite(row))
        if len(indexes) < 5:
            continue
        values = row[indexes]
        median = middle(values)
        far = (robust_distances(values) > FAR_STDEVS) & (np.abs(values - median) > FAR_SHARE * median)
        for index in indexes[far].tolist():
            far_samples.append(
                Outlier(
                    measured.columns.sample[index],
                    int(measured.columns.index[index]),
                    metric,
                    float(row[index]),
                    median,
                )
            )
    return tuple(far_samples)


def drift(measured: MeasuredSamples, simulated: bool, metrics: Sequence[str] = ("tps", "ttft_s")) -> tuple[Drift, ...]:
    """Return the trend of each metric over the order of sending, warm samples only; none below 5 samples.

    Also none where the last request was sent within one median latency of the first: all were in flight together,
    later ones queued behind earlier ones, and their order does not reflect a change of the server.
    """
    trends: list[Drift] = []
    e2e = measured.values("e2e_s", measured.warm)
    sent = measured.columns.sent_s[measured.warm]
    if not len(e2e) or float(np.ptp(sent)) < middle(e2e):
        return ()
    for metric in metrics:
        values = measured.values(metric, measured.warm)
        line = trend(np.log(values[values > 0]))  # as a ratio, so that no decrease exceeds 100 %
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
        trends.append(Drift(metric, figure, seen=line.p_value < 0.01 and abs(percent) >= 100 * DRIFT_SHARE))
    return tuple(trends)

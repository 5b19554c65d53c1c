"""Cells: the results of one run on one workload."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from hpcsweep.analysis.columns import Flags, SampleColumns
from hpcsweep.analysis.findings.measured import Cell, Figure
from hpcsweep.analysis.measured.aggregates import aggregate_summaries, aggregate_throughput, has_aggregates
from hpcsweep.analysis.measured.metrics import METRICS, SAMPLE_METRICS
from hpcsweep.analysis.measured.samples import (
    MeasuredSamples,
    cold_samples,
    cold_share,
    drift,
    measure,
    outliers,
    summarise,
    throughputs,
    with_cold_marks,
)
from hpcsweep.analysis.measured.validity import gate, prompt_reason, workload_reasons
from hpcsweep.analysis.rows import AttemptRow, RunRow, WorkloadRow
from hpcsweep.analysis.stats.distribution import describe


def build_cells(runs: Sequence[RunRow]) -> tuple[Cell, ...]:
    """Return the cells of all runs that reached a workload, in the order of the runs and their workloads."""
    references: dict[str, MeasuredSamples] = {}
    cells = []
    for run in runs:
        attempt = run.last
        if attempt is None:
            continue
        for row, columns in zip(attempt.workloads, with_cold_marks(attempt), strict=True):
            measured = measure(columns)
            if len(columns):
                references.setdefault(row.workload, measured)
            cells.append(_cell(run, attempt, row, measured, references.get(row.workload, measured)))
    return tuple(cells)


def _cell(
    run: RunRow, attempt: AttemptRow, row: WorkloadRow, measured: MeasuredSamples, reference: MeasuredSamples
) -> Cell:
    columns = measured.columns
    simulated = run.simulated or attempt.simulated
    reasons = []
    if row.left_out is None:
        reasons = workload_reasons(attempt, row, measured)
        drifted = prompt_reason(reference, measured) if reference is not measured else None
        reasons += [drifted] if drifted is not None else []
    aggregates = has_aggregates(row.client_figures) and not len(columns)
    good = int(measured.good.sum())
    counted = int((~columns.warmup).sum())
    throughput = (
        aggregate_throughput(row.client_figures, simulated) if aggregates else _throughput(row, measured, simulated)
    )
    return Cell(
        run=run.run,
        label=run.run,
        variant=run.variant_id,
        repeat=run.repeat,
        workload=row.workload,
        client=row.client,
        host=attempt.host,
        gpu_name=attempt.gpu_name or run.gpu_type,
        gpus=run.gpus,
        left_out=row.left_out,
        validity=gate(reasons),
        samples_total=row.samples_total,
        succeeded=int(row.client_figures["completed"]) if aggregates else good,
        failed=int(row.client_figures.get("failed", 0)) if aggregates else counted - good,
        failures=_causes(columns),
        prompt_tokens=_mean_tokens(row.client_figures, "total_input_tokens", columns.prompt_tokens, measured.good),
        completion_tokens=_mean_tokens(
            row.client_figures, "total_output_tokens", columns.completion_tokens, measured.good
        ),
        summaries=aggregate_summaries(row.client_figures, simulated) if aggregates else summarise(measured, simulated),
        throughput=throughput | _per_gpu(throughput, run.gpus),
        cold=cold_samples(measured),
        cold_share=cold_share(measured),
        outliers=outliers(measured),
        drift=drift(measured, simulated),
        energy=_energy(row, measured, simulated),
        samples=columns,
        tps=measured.matrix[SAMPLE_METRICS.index("tps")],
        tpot_s=measured.matrix[SAMPLE_METRICS.index("tpot_s")],
        telemetry=row.telemetry,
        server_figures=row.server_figures,
        client_figures=row.client_figures,
        settings=row.settings,
        dataset_sha256=row.dataset_sha256,
        warnings=row.warnings,
        simulated=simulated,
    )


def _causes(columns: SampleColumns) -> dict[str, int]:
    if columns.error.count(None) == len(columns.error):
        return {}
    failed = [e for e, w in zip(columns.error, columns.warmup.tolist(), strict=True) if e is not None and not w]
    return dict(Counter(failed).most_common())


def _mean_tokens(figures: Mapping[str, float], total: str, tokens: np.ndarray, good: Flags) -> float | None:
    """Return the mean over the successful requests; None: not known."""
    if not len(tokens):
        return figures[total] / figures["completed"] if total in figures and figures.get("completed") else None
    chosen = tokens[good]
    chosen = chosen[np.isfinite(chosen)]
    return float(chosen.mean()) if len(chosen) else None


def _throughput(row: WorkloadRow, measured: MeasuredSamples, simulated: bool) -> dict[str, Figure]:
    """Return the throughputs over the duration of the workload, one value per repeat of the workload."""
    values: dict[str, list[float]] = {}
    slo = row.settings.get("slo")
    limits = slo if isinstance(slo, Mapping) else {}
    for number, duration_s in enumerate(row.durations_s, 1):
        if duration_s > 0:
            chosen = measured.good & (measured.columns.repeat == number)
            for name, value in throughputs(measured, chosen, duration_s, limits).items():
                values.setdefault(name, []).append(value)
    return {name: repeats_figure(name, repeats, simulated) for name, repeats in values.items()}


def repeats_figure(name: str, values: Sequence[float], simulated: bool) -> Figure:
    """Return the mean of a throughput over the repeats of a workload on one server."""
    unit = METRICS[name].unit
    if len(values) == 1:
        return Figure(values[0], unit, 1, "repeats", simulated=simulated, note="no interval from one repeat")
    mean = describe(np.array([values]))[0]
    method = "t over repeats on one server, on the logarithmic scale"
    return Figure(
        mean.mean, unit, len(values), "repeats", low=mean.low, high=mean.high, method=method, simulated=simulated
    )


def _per_gpu(throughput: Mapping[str, Figure], gpus: int) -> dict[str, Figure]:
    if gpus < 1:
        return {}
    pairs = (("output_throughput", "output_tps_per_gpu"), ("total_throughput", "total_tps_per_gpu"))
    return {ours: throughput[name].scaled(1 / gpus, METRICS[ours].unit) for name, ours in pairs if name in throughput}


def _energy(row: WorkloadRow, measured: MeasuredSamples, simulated: bool) -> Figure | None:
    """Return the energy per output token of the successful samples, in joules, over all GPUs of the server.

    From the driver's energy counter where every GPU has one (read just before the first request and at the end), else
    from GPU power over time by the trapezoid rule. None: not recorded, or fewer than 2 power readings.
    """
    tokens = float(np.nansum(measured.columns.completion_tokens[measured.good]))
    if tokens <= 0:
        return None
    if row.energy_j:
        note = "GPUs only; from the driver's energy counter"
        return Figure(
            sum(row.energy_j) / tokens, "J/token", len(row.energy_j), "repeats", simulated=simulated, note=note
        )
    readings = [(t_s, figures["gpu_power_w"]) for t_s, figures in row.telemetry if "gpu_power_w" in figures]
    if len(readings) < 2:
        return None
    t_s, power_w = np.array(readings).T
    joules = float(((power_w[1:] + power_w[:-1]) / 2 * np.diff(t_s)).sum())
    return Figure(
        joules / tokens,
        "J/token",
        len(readings),
        "power readings",
        simulated=simulated,
        note="GPUs only; one workload",
    )

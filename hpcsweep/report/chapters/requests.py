"""The chapter on requests: host, memory and single requests of every run that measured something."""

from collections.abc import Iterator
from dataclasses import replace

from hpcsweep.analysis.findings import Findings, RunFinding
from hpcsweep.analysis.findings.measured import Cell, MetricSummary, SampleSet
from hpcsweep.report import document, run_points, wording
from hpcsweep.report.document import Block, Bullets, Paragraph, Section, Table
from hpcsweep.report.wording import NOTHING
from hpcsweep.units import format_bytes

MAX_SAMPLES_LISTED = 50
"""Workloads with more samples are described by their percentiles; the CSV has every sample."""

SAMPLE_COLUMNS = ("Sample", "Prompt tokens", "Completion tokens", "TTFT (s)", "Latency (s)", "TPS", "Notes")


def requests(findings: Findings) -> list[Section]:
    """Return the chapter with a part per run."""
    cells: dict[str, list[Cell]] = {}
    sent = {cell.run for cell in findings.cells if cell.left_out is None}
    for cell in findings.cells:
        if cell.run in sent:
            cells.setdefault(cell.run, []).append(cell)
    parts = [_run(findings, run, cells[run.run]) for run in findings.runs if run.run in cells]
    return [Section("Requests", ()), *parts] if parts else []


def _run(findings: Findings, run: RunFinding, cells: list[Cell]) -> Section:
    lines = [f"Host: {run.host or 'not known'}; GPUs: {run.gpus}" + (f" ({run.gpu_name})" if run.gpu_name else "")]
    memory = run.facts.get("weights_bytes_per_gpu")
    if memory is not None and isinstance(memory.value, (int, float)):
        lines.append(f"Weights on one GPU: {format_bytes(memory.value)}")
    versions = ", ".join(f"{name} {value}" for name, value in run.versions.items())
    lines += [f"Versions: {versions}"] if versions else []
    lines += [f"Attempt {run.counts} of {run.attempts}; job {run.job or 'none'}; outcome: {wording.outcome(run)}"]
    lines += list(run.warnings)
    blocks: list[Block] = [Bullets(tuple(lines))]
    for cell in cells:
        blocks += _workload(findings, cell)
    return Section(f"{wording.short_name(findings, run.variant)}: {run.label}", tuple(blocks), 3)


def _workload(findings: Findings, cell: Cell) -> Iterator[Block]:
    name = wording.marked(findings, f"Workload {cell.workload}", cell.simulated)
    if cell.left_out is not None:
        yield Paragraph(f"{name}: n/a: {cell.left_out}.")
        return
    yield Paragraph(f"{name}: {cell.succeeded} of {cell.samples_total} samples succeeded; load client: {cell.client}.")
    validity = wording.validity(cell.validity)
    notes = [validity] if validity else []
    if cell.failures:
        notes.append("failed: " + ", ".join(f"{count} {cause}" for cause, count in cell.failures.items()))
    notes += cell.warnings
    if cell.energy is not None:
        notes.append(f"energy: {wording.figure(cell.energy, with_unit=True)}")
    if notes:
        yield Bullets(tuple(notes))
    if 0 < len(cell.samples) <= MAX_SAMPLES_LISTED:
        yield _samples(cell)


def _samples(cell: Cell) -> Table:
    averages = (_average(cell, "all", "Mean, all"), _average(cell, "warm", "Mean, warm"))
    return Table(SAMPLE_COLUMNS, (*_sample_rows(cell), *averages), point=run_points.requests(cell))


def _sample_rows(cell: Cell) -> Iterator[tuple[document.Cell, ...]]:
    columns = cell.samples
    outliers = {(outlier.index, outlier.metric) for outlier in cell.outliers}
    for i in range(len(columns)):
        index = int(columns.index[i])
        cold, error = columns.cold[i], columns.error[i]
        notes = [f"{str(cold).replace('_', ' ')} (cold)"] if cold else []
        notes += ["warm-up, not counted"] if columns.warmup[i] else []
        notes += [f"outlier in {metric}" for metric in ("e2e_s", "ttft_s") if (index, metric) in outliers]
        notes += [f"failed: {error}"] if error is not None else []
        ttft_s, e2e_s, tps = float(columns.ttft_s[i]), float(columns.e2e_s[i]), float(cell.tps[i])
        yield (
            columns.sample[i],
            _count(float(columns.prompt_tokens[i])),
            _count(float(columns.completion_tokens[i])),
            wording.plain_number(ttft_s, wording.latency(ttft_s), "s", "ttft_s"),
            wording.plain_number(e2e_s, wording.latency(e2e_s), "s", "e2e_s"),
            wording.plain_number(tps, wording.fixed(tps, 2), "tokens/s", "tps"),
            "; ".join(notes),
        )


def _count(value: float) -> document.Quantity:
    return wording.plain_number(value, wording.fixed(value, 0), "tokens")


def _average(cell: Cell, condition: SampleSet, title: str) -> tuple[document.Cell, ...]:
    summaries = {s.metric: s for s in cell.summaries if s.condition == condition}
    if not summaries:
        return (title, *(NOTHING,) * 5, "no such sample")
    n = max(s.n for s in summaries.values())
    values = (_mean(summaries.get(metric)) for metric in ("ttft_s", "e2e_s", "tps"))
    return (title, NOTHING, NOTHING, *values, f"n = {n}")


def _mean(summary: MetricSummary | None) -> document.Quantity:
    if summary is None:
        return document.Quantity(NOTHING)
    quantity = wording.quantity(summary.figure(), metric=summary.metric)
    return replace(quantity, text=wording.fixed(summary.mean, 2))

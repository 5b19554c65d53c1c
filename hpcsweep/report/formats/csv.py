"""The report as CSV, for spreadsheets and notebooks: seconds and tokens in full precision; empty: not known.

Text that a spreadsheet would run as a formula gets an apostrophe in front.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from typing import IO, Any

from hpcsweep.analysis.findings import Findings, RunFinding
from hpcsweep.analysis.findings.measured import Cell, SampleSet, StartupFinding
from hpcsweep.analysis.measured.metrics import RUN_METRICS, SAMPLE_METRICS
from hpcsweep.report.formats.registry import DEFAULTS, Format, ReportOptions
from hpcsweep.terminal_text import printable

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

RUN_COLUMNS = (
    "sweep", "run", "variant", "exp", "repeat", "simulated", "engine", "model", "gpus", "host", "state", "outcome",
    "phase", "reason",
)  # fmt: skip
SAMPLE_COLUMNS = (
    "workload", "left_out", "validity", "workload_repeat", "sample", "index", "warmup", "cold", "error", "sent_s",
    "prompt_tokens", "completion_tokens", "cached_tokens", "tokens_from", "ttft_s", "tpot_s", "e2e_s", "tps",
    "lateness_s", "finish_reason",
)  # fmt: skip
_STARTUP = ("startup_s", "load_s", "compile_s", "gpu_memory_bytes", "compile_cache")
_COUNTS = ("workload", "left_out", "client", "validity", "validity_reasons", "samples_total", "succeeded", "failed")
_STATISTICS = ("n", "mean", "median", "p90", "p99", "minimum", "maximum", "stdev", "low", "high")


class SampleCsvFormat(Format):
    """One row per sample."""

    name = "csv"
    meaning = "one row per sample"
    suffixes = (".csv",)

    def write(self, findings: Findings, stream: IO[str], options: ReportOptions = DEFAULTS) -> None:
        """Write a header and one row per sample."""
        write_samples(findings, stream)


class RunCsvFormat(Format):
    """One row per run and workload."""

    name = "csv-runs"
    meaning = "one row per run and workload"

    def write(self, findings: Findings, stream: IO[str], options: ReportOptions = DEFAULTS) -> None:
        """Write a header and one row per run and workload."""
        write_runs(findings, stream)


def write_samples(findings: Findings, stream: IO[str]) -> None:
    """Write one row per sample; a run or workload without samples has one row with its outcome."""
    writer = csv.writer(stream, lineterminator="\n")
    axes = list(findings.sweep.axes)
    writer.writerow([*RUN_COLUMNS, *(f"axis_{axis}" for axis in axes), *SAMPLE_COLUMNS])
    for run, cells in _by_run(findings):
        head = _run_values(findings, run, axes)
        if not cells:
            writer.writerow(head + [""] * len(SAMPLE_COLUMNS))
        for cell in cells:
            before = [safe(cell.workload), safe(cell.left_out), cell.validity.status if cell.left_out is None else ""]
            if not len(cell.samples):
                writer.writerow(head + before + [""] * (len(SAMPLE_COLUMNS) - len(before)))
            writer.writerows(head + before + values for values in _sample_values(cell))


def write_runs(findings: Findings, stream: IO[str]) -> None:
    """Write one row per run and workload; a run without workloads has one row."""
    writer = csv.writer(stream, lineterminator="\n")
    axes = list(findings.sweep.axes)
    startups = {startup.run: startup for startup in findings.startups}
    titles = [*RUN_COLUMNS, *(f"axis_{axis}" for axis in axes), *_STARTUP, *_COUNTS, *_metric_titles()]
    writer.writerow(titles)
    for run, cells in _by_run(findings):
        head = _run_values(findings, run, axes) + _startup_values(startups.get(run.run))
        if not cells:
            writer.writerow(head + [""] * (len(titles) - len(head)))
        for cell in cells:
            writer.writerow(head + _cell_values(cell))


def safe(value: str | None) -> str:
    """Return text that no spreadsheet runs as a formula."""
    if not value:
        return ""
    if not (value.isascii() and value.isprintable()):
        value = printable(value)
    return f"'{value}" if value.startswith(_FORMULA_STARTS) else value


def _by_run(findings: Findings) -> Iterator[tuple[RunFinding, list[Cell]]]:
    cells: dict[str, list[Cell]] = {}
    for cell in findings.cells:
        cells.setdefault(cell.run, []).append(cell)
    for run in findings.runs:
        yield run, cells.get(run.run, [])


def _run_values(findings: Findings, run: RunFinding, axes: Sequence[str]) -> list[Any]:
    variant = findings.index.get(run.variant)
    return [
        safe(findings.sweep.sweep),
        safe(run.label),
        safe(run.variant),
        "" if variant is None else variant.short_name,
        run.repeat,
        "SIMULATED" if run.simulated else "",
        safe(run.engine),
        safe(run.model),
        run.gpus,
        safe(run.host),
        run.state.value,
        "" if run.outcome is None else run.outcome.value,
        "" if run.phase is None else run.phase.value,
        safe(run.reason),
        *(safe(run.axes.get(axis)) for axis in axes),
    ]


def _startup_values(startup: StartupFinding | None) -> list[Any]:
    return [""] * len(_STARTUP) if startup is None else [_plain(getattr(startup, name)) for name in _STARTUP]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        return int(value) if value.is_integer() else value
    if value is None:
        return ""
    return safe(value) if isinstance(value, str) else value


def _sample_values(cell: Cell) -> Iterator[list[Any]]:
    c = cell.samples
    numbers = {
        name: [_plain(value) for value in getattr(c, name).tolist()]
        for name in ("sent_s", "prompt_tokens", "completion_tokens", "cached_tokens", "ttft_s", "e2e_s", "lateness_s")
    }
    tpot, tps = ([_plain(value) for value in column.tolist()] for column in (cell.tpot_s, cell.tps))
    for i in range(len(c)):
        yield [
            int(c.repeat[i]),
            safe(c.sample[i]),
            int(c.index[i]),
            int(c.warmup[i]),
            safe(c.cold[i]),
            safe(c.error[i]),
            numbers["sent_s"][i],
            numbers["prompt_tokens"][i],
            numbers["completion_tokens"][i],
            numbers["cached_tokens"][i],
            safe(c.tokens_from[i]),
            numbers["ttft_s"][i],
            tpot[i],
            numbers["e2e_s"][i],
            tps[i],
            numbers["lateness_s"][i],
            safe(c.finish_reason[i]),
        ]


def _metric_titles() -> list[str]:
    conditions: tuple[SampleSet, ...] = ("all", "warm")
    of_samples = [f"{m}_{c}_{s}" for m in SAMPLE_METRICS for c in conditions for s in _STATISTICS]
    return [*of_samples, *RUN_METRICS]


def _cell_values(cell: Cell) -> list[Any]:
    reasons = "; ".join(reason.code for reason in cell.validity.reasons)
    status = cell.validity.status if cell.left_out is None else ""
    counts = [cell.samples_total, cell.succeeded, cell.failed]
    values: list[Any] = [safe(cell.workload), safe(cell.left_out), safe(cell.client), status, reasons, *counts]
    conditions: tuple[SampleSet, ...] = ("all", "warm")
    for metric in SAMPLE_METRICS:
        for condition in conditions:
            summary = cell.summary(metric, condition)
            values += [""] * len(_STATISTICS) if summary is None else [_plain(getattr(summary, s)) for s in _STATISTICS]
    for name in RUN_METRICS:
        figure = cell.throughput.get(name)
        values.append("" if figure is None else _plain(figure.value))
    return values

"""The later chapters: startups, every run in detail, failures, what was not run, costs, commands and scripts."""

import shlex
from collections.abc import Iterator

from hpcsweep.analysis.decision.recommend import planned_only
from hpcsweep.analysis.findings import Findings, RunFinding
from hpcsweep.analysis.findings.measured import Cell, Figure, StartupFinding
from hpcsweep.report import wording
from hpcsweep.report.document import Block, Bullets, Code, Paragraph, Section, Table
from hpcsweep.report.wording import NOTHING
from hpcsweep.units import format_bytes

MAX_SAMPLES_LISTED = 50
"""Cells with more samples are described by their percentiles; the CSV has every sample."""

_EVIDENCE_LINES = 6


def startup(findings: Findings) -> Section | None:
    """Load, compile and total startup, GPU memory, and where a start ended. With repeats, runs are named."""
    if not findings.startups:
        return None
    rows = tuple(_startup_row(findings, one) for one in findings.startups)
    columns = ("Exp", "Run", "Load", "Compile", "Total", "GPU memory", "KV cache tokens", "Compile cache", "Ended")
    note = (
        "Load and compile: the engine's own figures, else the length of the phase. Total: launch to first token. "
        "GPU memory: weights on one GPU."
    )
    table = Table(columns, rows, note)
    if len({one.variant for one in findings.startups}) == len(findings.startups):
        table = table.without(("Run",))
    blocks: list[Block] = [table]
    if findings.cache_effects:
        pairs = tuple(
            (wording.exp(findings.variant(one.variant)), wording.figure(one.cold), wording.figure(one.warm))
            for one in findings.cache_effects
        )
        blocks.append(Table(("Exp", "Startup, cold compile cache (s)", "Startup, warm compile cache (s)"), pairs))
    return Section("Startup", tuple(blocks))


def _startup_row(findings: Findings, one: StartupFinding) -> tuple[str, ...]:
    ended = "ready" if one.startup_s is not None else "not ready"
    if one.ended_in is not None:
        cut = next((p for p in reversed(one.phases) if p.phase is one.ended_in), None)
        after = f" after {wording.seconds(cut.duration_s)} of it" if cut is not None and cut.duration_s else ""
        ended = f"in {one.ended_in.value}{after}"
    return (
        wording.exp(findings.variant(one.variant)),
        one.label,
        wording.seconds(one.load_s),
        wording.seconds(one.compile_s),
        wording.seconds(one.startup_s),
        NOTHING if one.gpu_memory_bytes is None else format_bytes(one.gpu_memory_bytes),
        NOTHING if one.kv_cache_tokens is None else f"{one.kv_cache_tokens:,.0f}",
        one.compile_cache or NOTHING,
        ended,
    )


def details(findings: Findings) -> list[Section]:
    """A part for every run that measured something: host, memory, samples."""
    cells: dict[str, list[Cell]] = {}
    sent = {cell.run for cell in findings.cells if cell.left_out is None}
    for cell in findings.cells:
        if cell.run in sent:
            cells.setdefault(cell.run, []).append(cell)
    parts = [_run_details(findings, run, cells[run.run]) for run in findings.runs if run.run in cells]
    return [Section("Detailed results", ()), *parts] if parts else []


def _run_details(findings: Findings, run: RunFinding, cells: list[Cell]) -> Section:
    variant = findings.variant(run.variant)
    lines = [f"Host: {run.host or 'not known'}; GPUs: {run.gpus}" + (f" ({run.gpu_name})" if run.gpu_name else "")]
    memory = run.facts.get("weights_bytes_per_gpu")
    if memory is not None and isinstance(memory.value, (int, float)):
        lines.append(f"Model memory: {format_bytes(memory.value)} on one GPU")
    versions = ", ".join(f"{name} {value}" for name, value in run.versions.items())
    lines += [f"Versions: {versions}"] if versions else []
    lines += [f"Attempt {run.counts} of {run.attempts}; job {run.job or 'none'}; outcome: {wording.outcome(run)}"]
    lines += list(run.warnings)
    blocks: list[Block] = [Bullets(tuple(lines))]
    for cell in cells:
        blocks += _cell_details(cell)
    return Section(f"{wording.exp(variant)}: {run.label}", tuple(blocks), 3)


def _cell_details(cell: Cell) -> Iterator[Block]:
    name = wording.marked(f"Dataset {cell.workload}", cell.simulated)
    if cell.left_out is not None:
        yield Paragraph(f"{name}: n/a: {cell.left_out}.")
        return
    yield Paragraph(f"{name}: {cell.succeeded} of {cell.samples_total} samples succeeded, client {cell.client}.")
    held = wording.validity(cell.validity)
    notes = [held] if held else []
    if cell.failures:
        notes.append("failed: " + ", ".join(f"{count} {cause}" for cause, count in cell.failures.items()))
    notes += cell.warnings
    if cell.energy is not None:
        notes.append(f"energy: {wording.figure(cell.energy, unit=True)}")
    if notes:
        yield Bullets(tuple(notes))
    if 0 < len(cell.samples) <= MAX_SAMPLES_LISTED:
        yield _samples(cell)


SAMPLE_COLUMNS = ("Sample", "Prompt tokens", "Completion", "TTFT (s)", "Time (s)", "TPS", "Marks")


def samples(findings: Findings, most: int) -> Section | None:
    """Every sample of a small sweep in one table; None with none, or with more than `most`."""
    if not 0 < sum(len(cell.samples) for cell in findings.cells) <= most:
        return None
    rows = [
        (wording.exp(findings.variant(cell.variant)), cell.workload, *row)
        for cell in findings.cells
        if len(cell.samples)
        for row in _sample_rows(cell)
    ]
    return Section("Samples", (Table(("Exp", "Dataset", *SAMPLE_COLUMNS), tuple(rows)),))


def _samples(cell: Cell) -> Table:
    averages = (_average(cell, "all", "Avg, all"), _average(cell, "warm", "Avg, warm only"))
    return Table(SAMPLE_COLUMNS, (*_sample_rows(cell), *averages))


def _sample_rows(cell: Cell) -> list[tuple[str, ...]]:
    columns = cell.samples
    far = {(one.index, one.metric) for one in cell.outliers}
    rows: list[tuple[str, ...]] = []
    for place in range(len(columns)):
        index = int(columns.index[place])
        marks = [str(columns.cold[place]).replace("_", " ") + " (cold)"] if columns.cold[place] else []
        marks += ["warm-up, not counted"] if columns.warmup[place] else []
        marks += [f"outlier in {metric}" for metric in ("e2e_s", "ttft_s") if (index, metric) in far]
        marks += [f"failed: {columns.error[place]}"] if columns.error[place] is not None else []
        rows.append(
            (
                columns.sample[place],
                wording.fixed(float(columns.prompt_tokens[place]), 0),
                wording.fixed(float(columns.completion_tokens[place]), 0),
                wording.latency(float(columns.ttft_s[place])),
                wording.latency(float(columns.e2e_s[place])),
                wording.fixed(float(cell.tps[place]), 2),
                "; ".join(marks),
            )
        )
    return rows


def _average(cell: Cell, condition: str, title: str) -> tuple[str, ...]:
    summaries = {s.metric: s for s in cell.summaries if s.condition == condition}
    if not summaries:
        return (title, *(NOTHING,) * 5, "no such sample")
    n = max(s.n for s in summaries.values())
    values = (wording.fixed(summaries[m].mean, 2) if m in summaries else NOTHING for m in ("ttft_s", "e2e_s", "tps"))
    return (title, NOTHING, NOTHING, *values, f"mean of {n} {'sample' if n == 1 else 'samples'}")


def has_failed(run: RunFinding) -> bool:
    """Whether it was tried and measured nothing."""
    return run.outcome is not None and not run.measured and bool(run.attempts)


def failures(findings: Findings) -> list[Section]:
    """Every run that ended badly: reason, phase, who decided, the telling lines."""
    failed = [run for run in findings.runs if has_failed(run)]
    if not failed:
        return []
    parts = []
    for run in failed:
        lines = [
            f"Outcome: {wording.outcome(run)}; host {run.host or 'not known'}; attempt {run.counts} of {run.attempts}"
        ]
        lines += [f"Reason: {run.reason}"] if run.reason else []
        lines += [f"Cause: {run.cause.value}"] if run.cause else []
        lines += [f"Decided by: {run.decided_by}"] if run.decided_by else []
        lines += [f"Exit code: {run.exit_code}"] if run.exit_code is not None else []
        lines += [f"What to change: {run.hint}"] if run.hint else []
        lines += [_fact(name, fact.value, fact.unit) for name, fact in run.facts.items() if fact.unit == "s"]
        blocks: list[Block] = [Bullets(tuple(lines))]
        if run.evidence:
            blocks.append(Code("\n".join(telling(run.evidence))))
        title = f"{wording.exp(findings.variant(run.variant))}: {run.label}"
        parts.append(Section(title, tuple(blocks), 3))
    return [Section("Failed runs", ()), *parts]


def telling(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The telling line, which comes first, and the last ones."""
    return lines if len(lines) <= _EVIDENCE_LINES else (lines[0], *lines[1 - _EVIDENCE_LINES :])


def _fact(name: str, value: float | str | bool, unit: str) -> str:
    text = wording.number(value) if isinstance(value, (int, float)) else str(value)
    return f"{name}: {text} {unit}"


def not_run(findings: Findings) -> Section | None:
    """What stands in the sweep and did not run, and why."""
    idle = [run for run in findings.runs if not run.planned_only and not run.attempts and run.outcome is not None]
    waiting = [run for run in findings.runs if not run.planned_only and run.outcome is None]
    planned = planned_only(findings.runs).items()
    rows = [("; ".join(labels), "not planned to run", reason) for reason, labels in planned]
    rows += [(run.label, wording.outcome(run), run.reason or NOTHING) for run in idle]
    rows += [(run.label, run.state.value, run.reason or "has not ended") for run in waiting]
    return Section("Not run", (Table(("Run", "State", "Why"), tuple(rows)),)) if rows else None


def costs(findings: Findings) -> Section:
    """GPU-hours, and for what."""
    cost = findings.costs
    lines: list[tuple[str, Figure]] = [
        ("Used", cost.used),
        ("Startup of completed runs", cost.startup),
        ("Measuring", cost.measured),
        ("Other", cost.other),
        ("Wasted", cost.wasted),
    ]
    rows = [(wording.marked(name, one.simulated), _hours(one), one.note) for name, one in lines]
    rows += [(f"Wasted: {word}", f"{wording.hours(hours)} GPU-hours", "") for word, hours in cost.wasted_by.items()]
    rows.append(("Waiting in queues", _hours(cost.queued_hours), cost.queued_hours.note))
    note = "GPUs x time of the attempts, on their own clock."
    return Section("Cost", (Table(("What", "How much", "Note"), tuple(rows), note),))


def _hours(one: Figure) -> str:
    return f"{wording.hours(one.value or 0.0)} {one.unit} ({wording.counted(one)})"


def appendix(findings: Findings) -> Section | None:
    """The exact commands, and the scripts as they were submitted."""
    blocks: list[Block] = []
    for run in findings.runs:
        if run.argv:
            blocks += [Paragraph(f"{wording.marked(run.label, run.simulated)}:"), Code(shlex.join(run.argv), "bash")]
    for path, text in findings.sweep.scripts.items():
        blocks += [Paragraph(f"{path}, as it was submitted:"), Code(text.rstrip("\n"), "bash")]
    return Section("Appendix: commands and scripts used", tuple(blocks)) if blocks else None

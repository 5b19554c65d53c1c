"""One run in full, for `hpcsweep show`: startup timeline, facts, command, samples, and the failure."""

import shlex
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hpcsweep.analysis.columns import SampleColumns
from hpcsweep.analysis.rows import AttemptRow, FactRow, PhaseRow, RunRow, WorkloadRow
from hpcsweep.engines.logs.reader import FactSeen
from hpcsweep.report.console import safe_text
from hpcsweep.report.outcomes import outcome_text
from hpcsweep.spec.phases import STARTUP_PHASES, OutcomeKind, Phase
from hpcsweep.units import counted, format_bytes, format_duration

_FIGURE_CELLS = 7
_BAR_CELLS = (12, 48)
SAMPLE_COLUMNS = ("sample", "prompt", "completion", "TTFT s", "latency s", "tok/s", "ms/token")
_EVIDENCE_CELLS = 24  # reserved for it before the bars shrink


def run_page(
    run: RunRow, *, samples: int, width: int, unicode: bool, troubles: Sequence[str] = ()
) -> Iterator[RenderableType]:
    """Yield the parts of the page, from top to bottom, for a terminal of `width` columns.

    `samples`: rows per workload. `unicode`: draw bars with block characters. `troubles`: unreadable lines of the run's
    files.
    """
    mark = safe_text(" SIMULATED", style="magenta") if run.simulated else safe_text("")
    yield safe_text(f"{run.sweep}/{run.run}", style="bold") + mark
    yield safe_text(head_text(run))
    attempt = run.last
    for other in run.attempts:
        if other is not attempt:
            yield safe_text(f"attempt {other.attempt}: {ending(other)}", style="dim")
    if attempt is None:
        yield from _failure_of_run(run)
        return
    if len(run.attempts) > 1:
        yield safe_text(f"attempt {attempt.attempt} (the result of this run):")
    if attempt.phases:
        yield _timeline(attempt, width, "█" if unicode else "#")
    if attempt.facts:
        yield _facts(attempt.facts)
    for part in attempt.parts:
        reached = ", ".join(f"{row.phase.value} at {format_duration(row.start_s)}" for row in part.phases)
        yield safe_text(f"Part {part.rank} on node {part.node}: {reached or 'no phase seen'}")
        if part.facts:
            yield _facts(part.facts)
    yield from _command(attempt)
    for workload in attempt.workloads:
        yield from _workload(workload, samples)
    for warning in (*attempt.warnings, *troubles):
        yield safe_text(f"warning: {warning}", style="yellow")
    yield from failure_lines(attempt)
    if attempt.outcome is None:
        yield from _failure_of_run(run)


def head_text(run: RunRow) -> str:
    """Return state, variant, model, levels, job, node and GPUs of a run, in up to three lines."""
    ended = outcome_text(run.outcome, run.state)
    lines = [
        f"{ended}   variant {run.variant_id or '-'}   repeat {run.repeat}   {run.engine or '-'}   {run.model or '-'}",
        "   ".join(f"{axis}={level}" for axis, level in run.axes.items()),
    ]
    kind = (run.last.gpu_name if run.last is not None else None) or run.gpu_type
    gpus = counted(run.gpus, "GPU") + (f" ({kind})" if kind else "")
    queued = f"   queued {format_duration(run.queued_s)}" if run.queued_s is not None else ""
    nodes = run.last.nodes if run.last is not None else ()
    where = f"nodes {', '.join(nodes)}" if len(nodes) > 1 else f"node {run.node or '-'}"
    lines.append(f"job {run.job or '-'}   {where}   {gpus}{queued}")
    return "\n".join(line for line in lines if line)


def ending(attempt: AttemptRow) -> str:
    """Return the outcome of an attempt and its reason."""
    outcome = attempt.outcome.value.replace("_", " ") if attempt.outcome else "no end record"
    return f"{outcome}: {attempt.reason}" if attempt.reason else outcome


def _timeline(attempt: AttemptRow, width: int, block: str) -> Table:
    """Return a bar per startup phase; later phases have durations only."""
    startup = [phase for phase in attempt.phases if phase.phase.value in STARTUP_PHASES]
    begin_s = startup[0].start_s if startup else 0.0
    ends = [phase.start_s if phase.end_s is None else phase.end_s for phase in startup]
    span = (begin_s, max(ends, default=begin_s))
    clock = f", on a clock {attempt.time_scale:g} times faster" if attempt.time_scale != 1 else ""
    ready = f"ready after {format_duration(attempt.startup_s)}" if attempt.startup_s is not None else "not ready"
    table = Table(title=f"Startup: {ready}{clock}", title_justify="left", box=None, pad_edge=False)
    names = max(len(row.phase.value) for row in attempt.phases)
    free = width - names - 3 * _FIGURE_CELLS - 5 * 2
    cells = max(_BAR_CELLS[0], min(_BAR_CELLS[1], free - _EVIDENCE_CELLS))
    table.add_column("phase", no_wrap=True, width=names)
    for name in ("from", "took", "budget"):
        table.add_column(name, justify="right", no_wrap=True, width=_FIGURE_CELLS)
    table.add_column("", no_wrap=True, width=cells)
    # A fixed width: for one long line, rich would shrink every column.
    table.add_column("evidence", overflow="ellipsis", no_wrap=True, width=max(0, free - cells), style="dim")
    failed = attempt.phase if attempt.outcome not in (None, OutcomeKind.COMPLETED) else None
    for row in attempt.phases:
        table.add_row(
            row.phase.value,
            format_duration(row.start_s),
            format_duration(row.end_s - row.start_s) if row.end_s is not None else "?",
            format_duration(row.budget_s) if row.budget_s is not None else "-",
            bar(row, span, cells, block) if row in startup else "",
            safe_text(row.evidence),
            style="red" if row.phase is failed else "",
        )
    return table


def bar(phase: PhaseRow, span: tuple[float, float], cells: int, block: str) -> str:
    """Return the phase as a part of a line of `cells` cells for the seconds of `span`; at least one cell."""
    begin_s, end_s = span
    if end_s <= begin_s:
        return ""
    scale = cells / (end_s - begin_s)
    first = min(cells - 1, int((phase.start_s - begin_s) * scale))
    last = cells if phase.end_s is None else round((phase.end_s - begin_s) * scale)
    last = max(first + 1, min(cells, last))
    return " " * first + block * (last - first)


def _facts(facts: Sequence[FactRow]) -> Table:
    table = Table(title="Facts", title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column("name", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("source", style="dim")
    last = {fact.name: fact for fact in facts}
    for fact in last.values():
        table.add_row(fact.name, safe_text(fact_words(fact)), fact.source)
    return table


def fact_words(fact: FactRow | FactSeen) -> str:
    """Return the value in words: `82.6 GiB`, `2m35s`, `yes`, `1,234,560 tokens`."""
    value = fact.value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if fact.unit == "bytes":
        return format_bytes(value)
    if fact.unit == "s":
        return format_duration(value)
    number = f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
    return f"{number} {fact.unit}".strip()


def _command(attempt: AttemptRow) -> Iterator[RenderableType]:
    if not attempt.argv:
        return
    versions = versions_text(attempt)
    yield safe_text(f"Command ({versions})" if versions else "Command")
    yield safe_text(command_text(attempt))
    yield safe_text(f"files: {attempt.attempt_dir}", style="dim")


def versions_text(attempt: AttemptRow) -> str:
    """Return the versions of the engine and its libraries: `engine 0.11.0, torch 2.8.0`."""
    return ", ".join(f"{name} {version}" for name, version in attempt.versions.items())


def command_text(attempt: AttemptRow) -> str:
    """Return the server's command with its variables, as a shell reads it."""
    sets = " ".join(f"{name}={shlex.quote(value)}" for name, value in attempt.env.items())
    return f"{sets} {shlex.join(attempt.argv)}".strip()


def _workload(workload: WorkloadRow, limit: int) -> Iterator[RenderableType]:
    if workload.left_out is not None:
        yield safe_text(f"Workload {workload.workload}: n/a: {workload.left_out}")
        return
    columns = workload.columns or SampleColumns.from_rows(workload.samples)
    took = ", ".join(format_duration(duration_s) for duration_s in workload.durations_s) or "not ended"
    title = f"Workload {workload.workload}: {len(columns)} of {workload.samples_total} samples, {took}"
    table = Table(title=safe_text(title), title_justify="left", box=None, pad_edge=False)
    for name in SAMPLE_COLUMNS:
        table.add_column(name, justify="left" if name == "sample" else "right", no_wrap=True)
    table.add_column("", overflow="fold")
    for i in range(min(limit, len(columns))):
        table.add_row(*sample_cells(columns, i))
    yield table
    if len(columns) > limit:
        yield safe_text(f"... and {len(columns) - limit} more: --samples {len(columns)} shows them", style="dim")
    for warning in workload.warnings:
        yield safe_text(f"warning: {workload.workload}: {warning}", style="yellow")


def sample_cells(columns: SampleColumns, i: int) -> list[str | Text]:
    """Return the cells of `SAMPLE_COLUMNS` for sample `i`, then remarks.

    tok/s = completion tokens / latency; ms/token = (latency - TTFT) / (completion tokens - 1).
    """
    prompt, completion = columns.prompt_tokens[i], columns.completion_tokens[i]
    ttft_s, e2e_s = columns.ttft_s[i], columns.e2e_s[i]
    notes = [word for word in (columns.error[i], columns.cold[i], "warm-up" if columns.warmup[i] else None) if word]
    if columns.error[i] and len(columns.error_detail) > i and columns.error_detail[i]:
        notes.append(columns.error_detail[i])
    good = columns.error[i] is None
    return [
        safe_text(str(columns.sample[i])),
        _number(prompt, "{:.0f}"),
        _number(completion, "{:.0f}"),
        _number(ttft_s, "{:.3f}"),
        _number(e2e_s, "{:.3f}"),
        _number(completion / e2e_s if good and e2e_s > 0 else float("nan"), "{:.2f}"),
        _number((e2e_s - ttft_s) / (completion - 1) * 1e3 if good and completion > 1 else float("nan"), "{:.2f}"),
        safe_text(" ".join(notes), style="red" if not good else "dim"),
    ]


def _number(value: float, form: str) -> str:
    return "-" if value != value else form.format(value)


def failure_lines(attempt: AttemptRow) -> Iterator[Text]:
    """Yield how an attempt failed, who decided it, the evidence and the hint; nothing for one that completed."""
    if attempt.outcome in (None, OutcomeKind.COMPLETED):
        return
    phase = f" in {attempt.phase.value}" if isinstance(attempt.phase, Phase) else ""
    yield safe_text(f"{attempt.outcome.value.replace('_', ' ')}{phase}: {attempt.reason}", style="bold red")
    if attempt.cause is not None:
        yield safe_text(f"cause: {attempt.cause.value}")
    if attempt.decided_by:
        code = f", exit code {attempt.exit_code}" if attempt.exit_code is not None else ""
        yield safe_text(f"decided by: {attempt.decided_by}{code}")
    for line in attempt.evidence:
        yield safe_text(f"  {line}", style="dim")
    if attempt.killed:
        yield safe_text(f"killed during teardown: {', '.join(attempt.killed)}")
    if attempt.hint:
        yield safe_text(f"hint: {attempt.hint}", style="bold")


def _failure_of_run(run: RunRow) -> Iterator[RenderableType]:
    if run.reason:
        yield safe_text(f"{outcome_text(run.outcome, run.state)}: {run.reason}")

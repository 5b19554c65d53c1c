"""The status of the runs of a sweep: a table for a terminal, one line per run for a log file."""

import time
from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hpcsweep.report.console import safe_text
from hpcsweep.report.outcomes import outcome_text
from hpcsweep.report.status.status_json import phase_elapsed_s
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.track.preparations import PreparationStatus
from hpcsweep.track.runs import RunStatus, SweepStatus
from hpcsweep.units import counted, format_duration

_STYLES = {RunState.RUNNING: "cyan", RunState.HELD: "yellow", RunState.UNKNOWN: "yellow"}


_INTEREST = [RunState(word) for word in ("running", "unknown", "held", "queued", "planned", "finished")]


def status_table(sweep: SweepStatus, now: float | None = None, rows: int | None = None) -> RenderableType:
    """Return the runs of a sweep at Unix time `now` (None: this moment), with a line that counts them.

    `rows`: show at most this many, active runs first and without reasons; None: show all, in the order of the plan.
    """
    now = time.time() if now is None else now
    table = Table(title=safe_text(f"{sweep.name} on {sweep.cluster}"), title_justify="left", title_style="bold")
    table.add_column("run", no_wrap=True)
    table.add_column("job", overflow="fold")
    table.add_column("node", overflow="fold")
    table.add_column("phase, elapsed/budget", overflow="fold")
    table.add_column("samples", justify="right", no_wrap=True)
    table.add_column("tok/s", justify="right", no_wrap=True)
    table.add_column("outcome", overflow="fold")
    runs = list(sweep.runs)
    crowded = rows is not None and len(runs) > rows
    if rows is not None and crowded:
        runs = sorted(runs, key=lambda run: _INTEREST.index(run.verdict.state))[: max(1, rows - 1)]
    for run in runs:
        table.add_row(
            safe_text(run.run) + (safe_text(" SIMULATED", style="magenta") if run.simulated else safe_text("")),
            safe_text(run.job or "-"),
            safe_text(run.node or "-"),
            safe_text(phase_words(run, now)),
            samples_words(run),
            "-" if run.progress.output_tps is None else f"{run.progress.output_tps:.1f}",
            _outcome(run, with_reason=not crowded),
        )
    hidden = len(sweep.runs) - len(runs)
    more = [safe_text(f"... and {hidden} more runs: `hpcsweep status {sweep.name}` shows all")] if hidden else []
    steps = [preparation_text(step, now) for step in sweep.current_preparations]
    return Group(table, *more, *steps, safe_text(summary(sweep)))


def preparation_text(step: PreparationStatus, now: float) -> Text:
    """Return `preparing weights: 3m of 1h on cpu-07`, or how it ended, with its evidence, reason and hint."""
    verdict = step.verdict
    if verdict.state is RunState.RUNNING and step.started_at is not None:
        elapsed = f"{format_duration(max(0.0, now - step.started_at))} of {format_duration(step.walltime_s)}"
        return safe_text(f"preparing {step.name}: {elapsed}{f' on {step.node}' if step.node else ''}", style="cyan")
    took = ""
    if step.started_at is not None and step.ended_at is not None:
        took = f" after {format_duration(max(0.0, step.ended_at - step.started_at))}"
    words = f"{preparation_line(step)}{took}"
    detail = step.evidence[0] if step.completed and step.evidence else verdict.reason
    style = "dim" if step.completed else "red" if verdict.state.final else ""
    hint = f"\nhint: {verdict.hint}" if verdict.hint and not step.completed else ""
    return Text.assemble(
        safe_text(f"{words}{f': {detail}' if detail else ''}", style=style), safe_text(hint, style="dim")
    )


def preparation_line(step: PreparationStatus) -> str:
    """Return a preparation and its state as one line, which does not change with every second."""
    return f"preparation {step.name}: {outcome_text(step.verdict.outcome, step.verdict.state)}"


def run_line(run: RunStatus) -> str:
    """Return one run as one line, which changes with its phase or outcome, not with every second or sample."""
    parts = [run.run, outcome_text(run.verdict.outcome, run.verdict.state)]
    if run.simulated:
        parts.insert(1, "SIMULATED")
    if run.verdict.state is RunState.RUNNING and run.progress.phase:
        parts.append(run.progress.phase)
    if run.verdict.state.final and run.progress.samples_total:
        parts.append(f"{samples_words(run)} samples")
    if run.verdict.reason and run.verdict.outcome is not OutcomeKind.COMPLETED:
        parts.append(safe_text(run.verdict.reason).plain)
    return "  ".join(parts)


def summary(sweep: SweepStatus) -> str:
    """Return the number of runs by outcome or state, in words."""
    counts = Counter(outcome_text(run.verdict.outcome, run.verdict.state) for run in sweep.runs)
    parts = ", ".join(f"{number} {word}" for word, number in sorted(counts.items()))
    documented = f"; plus {counted(len(sweep.documented), 'variant')} documented as not run" if sweep.documented else ""
    return f"{counted(len(sweep.runs), 'run')}: {parts}{documented}" if sweep.runs else "no runs"


def phase_words(run: RunStatus, now: float) -> str:
    """Return the phase of a run and for how long, on the attempt's clock; for an ended run, where it ended."""
    progress, state = run.progress, run.verdict.state
    if state is RunState.FINISHED:
        if run.verdict.outcome is OutcomeKind.COMPLETED and progress.startup_s is not None:
            return f"startup {format_duration(progress.startup_s)}"
        return progress.phase or "-"
    if state is not RunState.RUNNING or progress.phase is None:
        return str(state.value)
    elapsed_s = phase_elapsed_s(run, now)
    words = f"{progress.phase} {format_duration(elapsed_s)}" if elapsed_s is not None else progress.phase
    return f"{words}/{format_duration(progress.phase_budget_s)}" if progress.phase_budget_s else words


def samples_words(run: RunStatus) -> str:
    """Return `3/5`, `3/5 (1 failed)`; a dash if no samples are to be sent."""
    progress = run.progress
    if not progress.samples_total:
        return "-"
    failed = f" ({progress.samples_failed} failed)" if progress.samples_failed else ""
    return f"{progress.samples_done}/{progress.samples_total}{failed}"


def _outcome(run: RunStatus, *, with_reason: bool) -> Text:
    outcome = run.verdict.outcome
    reason, hint = (run.verdict.reason, run.verdict.hint) if with_reason else ("", "")
    if outcome is OutcomeKind.COMPLETED:
        return safe_text("completed", style="green")
    word = outcome_text(outcome, run.verdict.state)
    style = (
        _STYLES.get(run.verdict.state, "") if outcome is None else "dim" if outcome is OutcomeKind.NOT_RUN else "red"
    )
    detail = safe_text(f": {reason}" if reason else "")
    return Text.assemble((word, style), detail, safe_text(f"\nhint: {hint}" if hint else "", style="dim"))

"""One run as the texts of its page: the same facts as `hpcsweep show`."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from hpcsweep.analysis.columns import SampleColumns
from hpcsweep.analysis.rows import AttemptRow, PhaseRow, RunRow, WorkloadRow
from hpcsweep.report import wording
from hpcsweep.report.outcomes import outcome_text
from hpcsweep.report.status.run_page import (
    SAMPLE_COLUMNS,
    command_text,
    ending,
    fact_words,
    failure_lines,
    head_text,
    sample_cells,
    versions_text,
)
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.units import format_duration

MAX_SAMPLES = 20


@dataclass(frozen=True)
class TextTable:
    """A table of texts. `failed`: numbers of the rows in the colour of a failure."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    failed: frozenset[int] = frozenset()
    note: str = ""


@dataclass(frozen=True)
class RunView:
    """The page of a run. `failure`: its lines, the reason first. `hint`: what to do next; empty: nothing."""

    head: tuple[str, ...]
    attempts: tuple[str, ...]
    failure: tuple[str, ...]
    hint: str
    warnings: tuple[str, ...]
    phases: TextTable | None
    facts: tuple[tuple[str, str, str], ...]
    command: str
    versions: str
    workloads: tuple[TextTable, ...]
    left_out: tuple[str, ...]


def run_view(run: RunRow, troubles: Sequence[str]) -> RunView:
    """Return the texts of a run. `troubles`: unreadable lines of its files."""
    attempt = run.last
    others = tuple(f"attempt {other.attempt}: {ending(other)}" for other in run.attempts if other is not attempt)
    head = tuple(head_text(run).splitlines()[1:])
    if attempt is None:
        failure = (f"{outcome_text(run.outcome, run.state)}: {run.reason}",) if run.reason else ()
        return RunView(head, others, failure, "", tuple(troubles), None, (), "", "", (), ())
    lines = tuple(line.plain for line in failure_lines(attempt))
    if not lines and attempt.outcome is None and run.reason:
        lines = (f"{outcome_text(run.outcome, run.state)}: {run.reason}",)
    hint = attempt.hint if lines else ""
    sent = [workload for workload in attempt.workloads if workload.left_out is None]
    notes = [f"{workload.workload}: {warning}" for workload in sent for warning in workload.warnings]
    return RunView(
        head=head,
        attempts=others,
        failure=tuple(line for line in lines if not hint or line != f"hint: {hint}"),
        hint=hint,
        warnings=(*attempt.warnings, *notes, *troubles),
        phases=_phases(attempt) if attempt.phases else None,
        facts=tuple(
            (fact.name, fact_words(fact), fact.source) for fact in {fact.name: fact for fact in attempt.facts}.values()
        ),
        command=command_text(attempt) if attempt.argv else "",
        versions=versions_text(attempt),
        workloads=tuple(_workload(workload) for workload in sent),
        left_out=tuple(
            f"{workload.workload}: {wording.not_applicable(workload.left_out)}"
            for workload in attempt.workloads
            if workload.left_out is not None
        ),
    )


def _phases(attempt: AttemptRow) -> TextTable:
    ready = f"ready after {format_duration(attempt.startup_s)}" if attempt.startup_s is not None else "not ready"
    clock = f", on a clock {attempt.time_scale:g} times faster" if attempt.time_scale != 1 else ""
    failed = attempt.phase if attempt.outcome not in (None, OutcomeKind.COMPLETED) else None
    return TextTable(
        caption=f"Startup: {ready}{clock}",
        columns=("phase", "from", "took", "budget", "evidence"),
        rows=tuple(_phase(row) for row in attempt.phases),
        failed=frozenset(i for i, row in enumerate(attempt.phases) if row.phase is failed),
    )


def _phase(row: PhaseRow) -> tuple[str, ...]:
    took = format_duration(row.end_s - row.start_s) if row.end_s is not None else "under way"
    budget = format_duration(row.budget_s) if row.budget_s is not None else wording.NOTHING
    return row.phase.value, format_duration(row.start_s), took, budget, row.evidence


def _workload(workload: WorkloadRow) -> TextTable:
    columns = workload.columns or SampleColumns.from_rows(workload.samples)
    took = ", ".join(format_duration(duration_s) for duration_s in workload.durations_s) or "not ended"
    shown = min(MAX_SAMPLES, len(columns))
    cells = [sample_cells(columns, i) for i in range(shown)]
    return TextTable(
        caption=f"Workload {workload.workload}: {len(columns)} of {workload.samples_total} samples, {took}",
        columns=(*SAMPLE_COLUMNS, "remarks"),
        rows=tuple(tuple(cell.plain if isinstance(cell, Text) else cell for cell in row) for row in cells),
        failed=frozenset(i for i in range(shown) if columns.error[i]),
        note=f"The first {shown} of {len(columns)} samples." if shown < len(columns) else "",
    )

"""`hpcsweep explain`: what a log shows, the answer first; as a document and as JSON (docs/json.md)."""

from typing import Any

from hpcsweep.imports.explanation import LogExplanation, PhaseSpan, RecordedEnd
from hpcsweep.report.document import Block, Bullets, Code, Document, Paragraph, Section, Table
from hpcsweep.report.status.run_page import fact_words
from hpcsweep.spec.phases import Phase
from hpcsweep.units import counted, format_duration

_EVIDENCE_CELLS = 80


def explanation_document(name: str, found: LogExplanation, recorded: RecordedEnd | None) -> Document:
    """Arrange an explanation for a terminal. `name`: of the log. `recorded`: what the agent itself decided."""
    sections = [Section("Why", tuple(_why(found, recorded)))]
    if found.phases:
        sections.append(Section("Startup", (_phases(found),)))
    if found.facts:
        rows = tuple((fact.name, fact_words(fact)) for fact in found.facts)
        sections.append(Section("Facts", (Table(("fact", "value"), rows),)))
    return Document(f"{_headline(found, recorded)} ({name})", tuple(sections))


def _headline(found: LogExplanation, recorded: RecordedEnd | None) -> str:
    """The answer in a few words."""
    if recorded is not None:
        return recorded.outcome + (f" in phase {recorded.phase}" if recorded.phase else "")
    if found.outcome is not None:
        return found.outcome.value + (f" in phase {found.phase.value}" if found.phases else "")
    if found.scheduler is not None:
        return f"message of {found.scheduler}"
    if found.ready:
        return "the server became ready; no failure found"
    if found.phases:
        return f"no failure found; the log ends in phase {found.phase.value}"
    return "no failure found"


def _why(found: LogExplanation, recorded: RecordedEnd | None) -> list[Block]:
    blocks: list[Block] = []
    if recorded is not None:
        blocks.append(Paragraph(recorded.reason, strong=True))
    if found.reason and (recorded is None or found.reason not in recorded.reason):
        blocks.append(Paragraph(f"In the log: {found.reason}" if recorded else found.reason, strong=recorded is None))
    hint = found.hint or (recorded.hint if recorded else "")
    if recorded is not None and recorded.hint and recorded.hint != hint:
        blocks.append(Paragraph(f"hint: {recorded.hint}"))
    if hint:
        blocks.append(Paragraph(f"hint: {hint}"))
    elif not found.reason and recorded is None:
        blocks.append(Paragraph(_no_reason(found)))
    if found.decided_by:
        blocks.append(Paragraph(f"decided by: {found.decided_by}"))
    if found.evidence_line is not None and found.evidence:
        blocks.append(Code(f"line {found.evidence_line}: {found.evidence}"))
    if found.tail:
        blocks += [Paragraph("The last lines:"), Code("\n".join(line[:300] for line in found.tail))]
    blocks.append(Bullets((_read(found),)))
    return blocks


def _no_reason(found: LogExplanation) -> str:
    if found.ready:
        return (
            "If the server ended later, it printed no error. The scheduler's record of the job may show how it ended."
        )
    if found.lines == 0:
        return "The log is empty: the program may not have started. Look at the output of the job itself."
    if found.phases:
        return (
            f"No line shows an error. If the server ended in phase {found.phase.value}, it was probably ended from "
            "outside: look at the scheduler's record of the job and at the node's memory (dmesg)."
        )
    return "No line shows an error that is known here. With --engine NAME the log is read as that engine's."


def _read(found: LogExplanation) -> str:
    """How the log was read."""
    engine = "no engine recognised"
    if found.engine is not None:
        engine = found.engine + (f" {found.version}" if found.version else "")
        engine += " (recognised from the log)" if found.recognised else ""
    elif found.scheduler is not None:
        engine = f"text of {found.scheduler}"
    span = f" over {format_duration(found.lasted_s)}" if found.lasted_s else ""
    return f"read as: {engine}; {counted(found.lines, 'line')}{span}"


def _phases(found: LogExplanation) -> Table:
    rows = tuple(_row(span) for span in found.phases if span.phase is not Phase.LAUNCH or span.took_s)
    note = (
        "Times are those in the log, from its first one."
        if any(span.start_s is not None for span in found.phases)
        else ""
    )
    return Table(("phase", "from", "took", "evidence"), rows, note or "The log has no times.")


def _row(span: PhaseSpan) -> tuple[str, ...]:
    start = "-" if span.start_s is None else format_duration(span.start_s)
    took = "-" if span.took_s is None else format_duration(span.took_s)
    return span.phase.value, start, took, span.evidence[:_EVIDENCE_CELLS]


def explanation_json(name: str, found: LogExplanation, recorded: RecordedEnd | None) -> dict[str, Any]:
    """Return the explanation as plain values; docs/json.md describes the keys."""
    return {
        "file": name,
        "engine": found.engine,
        "engine_recognised": found.recognised,
        "engine_version": found.version,
        "lines": found.lines,
        "lasted_s": found.lasted_s,
        "ready": found.ready,
        "phase": found.phase.value,
        "outcome": found.outcome.value if found.outcome else None,
        "reason": found.reason,
        "hint": found.hint,
        "hint_id": found.code,
        "decided_by": found.decided_by,
        "scheduler": found.scheduler,
        "evidence": found.evidence,
        "evidence_line": found.evidence_line,
        "phases": [
            {"phase": span.phase.value, "start_s": span.start_s, "took_s": span.took_s, "evidence": span.evidence}
            for span in found.phases
        ],
        "facts": {fact.name: {"value": fact.value, "unit": fact.unit} for fact in found.facts},
        "last_lines": list(found.tail),
        "recorded": None if recorded is None else vars(recorded).copy(),
    }

"""Arrange the explanation of a log as a document, the result first, and as JSON (docs/json.md)."""

from typing import Any

from hpcsweep.imports.explanation import LogExplanation, PhaseSpan, RecordedEnd
from hpcsweep.report.document import Block, Bullets, Code, Document, Paragraph, Section, Table
from hpcsweep.report.status.run_page import fact_words
from hpcsweep.spec.phases import Phase
from hpcsweep.units import counted, format_duration

_EVIDENCE_CELLS = 80


def explanation_document(name: str, explanation: LogExplanation, recorded: RecordedEnd | None) -> Document:
    """Arrange an explanation for a terminal. `name`: of the log. `recorded`: the agent's own end record."""
    sections = [Section("Why", tuple(_why(explanation, recorded)))]
    if explanation.phases:
        sections.append(Section("Startup", (_phases(explanation),)))
    if explanation.facts:
        rows = tuple((fact.name, fact_words(fact)) for fact in explanation.facts)
        sections.append(Section("Facts", (Table(("fact", "value"), rows),)))
    return Document(f"{_headline(explanation, recorded)} ({name})", tuple(sections))


def _headline(explanation: LogExplanation, recorded: RecordedEnd | None) -> str:
    """Return the result in a few words."""
    if recorded is not None:
        return recorded.outcome + (f" in phase {recorded.phase}" if recorded.phase else "")
    if explanation.outcome is not None:
        return explanation.outcome.value + (f" in phase {explanation.phase.value}" if explanation.phases else "")
    if explanation.scheduler is not None:
        return f"{explanation.scheduler} message"
    if explanation.ready:
        return "the server became ready; no failure found"
    if explanation.phases:
        return f"no failure found; the log ends in phase {explanation.phase.value}"
    return "no failure found"


def _why(explanation: LogExplanation, recorded: RecordedEnd | None) -> list[Block]:
    blocks: list[Block] = []
    if recorded is not None:
        blocks.append(Paragraph(recorded.reason, strong=True))
    if explanation.reason and (recorded is None or explanation.reason not in recorded.reason):
        blocks.append(
            Paragraph(f"In the log: {explanation.reason}" if recorded else explanation.reason, strong=recorded is None)
        )
    hint = explanation.hint or (recorded.hint if recorded else "")
    if recorded is not None and recorded.hint and recorded.hint != hint:
        blocks.append(Paragraph(f"hint: {recorded.hint}"))
    if hint:
        blocks.append(Paragraph(f"hint: {hint}"))
    elif not explanation.reason and recorded is None:
        blocks.append(Paragraph(_no_reason(explanation)))
    if explanation.decided_by:
        blocks.append(Paragraph(f"decided by: {explanation.decided_by}"))
    if explanation.evidence_line is not None and explanation.evidence:
        blocks.append(Code(f"line {explanation.evidence_line}: {explanation.evidence}"))
    if explanation.tail:
        blocks += [Paragraph("The last lines:"), Code("\n".join(line[:300] for line in explanation.tail))]
    blocks.append(Bullets((_read(explanation),)))
    return blocks


def _no_reason(explanation: LogExplanation) -> str:
    if explanation.ready:
        return "If the server exited later, it did not log an error. Check the scheduler's record of the job."
    if explanation.lines == 0:
        return "The log is empty; the program may not have started. Check the output of the job."
    if explanation.phases:
        return (
            f"No error was logged. If the server exited in phase {explanation.phase.value}, it was probably killed: "
            "check the scheduler's record of the job and the node's memory (dmesg)."
        )
    return "No known error was found. Use --engine NAME to read the log as that engine's."


def _read(explanation: LogExplanation) -> str:
    """Return how the log was read."""
    engine = "unknown engine"
    if explanation.engine is not None:
        engine = explanation.engine + (f" {explanation.version}" if explanation.version else "")
        engine += " (recognised from the log)" if explanation.recognised else ""
    elif explanation.scheduler is not None:
        engine = f"{explanation.scheduler} messages"
    span = f" over {format_duration(explanation.lasted_s)}" if explanation.lasted_s else ""
    return f"read as: {engine}; {counted(explanation.lines, 'line')}{span}"


def _phases(explanation: LogExplanation) -> Table:
    rows = tuple(_row(span) for span in explanation.phases if span.phase is not Phase.LAUNCH or span.took_s)
    note = (
        "Times are from the log, relative to its first time."
        if any(span.start_s is not None for span in explanation.phases)
        else ""
    )
    return Table(("phase", "from", "took", "evidence"), rows, note or "The log does not have times.")


def _row(span: PhaseSpan) -> tuple[str, ...]:
    start = "-" if span.start_s is None else format_duration(span.start_s)
    took = "-" if span.took_s is None else format_duration(span.took_s)
    return span.phase.value, start, took, span.evidence[:_EVIDENCE_CELLS]


def explanation_json(name: str, explanation: LogExplanation, recorded: RecordedEnd | None) -> dict[str, Any]:
    """Return the explanation as plain values; docs/json.md describes the keys."""
    return {
        "file": name,
        "engine": explanation.engine,
        "engine_recognised": explanation.recognised,
        "engine_version": explanation.version,
        "lines": explanation.lines,
        "lasted_s": explanation.lasted_s,
        "ready": explanation.ready,
        "phase": explanation.phase.value,
        "outcome": explanation.outcome.value if explanation.outcome else None,
        "reason": explanation.reason,
        "hint": explanation.hint,
        "hint_id": explanation.code,
        "decided_by": explanation.decided_by,
        "scheduler": explanation.scheduler,
        "evidence": explanation.evidence,
        "evidence_line": explanation.evidence_line,
        "phases": [
            {"phase": span.phase.value, "start_s": span.start_s, "took_s": span.took_s, "evidence": span.evidence}
            for span in explanation.phases
        ],
        "facts": {fact.name: {"value": fact.value, "unit": fact.unit} for fact in explanation.facts},
        "last_lines": list(explanation.tail),
        "recorded": None if recorded is None else vars(recorded).copy(),
    }

"""Arrange the results of an import or a check for a terminal and as JSON (docs/import.md)."""

from collections.abc import Sequence
from typing import Any

from hpcsweep.check.findings import BAD, ClaimFinding, ClaimVerdict
from hpcsweep.check.recomputed.sample_tables import warm_mean
from hpcsweep.imports.documents.model import Benchmark, ImportedDocument, SampleTable
from hpcsweep.imports.documents.numbers import shown
from hpcsweep.report.document import Block, Bullets, Document, Paragraph, Section, Table
from hpcsweep.report.formats.terminal import MAX_ITEMS, MAX_ROWS
from hpcsweep.units import counted

IMPORT_SCHEMA = "hpcsweep.import/1"
CHECK_SCHEMA = "hpcsweep.check/1"

_COLUMNS = (
    ("completed", "Requests"), ("duration", "Duration (s)"), ("output_throughput", "Output tok/s"),
    ("total_token_throughput", "Total tok/s"), ("mean_ttft_ms", "TTFT (ms)"), ("mean_tpot_ms", "TPOT (ms)"),
)  # fmt: skip


def import_document(files: Sequence[ImportedDocument], findings: Sequence[Sequence[ClaimFinding]]) -> Document:
    """Return the contents of each file, and the figures that are inconsistent."""
    sections = []
    for document, checked in zip(files, findings, strict=True):
        sections.append(Section(f"{document.file}: {document.form}, {_counts(document)}", tuple(_blocks(document)), 2))
        sections.append(Section("Recomputed", tuple(_recomputed(checked)), 3))
        if document.skipped:
            sections.append(Section("Not imported", tuple(_not_taken(document)), 3))
    return Document("Imported", tuple(sections))


_SECTIONS = (
    ("Wrong or unsupported", BAD),
    ("Within the noise", (ClaimVerdict.NOISE,)),
    ("Notes", (ClaimVerdict.NOTE,)),
)


def check_document(
    file: str, findings: Sequence[ClaimFinding], document: ImportedDocument, *, verbose: bool = False
) -> Document:
    """Return every claim of a report with its verdict, wrong and unsupported claims first.

    `verbose`: also the claims that cannot be checked.
    """
    sections = [Section("Verdict", (Paragraph(summary(findings), strong=True),))]
    for title, verdicts in _SECTIONS:
        members = [finding for finding in findings if finding.verdict in verdicts]
        if members:
            sections.append(Section(title, tuple(_listed(members))))
    good = [finding for finding in findings if finding.verdict is ClaimVerdict.CONFIRMED]
    if good:
        sections.append(Section("Confirmed", tuple(_tables(good))))
    unknown = [finding for finding in findings if finding.verdict is ClaimVerdict.NOT_CHECKED]
    if verbose and unknown:
        sections.append(Section("Cannot be checked", tuple(_listed(unknown))))
    if document.skipped:
        sections.append(Section("Not read", tuple(_not_taken(document))))
    return Document(file, tuple(sections))


_PLURAL = {ClaimVerdict.DOES_NOT_FOLLOW: "do not follow"}


def summary(findings: Sequence[ClaimFinding]) -> str:
    """Return the number of findings of each verdict, in a sentence."""
    counts = [(verdict, sum(finding.verdict is verdict for finding in findings)) for verdict in ClaimVerdict]
    names = {
        verdict: _PLURAL.get(verdict, verdict.value) if number > 1 else verdict.value for verdict, number in counts
    }
    parts = [f"{number} {names[verdict]}" for verdict, number in counts if number]
    return (
        f"{counted(len(findings), 'claim')}: {', '.join(parts)}."
        if parts
        else "No claims that can be recomputed were found."
    )


def _counts(document: ImportedDocument) -> str:
    parts = [
        (len(document.benchmarks), "benchmark"),
        (len(document.sample_tables), "sample table"),
        (len(document.failures), "failed block"),
        (len(document.commands), "serve command"),
        (len(document.tables), "other table"),
    ]
    return ", ".join(counted(number, noun) for number, noun in parts if number) or "no known content"


def _blocks(document: ImportedDocument) -> list[Block]:
    blocks: list[Block] = []
    if document.benchmarks:
        rows = [_row(benchmark) for benchmark in document.benchmarks]
        rows += [
            (failure.label, str(failure.location.line), "failed", *("",) * (len(_COLUMNS) - 1))
            for failure in document.failures
        ]
        titles = ("Block", "Line", *(title for _, title in _COLUMNS))
        tools = " and ".join(sorted({benchmark.tool for benchmark in document.benchmarks}))
        note = f"Means of {tools}; `--json` has every figure."
        note += " Failed: an error in place of a result." if document.failures else ""
        blocks += [Table(titles, tuple(rows[at : at + MAX_ROWS]), note) for at in range(0, len(rows), MAX_ROWS)]
    if document.sample_tables:
        titles = ("Table", "Line", "Workload", "Samples", "Stated mean TPS", "Mean TPS", "Mean TPS without the first")
        blocks.append(Table(titles, tuple(_samples_row(table) for table in document.sample_tables)))
    return blocks


def _row(benchmark: Benchmark) -> tuple[str, ...]:
    if benchmark.has_failed:
        return (benchmark.label, str(benchmark.location.line), "all failed", *("",) * (len(_COLUMNS) - 1))
    values = [benchmark.value(name) for name, _ in _COLUMNS]
    return (benchmark.label, str(benchmark.location.line), *("" if v is None else shown(v) for v in values))


def _samples_row(table: SampleTable) -> tuple[str, ...]:
    stated_tps, means = table.averages.get("tps"), warm_mean(table)
    everything, warm = (shown(means.everything), shown(means.warm)) if means else ("", "")
    stated = shown(stated_tps.value) if stated_tps else ""
    return (table.label, str(table.location.line), table.group, str(len(table.samples)), stated, everything, warm)


def _recomputed(findings: Sequence[ClaimFinding]) -> list[Block]:
    bad = [finding for finding in findings if finding.verdict is not ClaimVerdict.CONFIRMED]
    confirmed = f"{len(findings) - len(bad)} of {len(findings)} recomputed figures are confirmed."
    if not findings:
        confirmed = "None of its figures can be recomputed."
    return [Paragraph(confirmed, strong=bool(bad)), *_listed(bad)]


def _not_taken(document: ImportedDocument) -> list[Block]:
    items = [f"line {item.location.line}: {item.what}: {item.why}" for item in document.skipped]
    return [Bullets(tuple(items[at : at + MAX_ITEMS])) for at in range(0, len(items), MAX_ITEMS)]


def _listed(findings: Sequence[ClaimFinding]) -> list[Block]:
    """Return findings as sentences, since reasons need the width of the terminal."""
    items = []
    for finding in findings:
        verdict = f"line {finding.location.line}: {finding.verdict_text.upper()}"
        items.append(f"{verdict}: {finding.claim} ({finding.about}): {finding.reason}")
    return [Bullets(tuple(items[at : at + MAX_ITEMS])) for at in range(0, len(items), MAX_ITEMS)]


def _tables(findings: Sequence[ClaimFinding]) -> list[Block]:
    """Return confirmed findings in tables short enough for a terminal."""
    rows = _rows(findings)
    titles = ("Line", "Claim", "Recomputed", "From")
    return [Table(titles, rows[at : at + MAX_ROWS]) for at in range(0, len(rows), MAX_ROWS)]


def _rows(findings: Sequence[ClaimFinding]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            str(finding.location.line),
            finding.claim,
            "" if finding.recomputed is None else f"{shown(finding.recomputed)} {finding.unit}".strip(),
            finding.reason,
        )
        for finding in findings
    )


def import_json(files: Sequence[ImportedDocument], findings: Sequence[Sequence[ClaimFinding]]) -> dict[str, Any]:
    """Return an import as JSON values, with times in the units of their names."""
    return {
        "schema": IMPORT_SCHEMA,
        "files": [
            {
                "file": document.file,
                "form": document.form,
                "benchmarks": [_benchmark_json(benchmark) for benchmark in document.benchmarks],
                "sample_tables": [_samples_json(table) for table in document.sample_tables],
                "failures": [
                    {"label": failure.label, "line": failure.location.line, "text": failure.text}
                    for failure in document.failures
                ],
                "commands": [
                    {"line": command.location.line, "argv": list(command.argv), "recommended": command.recommended}
                    for command in document.commands
                ],
                "findings": [finding_json(finding) for finding in checked],
                "skipped": [
                    {"line": item.location.line, "what": item.what, "why": item.why} for item in document.skipped
                ],
            }
            for document, checked in zip(files, findings, strict=True)
        ],
    }


def check_json(file: str, findings: Sequence[ClaimFinding], document: ImportedDocument) -> dict[str, Any]:
    """Return the findings of a check as JSON values."""
    return {
        "schema": CHECK_SCHEMA,
        "file": file,
        "counts": {verdict.value: sum(finding.verdict is verdict for finding in findings) for verdict in ClaimVerdict},
        "findings": [finding_json(finding) for finding in findings],
        "skipped": [{"line": item.location.line, "what": item.what, "why": item.why} for item in document.skipped],
    }


def finding_json(finding: ClaimFinding) -> dict[str, Any]:
    """Return a finding as JSON values; missing numbers are null."""
    return {
        "file": finding.location.file,
        "line": finding.location.line,
        "about": finding.about,
        "kind": finding.kind.value,
        "claim": finding.claim,
        "stated": finding.stated,
        "recomputed": finding.recomputed,
        "difference": finding.difference,
        "unit": finding.unit,
        "verdict": finding.verdict.value,
        "reason": finding.reason,
        "sources": list(finding.sources),
    }


def _benchmark_json(benchmark: Benchmark) -> dict[str, Any]:
    return {
        "label": benchmark.label,
        "line": benchmark.location.line,
        "tool": benchmark.tool,
        "command": benchmark.context.command,
        "settings": dict(benchmark.settings),
        "figures": {name: number.value for name, number in benchmark.figures.items()},
        "samples": len(benchmark.samples),
        "unread": list(benchmark.unread),
        "parameters": dict(benchmark.parameters),
        "workload": benchmark.workload,
        "repeat": benchmark.repeat,
    }


def _samples_json(table: SampleTable) -> dict[str, Any]:
    return {
        "label": table.label,
        "line": table.location.line,
        "workload": table.group,
        "averages": {name: number.value for name, number in table.averages.items()},
        "samples": [
            {
                "sample": sample.name,
                "line": sample.line,
                "prompt_tokens": sample.prompt_tokens,
                "completion_tokens": sample.completion_tokens,
                "e2e_s": sample.e2e_s.value if sample.e2e_s else None,
                "tps": sample.tps.value if sample.tps else None,
                "ttft_s": sample.ttft_s.value if sample.ttft_s else None,
            }
            for sample in table.samples
        ],
    }

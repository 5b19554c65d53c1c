"""What an import or a check found, for a terminal and as JSON (see docs/import.md)."""

from collections.abc import Sequence
from typing import Any

from hpcsweep.check.findings import BAD, ClaimFinding, ClaimVerdict
from hpcsweep.check.recomputed.sample_tables import warm_mean
from hpcsweep.imports.documents.model import Benchmark, ImportedDocument, SampleTable
from hpcsweep.imports.documents.numbers import shown
from hpcsweep.report.document import Block, Bullets, Document, Paragraph, Section, Table
from hpcsweep.report.formats.terminal import MAX_ITEMS, MAX_ROWS

IMPORT_SCHEMA = "hpcsweep.import/1"
CHECK_SCHEMA = "hpcsweep.check/1"

_COLUMNS = (
    ("completed", "Requests"), ("duration", "Duration (s)"), ("output_throughput", "Output tok/s"),
    ("total_token_throughput", "Total tok/s"), ("mean_ttft_ms", "TTFT (ms)"), ("mean_tpot_ms", "TPOT (ms)"),
)  # fmt: skip


def import_document(files: Sequence[ImportedDocument], findings: Sequence[Sequence[ClaimFinding]]) -> Document:
    """What stands in each file, and what does not add up."""
    sections = []
    for found, checked in zip(files, findings, strict=True):
        sections.append(Section(f"{found.file}: {found.form}, {_counts(found)}", tuple(_blocks(found)), 2))
        sections.append(Section("Recomputed", tuple(_recomputed(checked)), 3))
        if found.skipped:
            sections.append(Section("Not taken", tuple(_not_taken(found)), 3))
    return Document("Imported", tuple(sections))


_SECTIONS = (
    ("What does not hold", BAD),
    ("Inside the noise", (ClaimVerdict.NOISE,)),
    ("Worth knowing", (ClaimVerdict.NOTE,)),
)


def check_document(
    file: str, findings: Sequence[ClaimFinding], found: ImportedDocument, *, verbose: bool = False
) -> Document:
    """Return every claim of a report with its verdict, those that do not hold first.

    `verbose`: also the claims that cannot be checked.
    """
    sections = [Section("Verdict", (Paragraph(summary(findings), strong=True),))]
    for title, verdicts in _SECTIONS:
        members = [one for one in findings if one.verdict in verdicts]
        if members:
            sections.append(Section(title, tuple(_listed(members))))
    good = [one for one in findings if one.verdict is ClaimVerdict.CONFIRMED]
    if good:
        sections.append(Section("Confirmed", tuple(_tables(good))))
    unknown = [one for one in findings if one.verdict is ClaimVerdict.NOT_CHECKED]
    if verbose and unknown:
        sections.append(Section("Cannot be checked", tuple(_listed(unknown))))
    if found.skipped:
        sections.append(Section("Not read", tuple(_not_taken(found))))
    return Document(file, tuple(sections))


def summary(findings: Sequence[ClaimFinding]) -> str:
    """The number of findings of each verdict, in one sentence."""
    counts = [(verdict, sum(one.verdict is verdict for one in findings)) for verdict in ClaimVerdict]
    told = [f"{number} {verdict.value}" for verdict, number in counts if number]
    return f"{len(findings)} claims: {', '.join(told)}." if told else "No claim that could be recomputed was found."


def _counts(found: ImportedDocument) -> str:
    parts = [(len(found.benchmarks), "benchmarks"), (len(found.sample_tables), "tables of samples")]
    parts += [(len(found.failures), "failed"), (len(found.commands), "serve commands"), (len(found.tables), "tables")]
    return ", ".join(f"{number} {what}" for number, what in parts if number) or "nothing that is known"


def _blocks(found: ImportedDocument) -> list[Block]:
    blocks: list[Block] = []
    if found.benchmarks:
        rows = [_row(one) for one in found.benchmarks]
        rows += [(one.label, str(one.place.line), "failed", *("",) * (len(_COLUMNS) - 1)) for one in found.failures]
        titles = ("Block", "Line", *(title for _, title in _COLUMNS))
        note = f"Means of {' and '.join(sorted({one.tool for one in found.benchmarks}))}; `--json` has every figure."
        note += " Failed: a result is announced, and an error stands there." if found.failures else ""
        blocks += [Table(titles, tuple(rows[at : at + MAX_ROWS]), note) for at in range(0, len(rows), MAX_ROWS)]
    if found.sample_tables:
        titles = ("Table", "Line", "Workload", "Samples", "Average TPS stated", "TPS of all", "TPS without the first")
        blocks.append(Table(titles, tuple(_samples_row(one) for one in found.sample_tables)))
    return blocks


def _row(one: Benchmark) -> tuple[str, ...]:
    if one.has_failed:
        return (one.label, str(one.place.line), "all failed", *("",) * (len(_COLUMNS) - 1))
    values = [one.value(name) for name, _ in _COLUMNS]
    return (one.label, str(one.place.line), *("" if v is None else shown(v) for v in values))


def _samples_row(one: SampleTable) -> tuple[str, ...]:
    said, means = one.averages.get("tps"), warm_mean(one)
    everything, warm = (shown(means.everything), shown(means.warm)) if means else ("", "")
    stated = shown(said.value) if said else ""
    return (one.label, str(one.place.line), one.group, str(len(one.samples)), stated, everything, warm)


def _recomputed(findings: Sequence[ClaimFinding]) -> list[Block]:
    bad = [one for one in findings if one.verdict is not ClaimVerdict.CONFIRMED]
    confirmed = f"{len(findings) - len(bad)} of {len(findings)} recomputed figures are confirmed."
    if not findings:
        confirmed = "Nothing in it can be recomputed."
    return [Paragraph(confirmed, strong=bool(bad)), *_listed(bad)]


def _not_taken(found: ImportedDocument) -> list[Block]:
    items = [f"line {one.place.line}: {one.what}: {one.why}" for one in found.skipped]
    return [Bullets(tuple(items[at : at + MAX_ITEMS])) for at in range(0, len(items), MAX_ITEMS)]


def _listed(findings: Sequence[ClaimFinding]) -> list[Block]:
    """Findings in words: what does not hold needs its reason, and a reason needs the width of the terminal."""
    items = [
        f"line {one.place.line}: {one.verdict_text.upper()}: {one.claim} ({one.about}): {one.reason}"
        for one in findings
    ]
    return [Bullets(tuple(items[at : at + MAX_ITEMS])) for at in range(0, len(items), MAX_ITEMS)]


def _tables(findings: Sequence[ClaimFinding]) -> list[Block]:
    """Confirmed findings, in tables so short that no terminal cuts them."""
    rows = _rows(findings)
    titles = ("Line", "Claim", "Recomputed", "From")
    return [Table(titles, rows[at : at + MAX_ROWS]) for at in range(0, len(rows), MAX_ROWS)]


def _rows(findings: Sequence[ClaimFinding]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            str(one.place.line),
            one.claim,
            "" if one.recomputed is None else f"{shown(one.recomputed)} {one.unit}".strip(),
            one.reason,
        )
        for one in findings
    )


def import_json(files: Sequence[ImportedDocument], findings: Sequence[Sequence[ClaimFinding]]) -> dict[str, Any]:
    """The same as JSON values; times in the units of the names."""
    return {
        "schema": IMPORT_SCHEMA,
        "files": [
            {
                "file": found.file,
                "form": found.form,
                "benchmarks": [_benchmark_json(one) for one in found.benchmarks],
                "sample_tables": [_samples_json(one) for one in found.sample_tables],
                "failures": [{"label": one.label, "line": one.place.line, "text": one.text} for one in found.failures],
                "commands": [
                    {"line": one.place.line, "argv": list(one.argv), "recommended": one.recommended}
                    for one in found.commands
                ],
                "findings": [finding_json(one) for one in checked],
                "skipped": [{"line": one.place.line, "what": one.what, "why": one.why} for one in found.skipped],
            }
            for found, checked in zip(files, findings, strict=True)
        ],
    }


def check_json(file: str, findings: Sequence[ClaimFinding], found: ImportedDocument) -> dict[str, Any]:
    """The findings of a check as JSON values."""
    return {
        "schema": CHECK_SCHEMA,
        "file": file,
        "counts": {verdict.value: sum(one.verdict is verdict for one in findings) for verdict in ClaimVerdict},
        "findings": [finding_json(one) for one in findings],
        "skipped": [{"line": one.place.line, "what": one.what, "why": one.why} for one in found.skipped],
    }


def finding_json(one: ClaimFinding) -> dict[str, Any]:
    """One finding; numbers that there are none of are null."""
    return {
        "file": one.place.file,
        "line": one.place.line,
        "about": one.about,
        "kind": one.kind,
        "claim": one.claim,
        "stated": one.stated,
        "recomputed": one.recomputed,
        "difference": one.difference,
        "unit": one.unit,
        "verdict": one.verdict.value,
        "reason": one.reason,
        "sources": list(one.sources),
    }


def _benchmark_json(one: Benchmark) -> dict[str, Any]:
    return {
        "label": one.label,
        "line": one.place.line,
        "tool": one.tool,
        "command": one.context.command,
        "settings": dict(one.settings),
        "figures": {name: number.value for name, number in one.figures.items()},
        "samples": len(one.samples),
        "unread": list(one.unread),
        "parameters": dict(one.parameters),
        "workload": one.workload,
        "repeat": one.repeat,
    }


def _samples_json(one: SampleTable) -> dict[str, Any]:
    return {
        "label": one.label,
        "line": one.place.line,
        "workload": one.group,
        "averages": {name: number.value for name, number in one.averages.items()},
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
            for sample in one.samples
        ],
    }

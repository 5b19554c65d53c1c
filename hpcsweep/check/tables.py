"""Check the summary tables of a report: their speeds and the changes that they state."""

from collections.abc import Sequence

from hpcsweep.check.claim import cell_claim
from hpcsweep.check.claims.labelled_blocks import LabelledBlocks
from hpcsweep.check.claims.table_changes import table_changes
from hpcsweep.check.findings import ClaimFinding, ClaimKind, ClaimVerdict
from hpcsweep.check.recomputed.summary_tables import against_baseline, sample_cells
from hpcsweep.check.recomputed.tracing import Tracer, table_cells
from hpcsweep.imports.documents.model import ImportedDocument, Location, ParsedTable


def check_tables(
    document: ImportedDocument, tracer: Tracer, labelled: LabelledBlocks, of_lines: Sequence[ClaimFinding]
) -> tuple[list[ClaimFinding], set[int]]:
    """Return the findings on every table, and the indexes in `of_lines` of the findings that they replace."""
    open_claims: dict[tuple[int, str], list[int]] = {}
    settled: dict[tuple[int, str], object] = {}
    for at, finding in enumerate(of_lines):
        key = (finding.location.line, finding.claim)
        if finding.verdict is ClaimVerdict.NOT_CHECKED:
            open_claims.setdefault(key, []).append(at)
        elif finding.kind in (ClaimKind.PERCENT, ClaimKind.RATIO):
            settled[key] = finding
    findings: list[ClaimFinding] = []
    replaced: set[int] = set()
    for table in (*document.tables, *document.result_tables):
        rows = dict(table.rows)
        changes = [
            _by_label(finding, table, rows[finding.location.line], labelled)
            for finding in table_changes(table, settled)
        ]
        for finding in changes:
            replaced.update(open_claims.get((finding.location.line, finding.claim), ()))
        findings += changes
    for table in document.tables:
        findings += sample_cells(table, document)
        if document.benchmarks:
            findings += table_cells(table, tracer)
        findings += against_baseline(table, document.sample_tables)
    return findings, replaced


def _by_label(finding: ClaimFinding, table: ParsedTable, row: Sequence[str], labelled: LabelledBlocks) -> ClaimFinding:
    """Return the finding on a change by the blocks that its row names, where the table does not have the numbers."""
    if finding.verdict is not ClaimVerdict.NOT_CHECKED:
        return finding
    for title, cell in zip(table.columns, row, strict=False):
        claim = cell_claim(cell)
        if claim is not None and claim.text == finding.claim:
            judged = labelled.judge(
                claim, Location(table.location.file, finding.location.line), finding.about, row[0], title, whole=True
            )
            return judged or finding
    return finding

"""Check the summary tables of a report: their speeds, and the changes that they state."""

from collections.abc import Sequence

from hpcsweep.check.claims.claim import cell_claim
from hpcsweep.check.claims.labelled_blocks import LabelledBlocks
from hpcsweep.check.claims.table_changes import table_changes
from hpcsweep.check.findings import ClaimFinding, ClaimVerdict
from hpcsweep.check.recomputed.summary_tables import against_baseline, sample_cells
from hpcsweep.check.recomputed.tracing import Tracer, table_cells
from hpcsweep.imports.documents.model import ImportedDocument, Location, ParsedTable


def check_tables(
    found: ImportedDocument, tracer: Tracer, labelled: LabelledBlocks, of_lines: Sequence[ClaimFinding]
) -> tuple[list[ClaimFinding], set[int]]:
    """Return the findings on every table, and the places in `of_lines` of findings that they replace."""
    open_claims: dict[tuple[int, str], list[int]] = {}
    settled: dict[tuple[int, str], object] = {}
    for at, one in enumerate(of_lines):
        key = (one.place.line, one.claim)
        if one.verdict is ClaimVerdict.NOT_CHECKED:
            open_claims.setdefault(key, []).append(at)
        elif one.kind in ("percent", "ratio"):
            settled[key] = one
    findings: list[ClaimFinding] = []
    replaced: set[int] = set()
    for table in (*found.tables, *found.result_tables):
        rows = dict(table.rows)
        changes = [_by_label(one, table, rows[one.place.line], labelled) for one in table_changes(table, settled)]
        for one in changes:
            replaced.update(open_claims.get((one.place.line, one.claim), ()))
        findings += changes
    for table in found.tables:
        findings += sample_cells(table, found)
        if found.benchmarks:
            findings += table_cells(table, tracer)
        findings += against_baseline(table, found.sample_tables)
    return findings, replaced


def _by_label(one: ClaimFinding, table: ParsedTable, row: Sequence[str], labelled: LabelledBlocks) -> ClaimFinding:
    """Return the finding on a change by the blocks that the name of its row names, where the table has no numbers."""
    if one.verdict is not ClaimVerdict.NOT_CHECKED:
        return one
    for title, cell in zip(table.columns, row, strict=False):
        claim = cell_claim(cell)
        if claim is not None and claim.text == one.claim:
            found = labelled.judge(
                claim, Location(table.place.file, one.place.line), one.about, row[0], title, whole=True
            )
            return found or one
    return one

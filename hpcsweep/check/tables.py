"""Check the summary tables of a report: their speeds, and the changes that they state."""

from collections.abc import Sequence

from hpcsweep.check.claims.block_changes import LabelledBlocks
from hpcsweep.check.claims.change_tables import table_changes
from hpcsweep.check.claims.find import cell_claim
from hpcsweep.check.findings import Finding, Verdict
from hpcsweep.check.recomputed.sample_summaries import against_baseline, sample_cells
from hpcsweep.check.recomputed.traced import Tracer, table_cells
from hpcsweep.imports.documents.blocks import Imported, Place, Table


def check_tables(
    found: Imported, tracer: Tracer, labelled: LabelledBlocks, of_lines: Sequence[Finding]
) -> tuple[list[Finding], set[int]]:
    """Return the findings on every table, and the places in `of_lines` of findings that they replace."""
    open_claims: dict[tuple[int, str], list[int]] = {}
    settled: dict[tuple[int, str], object] = {}
    for at, one in enumerate(of_lines):
        key = (one.place.line, one.claim)
        if one.verdict is Verdict.NOT_CHECKED:
            open_claims.setdefault(key, []).append(at)
        elif one.kind in ("percent", "ratio"):
            settled[key] = one
    findings: list[Finding] = []
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


def _by_label(one: Finding, table: Table, row: Sequence[str], labelled: LabelledBlocks) -> Finding:
    """Return the finding on a change by the blocks that the name of its row names, where the table has no numbers."""
    if one.verdict is not Verdict.NOT_CHECKED:
        return one
    for title, cell in zip(table.columns, row, strict=False):
        claim = cell_claim(cell)
        if claim is not None and claim.text == one.claim:
            found = labelled.judge(claim, Place(table.place.file, one.place.line), one.about, row[0], title, whole=True)
            return found or one
    return one

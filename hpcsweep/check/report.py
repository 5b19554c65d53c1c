"""Run all checks on a report."""

from hpcsweep.check.claims.labelled_blocks import LabelledBlocks
from hpcsweep.check.commands import check_commands
from hpcsweep.check.findings import ClaimFinding
from hpcsweep.check.prose import check_text
from hpcsweep.check.recomputed.result_blocks import recompute
from hpcsweep.check.recomputed.sample_tables import recompute_table
from hpcsweep.check.recomputed.tracing import Tracer
from hpcsweep.check.tables import check_tables
from hpcsweep.imports.documents.model import ImportedDocument


def recompute_all(document: ImportedDocument) -> list[ClaimFinding]:
    """Return the findings on the figures of every block and table, in the order of the file."""
    findings = [finding for block in document.benchmarks for finding in recompute(block)]
    return findings + [finding for table in document.sample_tables for finding in recompute_table(table)]


def check_report(document: ImportedDocument) -> list[ClaimFinding]:
    """Return all findings on a document, by line: on its blocks, tables, commands and prose."""
    tracer, labelled = Tracer(document), LabelledBlocks(document)
    of_lines = check_text(document, tracer, labelled)
    of_tables, replaced = check_tables(document, tracer, labelled, of_lines)
    remaining = [finding for at, finding in enumerate(of_lines) if at not in replaced]
    findings = [*recompute_all(document), *of_tables, *check_commands(document), *remaining]
    return sorted(findings, key=lambda finding: finding.location.line)

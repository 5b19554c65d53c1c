"""Check every claim of a report against its own numbers."""

from hpcsweep.check.claims.labelled_blocks import LabelledBlocks
from hpcsweep.check.commands import check_commands
from hpcsweep.check.findings import ClaimFinding
from hpcsweep.check.prose import check_text
from hpcsweep.check.recomputed.result_blocks import recompute
from hpcsweep.check.recomputed.sample_tables import recompute_table
from hpcsweep.check.recomputed.tracing import Tracer
from hpcsweep.check.tables import check_tables
from hpcsweep.imports.documents.model import ImportedDocument


def recompute_all(found: ImportedDocument) -> list[ClaimFinding]:
    """Return the findings on the figures of every block and table, in the order of the file."""
    findings = [one for block in found.benchmarks for one in recompute(block)]
    return findings + [one for table in found.sample_tables for one in recompute_table(table)]


def check_report(found: ImportedDocument) -> list[ClaimFinding]:
    """Return all findings on a document, by line: on its blocks, tables, commands and prose."""
    tracer, labelled = Tracer(found), LabelledBlocks(found)
    of_lines = check_text(found, tracer, labelled)
    of_tables, replaced = check_tables(found, tracer, labelled, of_lines)
    kept = [one for at, one in enumerate(of_lines) if at not in replaced]
    findings = [*recompute_all(found), *of_tables, *check_commands(found), *kept]
    return sorted(findings, key=lambda one: one.place.line)

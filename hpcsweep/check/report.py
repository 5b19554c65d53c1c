"""Check every claim of a report against its own numbers."""

from hpcsweep.check.claims.block_changes import LabelledBlocks
from hpcsweep.check.commands import check_commands
from hpcsweep.check.findings import Finding
from hpcsweep.check.recomputed.recompute import recompute
from hpcsweep.check.recomputed.recompute_samples import recompute_table
from hpcsweep.check.recomputed.traced import Tracer
from hpcsweep.check.tables import check_tables
from hpcsweep.check.text import check_text
from hpcsweep.imports.documents.blocks import Imported


def recompute_all(found: Imported) -> list[Finding]:
    """Return the findings on the figures of every block and table, in the order of the file."""
    findings = [one for block in found.benchmarks for one in recompute(block)]
    return findings + [one for table in found.sample_tables for one in recompute_table(table)]


def check_report(found: Imported) -> list[Finding]:
    """Return all findings on a document, by line: on its blocks, tables, commands and prose."""
    tracer, labelled = Tracer(found), LabelledBlocks(found)
    of_lines = check_text(found, tracer, labelled)
    of_tables, replaced = check_tables(found, tracer, labelled, of_lines)
    kept = [one for at, one in enumerate(of_lines) if at not in replaced]
    findings = [*recompute_all(found), *of_tables, *check_commands(found), *kept]
    return sorted(findings, key=lambda one: one.place.line)

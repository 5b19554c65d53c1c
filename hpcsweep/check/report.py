"""Every claim of a report, recomputed from its own numbers."""

from hpcsweep.check.commands import check_commands
from hpcsweep.check.findings import Finding
from hpcsweep.check.orderings import check_text
from hpcsweep.check.recompute import recompute
from hpcsweep.check.recompute_samples import recompute_table
from hpcsweep.check.sample_summaries import check_tables
from hpcsweep.imports.blocks import Imported


def recompute_all(found: Imported) -> list[Finding]:
    """The figures of every block and table, in the order of the file."""
    findings = [one for block in found.benchmarks for one in recompute(block)]
    return findings + [one for table in found.sample_tables for one in recompute_table(table)]


def check_report(found: Imported) -> list[Finding]:
    """All findings on a document, by line: its blocks, tables, commands and prose."""
    findings = [*recompute_all(found), *check_tables(found), *check_commands(found), *check_text(found)]
    return sorted(findings, key=lambda one: one.place.line)

"""Every claim of a report, recomputed from its own numbers."""

from hpcsweep.imports.blocks import Imported
from hpcsweep.imports.check_commands import check_commands
from hpcsweep.imports.check_tables import check_tables
from hpcsweep.imports.check_text import check_text
from hpcsweep.imports.findings import Finding
from hpcsweep.imports.recompute import recompute
from hpcsweep.imports.recompute_samples import recompute_table


def recompute_all(found: Imported) -> list[Finding]:
    """The figures of every block and table, in the order of the file."""
    findings = [one for block in found.benchmarks for one in recompute(block)]
    return findings + [one for table in found.sample_tables for one in recompute_table(table)]


def check_report(found: Imported) -> list[Finding]:
    """All findings on a document, by line: its blocks, tables, commands and prose."""
    findings = [*recompute_all(found), *check_tables(found), *check_commands(found), *check_text(found)]
    return sorted(findings, key=lambda one: one.place.line)

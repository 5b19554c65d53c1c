"""`hpcsweep check`: check the claims of a report against its own numbers."""

import json
import sys
from pathlib import Path

import click

from hpcsweep.check.findings import BAD
from hpcsweep.check.report import check_report
from hpcsweep.cli.commands.import_ import read_file
from hpcsweep.cli.output import say_json
from hpcsweep.errors import ReportError
from hpcsweep.report.formats.terminal import write_document
from hpcsweep.report.imported import check_document, check_json


@click.command()
@click.argument("report", type=click.Path(path_type=Path), metavar="REPORT.md")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/import.md).")
@click.option("-v", "--verbose", is_flag=True, help="Also list the claims that cannot be checked.")
@click.pass_context
def check(ctx: click.Context, report: Path, as_json: bool, verbose: bool) -> None:
    """Check the claims of a benchmark report against its own numbers.

    Averages, percentages, ratios, orderings, summary tables, best settings and the recommended command are recomputed
    from the numbers in the report. Every format that `hpcsweep import` reads can be checked. A claim is judged only if
    the report contains both of its numbers; differences within the noise are not errors.

    Exit codes: 0 no errors; 3 at least one claim is wrong; 1 the file cannot be read, or it has no claim to check.
    """
    imported = read_file(report)
    findings = check_report(imported)
    if as_json:
        say_json(json.dumps(check_json(imported.file, findings, imported), indent=1, ensure_ascii=False))
    else:
        write_document(check_document(imported.file, findings, imported, verbose=verbose), sys.stdout)
    if not findings:
        raise ReportError(
            f"no claims to check in {report}",
            code="nothing_to_check",
            hint="docs/import.md lists the supported formats",
        )
    if any(finding.verdict in BAD for finding in findings):
        ctx.exit(3)

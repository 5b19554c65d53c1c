"""`hpcsweep check`: the claims of somebody's report, recomputed."""

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
@click.option("--json", "as_json", is_flag=True, help="Print JSON (see docs/import.md).")
@click.option("-v", "--verbose", is_flag=True, help="Also list the claims that cannot be checked.")
@click.pass_context
def check(ctx: click.Context, report: Path, as_json: bool, verbose: bool) -> None:
    """Recompute the claims of somebody's report.

    Averages, percentages, ratios, orderings, summary tables, the best of several settings and the recommended command
    are compared with the numbers that the report itself gives. Anything that `hpcsweep import` reads can be checked.
    A claim is judged only when the report names both of its numbers; differences that may be noise are not errors.

    Exit codes: 0 nothing wrong; 3 something does not add up; 1 it cannot be read, or nothing in it can be checked.
    """
    found = read_file(report)
    findings = check_report(found)
    if as_json:
        say_json(json.dumps(check_json(found.file, findings, found), indent=1, ensure_ascii=False))
    else:
        write_document(check_document(found.file, findings, found, verbose=verbose), sys.stdout)
    if not findings:
        raise ReportError(f"{report}: nothing that can be checked", hint="docs/import.md lists what can be read")
    if any(one.verdict in BAD for one in findings):
        ctx.exit(3)

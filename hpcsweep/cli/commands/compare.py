"""`hpcsweep compare`: compare the variants that two sweeps have in common."""

import json
import sys

import click

from hpcsweep.analysis.compared.regressions import DEFAULT_METRICS, compare_sweeps
from hpcsweep.analysis.measured.metrics import METRICS, STARTUP_METRICS
from hpcsweep.api.results import load_rows
from hpcsweep.cli.context import session
from hpcsweep.cli.output import say_json, warn
from hpcsweep.errors import ReportError
from hpcsweep.report.comparison import comparison_document, comparison_json
from hpcsweep.report.formats.terminal import write_document

_METRICS = [name for name in METRICS if name not in STARTUP_METRICS]


@click.command()
@click.argument("first")
@click.argument("second")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=click.Choice(_METRICS),
    help=f"Metric to compare; may be repeated.  [default: {', '.join(DEFAULT_METRICS)}]",
)
@click.option("--all-samples", is_flag=True, help="Include cold first requests.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Regression that is accepted, in percent.  [default: 0]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/report-json.md).")
@click.pass_context
def compare(
    ctx: click.Context,
    first: str,
    second: str,
    metrics: tuple[str, ...],
    all_samples: bool,
    tolerance: float,
    as_json: bool,
) -> None:
    """Compare two sweeps, variant by variant: SECOND against FIRST.

    Variants are matched by the level of every axis and compared on the workloads that both sweeps have.

    Exit codes: 0 no regression; 3 a variant became significantly worse by more than --tolerance, or completed in FIRST
    and not in SECOND; 1 nothing could be compared.
    """
    with session(ctx) as opened:
        rows = [load_rows(opened, name, warn) for name in (first, second)]
    comparison = compare_sweeps(rows[0], rows[1], metrics or DEFAULT_METRICS, "all" if all_samples else "warm")
    if as_json:
        say_json(json.dumps(comparison_json(comparison, tolerance), indent=1))
    else:
        write_document(comparison_document(comparison, tolerance), sys.stdout)
    if comparison.regressions(tolerance):
        ctx.exit(3)
    if not comparison.judged:
        reasons = {result.reason for pair in comparison.pairs for result in pair.comparisons}
        raise ReportError(
            f"no variant of {second} could be compared with {first}",
            code="nothing_comparable",
            detail="\n".join(sorted(reasons)),
            hint="variants must have the same level on every axis, and the same workload, client and GPU",
        )

"""`hpcsweep compare`: the same variants in two sweeps."""

import json
import sys

import click

from hpcsweep.analysis.compared.regressions import DEFAULT_METRICS, compare_sweeps
from hpcsweep.analysis.measured.metrics import METRICS, STARTUP_METRICS
from hpcsweep.cli.commands.report import load_rows
from hpcsweep.cli.context import session
from hpcsweep.cli.output import say_json
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
    help=f"A metric to compare; may be repeated.  [default: {', '.join(DEFAULT_METRICS)}]",
)
@click.option("--all-samples", is_flag=True, help="Count cold first requests too.")
@click.option("--tolerance", type=click.FloatRange(min=0), default=0.0, help="Percent that may be lost.  [default: 0]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
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

    Variants with the same level on every axis are compared, on the workloads that both have.

    Exit codes: 0 no regression seen; 3 a variant became worse by more than noise and --tolerance, or completed in
    FIRST and not in SECOND; 1 nothing could be compared.
    """
    with session(ctx) as opened:
        rows = [load_rows(opened, name) for name in (first, second)]
    found = compare_sweeps(rows[0], rows[1], metrics or DEFAULT_METRICS, "all" if all_samples else "warm")
    if as_json:
        say_json(json.dumps(comparison_json(found, tolerance), indent=1))
    else:
        write_document(comparison_document(found, tolerance), sys.stdout)
    if found.regressions(tolerance):
        ctx.exit(3)
    if not found.judged:
        reasons = {one.reason for pair in found.pairs for one in pair.comparisons}
        raise ReportError(
            f"no variant of {second} could be compared with {first}",
            detail="\n".join(sorted(reasons)),
            hint="variants are matched by the level of every axis, and need the same workload, client and GPU",
        )

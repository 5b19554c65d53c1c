"""`hpcsweep show RUN`: startup timeline, facts, command, samples, and the reason of a failure."""

import sys

import click
from pydantic_core import to_json

from hpcsweep.cli.context import refresh, session
from hpcsweep.cli.output import say_json
from hpcsweep.cli.runs import choose_run
from hpcsweep.report.console import make_console
from hpcsweep.report.status.run_json import run_json
from hpcsweep.report.status.run_page import run_page
from hpcsweep.track.sweep_rows import file_troubles, load_sweep


@click.command()
@click.argument("run")
@click.option(
    "--samples", type=click.IntRange(0), default=20, show_default=True, help="Number of samples shown per workload."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON (docs/json.md).")
@click.pass_context
def show(ctx: click.Context, run: str, samples: int, as_json: bool) -> None:
    """Show one run: startup timeline, facts, samples, failure.

    RUN is a label of the latest sweep, a unique prefix of a label, or SWEEP/LABEL.
    """
    with session(ctx) as opened:
        sweep, label = choose_run(opened.home, run)
        refresh(opened, [sweep.name])
        with opened.store.reading() as connection:
            (row,) = load_sweep(connection, sweep.name, runs=[label], itl=as_json).runs
            troubles = file_troubles(connection, sweep.name, label)
    if as_json:
        say_json(to_json(run_json(row), indent=1, inf_nan_mode="null"))
        return
    console = make_console(sys.stdout)
    unicode = (console.encoding or "").lower().startswith("utf")
    for part in run_page(row, samples=samples, width=console.width, unicode=unicode, troubles=troubles):
        console.print(part)

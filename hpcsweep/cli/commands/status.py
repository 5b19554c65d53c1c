"""`hpcsweep status`: the state of every run, once, live, or as JSON."""

import sys
import time

import click
from pydantic_core import to_json

from hpcsweep.api.tracking import read_status
from hpcsweep.cli.context import session
from hpcsweep.cli.output import say, say_json, warn
from hpcsweep.report.status.status_json import status_json
from hpcsweep.track.runs import SweepStatus


@click.command()
@click.argument("sweep", required=False)
@click.option("--watch", "watching", is_flag=True, help="Show the status until all runs have ended; Ctrl-C stops.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md).")
@click.pass_context
def status(ctx: click.Context, sweep: str | None, watching: bool, as_json: bool) -> None:
    """Show the state of every run of a sweep.

    Without SWEEP: a table for the latest sweep and for each unfinished one, and a line for each of the others.
    """
    if watching and as_json:
        raise click.UsageError("--watch and --json cannot be combined")
    with session(ctx) as opened:
        known = opened.home.sweep_names()
        if sweep is None and not known:
            say('{"sweeps": []}' if as_json else f"no sweeps in {opened.home.path}")
            return
        names = known if sweep is None else [opened.home.sweep(sweep).name]
        if watching:
            from hpcsweep.cli.watch import watch  # rich is not imported for JSON

            ctx.exit(watch(opened, names))
        sweeps, warnings = read_status(opened, names)
    for warning in warnings:
        warn(warning)
    if as_json:
        say_json(to_json(status_json(sweeps, time.time()), indent=1, inf_nan_mode="null"))
        return
    _print(sweeps)


def _print(sweeps: list[SweepStatus]) -> None:
    from hpcsweep.report.console import make_console
    from hpcsweep.report.status.live import status_table, summary

    console = make_console(sys.stdout)
    for sweep in sweeps:
        if sweep is sweeps[-1] or any(not run.verdict.state.final for run in sweep.runs):
            console.print(status_table(sweep))
        else:
            console.print(f"{sweep.name} on {sweep.cluster}: {summary(sweep)}", markup=False)

"""`hpcsweep status`: where every run stands, once, live, or as JSON."""

import sys
import time

import click
from pydantic_core import to_json

from hpcsweep.cli.context import session
from hpcsweep.cli.output import say, say_json
from hpcsweep.report.status.status_json import status_json
from hpcsweep.track.runs import SweepStatus, read_runs


@click.command()
@click.argument("sweep", required=False)
@click.option("--watch", "watching", is_flag=True, help="Keep showing it until all runs have ended, or Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: docs/json.md.")
@click.pass_context
def status(ctx: click.Context, sweep: str | None, watching: bool, as_json: bool) -> None:
    """Show where every run of SWEEP stands.

    Without SWEEP: all sweeps that go on and the latest one as tables, the others in a line each.
    """
    if watching and as_json:
        raise click.UsageError("--watch and --json exclude each other")
    with session(ctx) as opened:
        known = opened.home.sweep_names()
        if sweep is None and not known:
            say('{"sweeps": []}' if as_json else f"{opened.home.path} holds no sweep yet")
            return
        names = known if sweep is None else [opened.home.sweep(sweep).name]
        if watching:
            from hpcsweep.cli.watch import watch  # rich is not imported for JSON

            ctx.exit(watch(opened, names))
        for trouble in opened.refresh(names):
            say(f"warning: {trouble}", err=True)
        with opened.store.reading() as connection:
            sweeps = read_runs(connection, names)
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

"""`hpcsweep cancel`: cancel runs, with one call to the scheduler per submission."""

import json

import click

from hpcsweep.api.cancelling import cancel_chosen
from hpcsweep.cli.context import session
from hpcsweep.cli.output import note, say, say_json, warn
from hpcsweep.cli.runs import choose_runs
from hpcsweep.errors import SpecError


@click.command()
@click.argument("names", nargs=-1, metavar="[SWEEP] [RUN]...")
@click.option("--yes", is_flag=True, help="Also cancel the other runs in the allocations of the named ones.")
@click.option("--json", "as_json", is_flag=True, help="Print the cancelled runs as JSON.")
@click.pass_context
def cancel(ctx: click.Context, names: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Cancel a sweep, or some of its runs.

    The default is the latest sweep. RUN is a label, a unique prefix of a label, or SWEEP/LABEL.
    """
    with session(ctx) as opened:
        chosen = choose_runs(opened.home, names)
        try:
            done = cancel_chosen(opened, chosen, shared_too=yes, on_note=note, on_warning=warn)
        except SpecError as exc:
            if exc.code == "allocation_shared":
                raise click.UsageError(f"{exc.message} Add --yes to cancel all of them.") from exc
            raise
        if as_json:
            say_json(json.dumps({"cancelled": {sweep.sweep: list(sweep.runs) for sweep in done}}, indent=1))
            return
        for cancelled in done:
            say(f"{cancelled.sentence()}; `hpcsweep status {cancelled.sweep}` shows their outcomes")

"""`hpcsweep cancel`: one call to the scheduler a job, remembered by us."""

import json

import click

from hpcsweep.cli.context import session
from hpcsweep.cli.output import note, say, say_json
from hpcsweep.cli.runs import choose_runs
from hpcsweep.submit.client import cancel as cancel_runs
from hpcsweep.submit.client import neighbours
from hpcsweep.submit.sweep_lock import changing
from hpcsweep.track.refresh import Session
from hpcsweep.track.runs import read_runs
from hpcsweep.track.status import ended_tasks
from hpcsweep.units import counted


@click.command()
@click.argument("names", nargs=-1, metavar="[SWEEP] [RUN]...")
@click.option("--yes", is_flag=True, help="Also cancel the runs that share an allocation with a named one.")
@click.option("--json", "as_json", is_flag=True, help="Print what was cancelled as JSON.")
@click.pass_context
def cancel(ctx: click.Context, names: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Cancel a sweep, or runs of it.

    Without a name: the latest sweep. RUN is a label, a unique beginning of one, or SWEEP/LABEL.
    """
    with session(ctx) as opened:
        chosen = choose_runs(opened.home, names)
        ctx.with_resource(changing([sweep for sweep, _ in chosen], "cancel", note))
        for trouble in opened.refresh([sweep.name for sweep, _ in chosen], ended_too=True):  # and finds lost jobs
            click.echo(f"warning: {trouble}", err=True)
        alive = _alive(opened, [sweep.name for sweep, _ in chosen])
        done: dict[str, list[str]] = {}
        for sweep, labels in chosen:
            shared = neighbours(sweep, labels) if labels is not None else []
            if shared and not yes:
                raise click.UsageError(
                    f"{', '.join(sorted(labels or ()))} shares its allocation with {', '.join(shared)}: "
                    "add --yes to cancel all of them"
                )
            with opened.store.reading() as connection:
                ended = ended_tasks(connection, sweep.name)
            done[sweep.name] = cancel_runs(sweep, opened.cluster(sweep), opened.backend(sweep), labels, ended)
        opened.refresh([sweep.name for sweep, _ in chosen])
        if as_json:
            say_json(json.dumps({"cancelled": done}, indent=1))
            return
        for name, cancelled in done.items():
            told = len(alive[name].intersection(cancelled))
            over = len(cancelled) - told
            say(
                f"{name}: told {counted(told, 'run')} to stop"
                + (f", {over} had ended already" if over else "")
                + f"; `hpcsweep status {name}` shows how they ended"
            )


def _alive(opened: Session, sweeps: list[str]) -> dict[str, set[str]]:
    """Sweep -> labels of its runs that have not ended, as far as is known."""
    with opened.store.reading() as connection:
        found = read_runs(connection, sweeps)
    return {sweep.name: {run.run for run in sweep.runs if not run.verdict.state.final} for sweep in found}

"""`hpcsweep cancel`: cancel runs, with one call to the scheduler per submission."""

import json

import click

from hpcsweep.cli.context import refresh, session
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
@click.option("--yes", is_flag=True, help="Also cancel the other runs in the allocations of the named ones.")
@click.option("--json", "as_json", is_flag=True, help="Print the cancelled runs as JSON.")
@click.pass_context
def cancel(ctx: click.Context, names: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Cancel a sweep, or some of its runs.

    The default is the latest sweep. RUN is a label, a unique prefix of a label, or SWEEP/LABEL.
    """
    with session(ctx) as opened:
        chosen = choose_runs(opened.home, names)
        ctx.with_resource(changing([sweep for sweep, _ in chosen], "cancel", note))
        refresh(opened, [sweep.name for sweep, _ in chosen], ended_too=True)  # also finds jobs of lost submissions
        active = _active(opened, [sweep.name for sweep, _ in chosen])
        done: dict[str, list[str]] = {}
        for sweep, labels in chosen:
            shared = neighbours(sweep, labels) if labels is not None else []
            if shared and not yes:
                raise click.UsageError(
                    f"{', '.join(sorted(labels or ()))} shares an allocation with {', '.join(shared)}. "
                    "Add --yes to cancel all of them."
                )
            with opened.store.reading() as connection:
                ended = ended_tasks(connection, sweep.name)
            done[sweep.name] = cancel_runs(sweep, opened.cluster(sweep), opened.backend(sweep), labels, ended)
        opened.refresh([sweep.name for sweep, _ in chosen])
        if as_json:
            say_json(json.dumps({"cancelled": done}, indent=1))
            return
        for name, cancelled in done.items():
            stopped = len(active[name].intersection(cancelled))
            ended_before = len(cancelled) - stopped
            say(
                f"{name}: cancelled {counted(stopped, 'run')}"
                + (f" ({ended_before} had already ended)" if ended_before else "")
                + f"; `hpcsweep status {name}` shows their outcomes"
            )


def _active(opened: Session, sweeps: list[str]) -> dict[str, set[str]]:
    """Return the labels of the runs that have not ended, by sweep."""
    with opened.store.reading() as connection:
        states = read_runs(connection, sweeps)
    return {sweep.name: {run.run for run in sweep.runs if not run.verdict.state.final} for sweep in states}

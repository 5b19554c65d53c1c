"""`hpcsweep cancel`: one call to the scheduler a job, remembered by us."""

import json

import click

from hpcsweep.cli.context import session
from hpcsweep.cli.runs import choose_runs
from hpcsweep.submit.client import cancel as cancel_runs
from hpcsweep.submit.client import neighbours


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
        done: dict[str, list[str]] = {}
        for sweep, labels in chosen:
            shared = neighbours(sweep, labels) if labels is not None else []
            if shared and not yes:
                raise click.UsageError(
                    f"{', '.join(sorted(labels or ()))} shares its allocation with {', '.join(shared)}: "
                    "add --yes to cancel all of them"
                )
            done[sweep.name] = cancel_runs(sweep, opened.cluster(sweep), opened.backend(sweep), labels)
        opened.refresh([sweep.name for sweep, _ in chosen])
        if as_json:
            click.echo(json.dumps({"cancelled": done}, indent=1))
            return
        for name, cancelled in done.items():
            click.echo(f"{name}: told {len(cancelled)} runs to stop; `hpcsweep status {name}` shows how they ended")

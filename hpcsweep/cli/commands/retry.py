"""`hpcsweep retry`: submit runs that did not complete again, as new attempts."""

import json
from pathlib import Path

import click

from hpcsweep.api.retrying import RetryOptions, retry_chosen
from hpcsweep.cli.context import session
from hpcsweep.cli.output import note, say, say_json, warn
from hpcsweep.cli.params import duration_s
from hpcsweep.cli.runs import choose_runs
from hpcsweep.cli.watch import wait_for
from hpcsweep.errors import SpecError
from hpcsweep.spec.phases import OutcomeKind


@click.command()
@click.argument("names", nargs=-1, metavar="[SWEEP] [RUN]...")
@click.option("--failed", is_flag=True, help="All runs that ended without completing.  [default]")
@click.option(
    "--outcome",
    multiple=True,
    type=click.Choice([kind.value for kind in OutcomeKind]),
    help="Only runs with this outcome; may be repeated.",
)
@click.option(
    "--walltime",
    "walltime_s",
    callback=duration_s,
    help="Walltime of each run, such as 8h.  [default: that of the experiment]",
)
@click.option(
    "--cluster",
    "cluster_name",
    metavar="NAME",
    help="Use the current version of this profile.  [default: the profile stored at submission]",
)
@click.option("--exclude-bad-nodes", is_flag=True, help="Exclude nodes on which several variants failed.")
@click.option(
    "--template-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with your own templates, as for submit.",
)
@click.option("--wait", is_flag=True, help="Show progress until all runs have ended; exit 3 if none completed.")
@click.option("--json", "as_json", is_flag=True, help="Print the submission as JSON.")
@click.pass_context
def retry(
    ctx: click.Context,
    names: tuple[str, ...],
    failed: bool,
    outcome: tuple[str, ...],
    walltime_s: float | None,
    cluster_name: str | None,
    exclude_bad_nodes: bool,
    template_dir: Path | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Submit failed runs of a sweep again, as new attempts.

    Without RUN: all runs that ended without completing (see --outcome) and all runs whose submission was refused. A run
    that is queued or running is never submitted twice. A run whose state is `unknown` is submitted only if it is named.
    """
    if failed and outcome:
        raise click.UsageError("--failed and --outcome cannot be combined")
    options = RetryOptions(
        frozenset(OutcomeKind(kind) for kind in outcome), walltime_s, cluster_name, exclude_bad_nodes, template_dir
    )
    with session(ctx) as opened:
        chosen = choose_runs(opened.home, names)
        if len(chosen) > 1:
            raise SpecError("retry accepts runs of one sweep only", code="several_sweeps")
        sweep, named = chosen[0]
        done = retry_chosen(opened, sweep, named, options, on_note=note, on_warning=warn)
        if as_json:
            jobs = [job.document() for job in done.jobs]
            say_json(json.dumps({"sweep": done.sweep, "runs": list(done.runs), "jobs": jobs}, indent=1))
            return
        say(done.sentence())
        if wait:
            ctx.exit(wait_for(opened, sweep.name))

"""`hpcsweep submit`: plan and check an experiment, then submit its runs; `--dry-run` only shows the plan."""

import json
import sys
from pathlib import Path

import click

from hpcsweep.api.planning import Plan, plan
from hpcsweep.api.submission import SubmittedSweep
from hpcsweep.api.submission import submit as submit_plan
from hpcsweep.cli.context import session
from hpcsweep.cli.output import say, say_json, warn
from hpcsweep.cli.params import CommandWithOldOptions
from hpcsweep.cli.watch import wait_for
from hpcsweep.errors import SpecError
from hpcsweep.report.status.plan_table import print_plan
from hpcsweep.spec.secret_values import has_secret
from hpcsweep.units import counted


@click.command(
    cls=CommandWithOldOptions,
    renamed={"--fix": "--set", "--pack": "--runs-per-job", "--parallel": "--max-parallel"},
)
@click.argument("experiment")
@click.option("--cluster", metavar="NAME", help="Cluster profile.  [default: `default` in hpcsweep.yaml, else `local`]")
@click.option("--grid", metavar="AXIS,AXIS", help="Axes to vary; the others stay at the baseline.  [default: all]")
@click.option("--levels", multiple=True, metavar="AXIS=LEVEL,LEVEL", help="Use these levels of an axis.")
@click.option("--set", "held", multiple=True, metavar="AXIS=LEVEL", help="Hold an axis at one level.")
@click.option("--one-at-a-time", is_flag=True, help="Vary one axis at a time from the baseline.")
@click.option("--repeats", type=click.IntRange(1), metavar="N", help="Number of runs of each variant.")
@click.option(
    "--runs-per-job",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of runs executed one after another in each job.",
)
@click.option(
    "--max-parallel", type=click.IntRange(1), metavar="N", help="Maximum number of array tasks that run at once."
)
@click.option(
    "--template-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with your own templates.  [default: `templates` in hpcsweep.yaml]",
)
@click.option(
    "--script",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Your own batch script, submitted once per run. It must end in `exec hpcsweep-node`.",
)
@click.option("--dry-run", is_flag=True, help="Print the runs, GPU-hours and job scripts; write and submit nothing.")
@click.option("--wait", is_flag=True, help="Show progress until all runs have ended; exit 3 if none completed.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan or the submission as JSON.")
@click.pass_context
def submit(
    ctx: click.Context,
    experiment: str,
    cluster: str | None,
    grid: str | None,
    levels: tuple[str, ...],
    held: tuple[str, ...],
    one_at_a_time: bool,
    repeats: int | None,
    runs_per_job: int,
    max_parallel: int | None,
    template_dir: Path | None,
    script: Path | None,
    dry_run: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Plan an experiment and submit its runs.

    EXPERIMENT is a file, the name of ./experiments/NAME.yaml, or an experiment that ships with hpcsweep.
    """
    if wait and as_json:
        raise SpecError(
            "--wait and --json cannot be combined",
            code="wait_with_json",
            hint="submit with --json, then use `status --json`",
        )
    axes = _items(grid) if grid is not None else None
    if axes == ():
        raise click.BadParameter("no axis given", param_hint="--grid")
    options = ctx.obj or {}
    planned = plan(
        experiment,
        cluster=cluster,
        grid=axes,
        levels={axis: _items(text) for axis, text in _pairs("--levels", levels).items()},
        set=_pairs("--set", held),
        one_at_a_time=one_at_a_time,
        repeats=repeats,
        runs_per_job=runs_per_job,
        max_parallel=max_parallel,
        template_dir=template_dir,
        script=script,
        home=options.get("home"),
        store=options.get("store"),
    )
    if dry_run:
        if as_json:
            say_json(json.dumps(planned.document, indent=1))
        else:
            print_plan(planned.prepared, planned.rendered, sys.stdout)
        return
    for warning in planned.warnings:  # before anything is submitted, so that Ctrl-C is still in time
        warn(warning)
    sweep = submit_plan(planned)
    if as_json:
        say_json(json.dumps(_document(sweep), indent=1))
        return
    _print(planned, sweep)
    if wait:
        with session(ctx) as opened:
            ctx.exit(wait_for(opened, sweep.name))


def _pairs(option: str, values: tuple[str, ...]) -> dict[str, str]:
    """Return the `AXIS=TEXT` values of an option as a dict. Raises click.BadParameter."""
    pairs: dict[str, str] = {}
    for value in values:
        axis, equals, text = (part.strip() for part in value.partition("="))
        if not equals or not axis or not text:
            raise click.BadParameter(f"expected AXIS=LEVEL, got {value!r}", param_hint=option)
        if has_secret(text):
            raise click.BadParameter(
                f"{axis}: every user of this machine can read a secret in an argument", param_hint=option
            )
        if axis in pairs:
            raise click.BadParameter(f"axis {axis!r} is given twice", param_hint=option)
        pairs[axis] = text
    return pairs


def _items(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _document(sweep: SubmittedSweep) -> dict[str, object]:
    return {
        "sweep": sweep.name,
        "sweep_dir": str(sweep.path),
        "jobs": [job.document() for job in sweep.jobs],
        "simulated": list(sweep.simulated),
    }


def _print(planned: Plan, sweep: SubmittedSweep) -> None:
    for engine in sweep.simulated:
        say(
            f"SIMULATED: {engine} is not installed or not wanted on {sweep.cluster!r}. The simulated engine is used in "
            "its place, and every table shows this."
        )
    if planned.refused:
        run, reason = next(iter(planned.refused.items()))
        runs = counted(len(planned.refused), "run")
        say(f"{runs} not submitted, the first: {run}: {reason}")
    steps = [job for job in sweep.jobs if job.preparation is not None]
    arrays = [job for job in sweep.jobs if job.preparation is None]
    tasks = counted(sum(job.array_tasks for job in arrays), "array task")
    ids = ", ".join(job.job_id for job in arrays)
    submissions = f"{tasks} in {counted(len(arrays), 'submission')} ({ids})"
    if steps:
        first = ", ".join(f"{job.preparation} ({job.job_id})" for job in steps)
        say(f"{sweep.name}: prepared first by {counted(len(steps), 'job')}: {first}")
    say(f"{sweep.name}: {counted(len(sweep.runs), 'run')}, {submissions} on {sweep.cluster}")
    say(f"Next: hpcsweep status {sweep.name} --watch, then hpcsweep report {sweep.name}")

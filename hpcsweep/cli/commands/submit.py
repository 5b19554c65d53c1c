"""`hpcsweep submit`: plan, check, render, hand over; or show all of that without doing it."""

import json
import sys
from pathlib import Path

import click

from hpcsweep.cli.context import session
from hpcsweep.cli.output import say, say_json
from hpcsweep.cli.params import CommandWithOldOptions
from hpcsweep.cli.wait import wait_for
from hpcsweep.errors import SpecError
from hpcsweep.plan.grid import Selection
from hpcsweep.report.status.plan_table import plan_document, print_plan
from hpcsweep.spec.secret_values import has_secret
from hpcsweep.submit.client import Submitted
from hpcsweep.submit.client import submit as hand_over
from hpcsweep.submit.factory import make_backend
from hpcsweep.sweep.prepare import Prepared, Request, prepare, render_sweep
from hpcsweep.units import counted


def _pairs(option: str, values: tuple[str, ...]) -> dict[str, str]:
    """`AXIS=TEXT` options as a dict."""
    found: dict[str, str] = {}
    for value in values:
        axis, sep, text = value.partition("=")
        if not sep or not axis.strip() or not text.strip():
            raise click.BadParameter(f"{value!r}: write AXIS=LEVEL", param_hint=option)
        if has_secret(text):
            raise click.BadParameter(f"{axis}: a secret in an argument can be read by every user", param_hint=option)
        if axis.strip() in found:
            raise click.BadParameter(f"axis {axis.strip()!r} stands twice", param_hint=option)
        found[axis.strip()] = text.strip()
    return found


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


@click.command(
    cls=CommandWithOldOptions,
    renamed={"--fix": "--set", "--pack": "--runs-per-job", "--parallel": "--max-parallel"},
)
@click.argument("experiment")
@click.option("--cluster", metavar="NAME", help="Cluster profile.  [default: of hpcsweep.yaml, else local]")
@click.option("--grid", metavar="AXIS,AXIS", help="Axes to vary; the others stay at the baseline.  [default: all]")
@click.option("--levels", multiple=True, metavar="AXIS=LEVEL,LEVEL", help="Narrow or replace the levels of an axis.")
@click.option("--set", "fix", multiple=True, metavar="AXIS=LEVEL", help="Hold an axis at one level.")
@click.option("--one-at-a-time", is_flag=True, help="From the baseline, vary one axis at a time.")
@click.option("--repeats", type=click.IntRange(1), metavar="N", help="Measure every variant N times.")
@click.option(
    "--runs-per-job", "pack", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Runs a job."
)
@click.option("--max-parallel", "parallel", type=click.IntRange(1), metavar="N", help="Elements that run at once.")
@click.option(
    "--template-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of your own templates.  [default: `templates` of your hpcsweep.yaml]",
)
@click.option(
    "--script",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Your own batch script, submitted once per run; it ends in `exec hpcsweep-node`.",
)
@click.option("--dry-run", is_flag=True, help="Print runs, reasons, GPU-hours and the script; write nothing.")
@click.option("--wait", is_flag=True, help="Show progress until all runs have ended; exit 3 if none completed.")
@click.option("--json", "as_json", is_flag=True, help="Print what was planned or submitted as JSON.")
@click.pass_context
def submit(
    ctx: click.Context,
    experiment: str,
    cluster: str | None,
    grid: str | None,
    levels: tuple[str, ...],
    fix: tuple[str, ...],
    one_at_a_time: bool,
    repeats: int | None,
    pack: int,
    parallel: int | None,
    template_dir: Path | None,
    script: Path | None,
    dry_run: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Plan an experiment and submit its runs.

    EXPERIMENT is a file, the name of ./experiments/NAME.yaml, or one that ships with hpcsweep.
    """
    axes = _words(grid) if grid is not None else None
    if axes == ():
        raise click.BadParameter("names no axis", param_hint="--grid")
    selection = Selection(
        grid=axes,
        levels={axis: _words(text) for axis, text in _pairs("--levels", levels).items()},
        fix=_pairs("--set", fix),
        one_at_a_time=one_at_a_time,
        repeats=repeats,
    )
    if wait and as_json:
        raise SpecError("--wait and --json exclude each other", hint="submit with --json, then `status --json`")
    prepared = prepare(Request(experiment, cluster, selection, pack, parallel, template_dir, script))
    with session(ctx) as opened:
        backend = make_backend(prepared.cluster, opened.home, prepared.parallel)
        above = opened.highest_number_elsewhere(prepared.experiment.name)
        if dry_run:
            number = max(opened.home.next_number(prepared.experiment.name), above + 1)
            name = f"{prepared.experiment.name}-{number:04d}"
            rendered = render_sweep(
                prepared, name, str(opened.home.sweeps_dir / name), str(opened.home.cache_dir), backend.template
            )
            if as_json:
                say_json(json.dumps(plan_document(prepared, rendered), indent=1))
            else:
                print_plan(prepared, rendered, sys.stdout)
            return
        for warning in prepared.warnings:  # before anything is queued: Ctrl-C is still in time
            say(f"warning: {warning}", err=True)
        submitted = hand_over(prepared, opened.home, backend, above)
        if as_json:
            say_json(
                json.dumps(
                    {
                        "sweep": submitted.sweep.name,
                        "sweep_dir": str(submitted.sweep.path),
                        "jobs": [job.document() for job in submitted.jobs],
                        "simulated": sorted(prepared.simulated),
                    },
                    indent=1,
                )
            )
            return
        _tell(prepared, submitted)
        if wait:
            ctx.exit(wait_for(opened, submitted.sweep.name))


def _tell(prepared: Prepared, submitted: Submitted) -> None:
    sweep, cluster = submitted.sweep.name, prepared.cluster_name
    for engine in prepared.simulated:
        say(
            f"SIMULATED: {engine} is not installed or not wanted on {cluster!r}; a simulated engine plays it, "
            "and every table says so."
        )
    refused = [run for run in prepared.runs if run.refused]
    if refused:
        say(f"{len(refused)} variants are not submitted, the first: {refused[0].label}: {refused[0].refused}")
    elements = sum(job.array_tasks for job in submitted.jobs)
    ids = ", ".join(job.job_id for job in submitted.jobs)
    handed = f"{counted(elements, 'array task')} in {counted(len(submitted.jobs), 'submission')} ({ids}) on {cluster}"
    say(f"{sweep}: {counted(len(prepared.runs) - len(refused), 'run')}, {handed}")
    say(f"Watch: hpcsweep status {sweep} --watch    Then: hpcsweep report {sweep}")

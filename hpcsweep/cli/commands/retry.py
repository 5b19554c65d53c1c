"""`hpcsweep retry`: submit runs that did not complete again, as new attempts."""

import json
from pathlib import Path

import click

from hpcsweep.analysis.bad_nodes import BadNode, bad_nodes
from hpcsweep.cli.context import session
from hpcsweep.cli.output import note, say, say_json, warn
from hpcsweep.cli.params import duration_s
from hpcsweep.cli.runs import choose_runs
from hpcsweep.cli.watch import wait_for
from hpcsweep.errors import HpcsweepError, SpecError
from hpcsweep.render.environment import make_environment
from hpcsweep.schedulers.registry import scheduler_templates
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.submit.client import retry as retry_runs
from hpcsweep.submit.factory import make_backend
from hpcsweep.submit.sweep_lock import SweepLock
from hpcsweep.sweep.inputs import read_cluster
from hpcsweep.sweep.layout import SweepFolder
from hpcsweep.sweep.prepare import own_templates
from hpcsweep.track.refresh import Session
from hpcsweep.track.sweep_rows import load_sweep
from hpcsweep.units import counted

FINAL_OUTCOMES = {OutcomeKind.COMPLETED, OutcomeKind.UNSUPPORTED}


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
    with session(ctx) as opened:
        chosen = choose_runs(opened.home, names)
        if len(chosen) > 1:
            raise SpecError("retry accepts runs of one sweep only", code="several_sweeps")
        sweep, named = chosen[0]
        lock = SweepLock(sweep, "retry")
        ctx.call_on_close(lock.release)
        lock.take(note)  # before the runs are chosen: another retry may be submitting the same runs
        warnings = opened.refresh([sweep.name], ended_too=True)
        if opened.incomplete.get(sweep.name):
            raise HpcsweepError(
                f"nothing was submitted: some files of {sweep.name} are unreadable, and their runs may have completed",
                code="sweep_incomplete",
                detail="\n".join(opened.incomplete[sweep.name]),
                hint="retry when `hpcsweep status` shows no such warning",
            )
        for warning in warnings:
            warn(warning)
        labels, nodes = _missing(opened, sweep, named, {OutcomeKind(kind) for kind in outcome})
        for node in nodes:
            action = "excluded" if exclude_bad_nodes else "--exclude-bad-nodes excludes it"
            note(f"node {node.node}: {node.reason}; {action}")
        if not labels:
            raise SpecError(
                f"{sweep.name}: nothing to retry",
                code="nothing_to_retry",
                hint="`hpcsweep status` shows the state of every run",
            )
        cluster_name, cluster = _cluster(opened, sweep, cluster_name)
        if exclude_bad_nodes and nodes:
            excluded = ",".join([*([cluster.exclude] if cluster.exclude else []), *(node.node for node in nodes)])
            cluster = cluster.model_copy(update={"exclude": excluded})
        backend = make_backend(cluster, opened.home, opened.document(sweep).parallel)
        templates = make_environment(own_templates(template_dir), scheduler_templates(cluster.scheduler))
        submitted = retry_runs(sweep, cluster_name, cluster, templates, backend, labels, lock, walltime_s=walltime_s)
        lock.release()
        if as_json:
            jobs = [job.document() for job in submitted.jobs]
            say_json(json.dumps({"sweep": sweep.name, "runs": sorted(labels), "jobs": jobs}, indent=1))
            return
        say(f"{sweep.name}: {counted(len(labels), 'run')} again in {counted(len(submitted.jobs), 'submission')}")
        if wait:
            ctx.exit(wait_for(opened, sweep.name))


def _cluster(opened: Session, sweep: SweepFolder, name: str | None) -> tuple[str, Cluster]:
    """Return the profile stored with the sweep, or the current one of this name.

    Raises SpecError when that one is of another scheduler or machine.
    """
    stored = opened.cluster(sweep)
    if name is None:
        return opened.document(sweep).cluster, stored
    name, cluster = read_cluster(name)
    submitted_to, leads_to = (
        f"{profile.scheduler} on {f'{profile.ssh.host}:{profile.ssh.home}' if profile.ssh else 'this machine'}"
        for profile in (stored, cluster)
    )
    if submitted_to != leads_to:
        raise SpecError(
            f"{sweep.name} was submitted to {submitted_to}; the cluster profile {name} is for {leads_to}",
            code="profile_of_another_cluster",
            hint="submit the experiment there as a new sweep",
        )
    return name, cluster


def _missing(
    opened: Session, sweep: SweepFolder, named: set[str] | None, outcomes: set[OutcomeKind]
) -> tuple[set[str], list[BadNode]]:
    """Return the labels of the runs to submit, and the bad nodes. Raises SpecError for a named run that is active."""
    with opened.store.reading() as connection:
        rows = load_sweep(connection, sweep.name, samples=False).runs
    ended = [row for row in rows if row.state is RunState.FINISHED and row.job is not None]
    refused = {row.run for row in rows if row.state is RunState.PLANNED}  # no scheduler accepted them
    if named is not None:
        unknown = {row.run for row in rows if row.state is RunState.UNKNOWN}
        active = sorted(named - {row.run for row in ended} - unknown - refused)
        if active:
            raise SpecError(
                f"still queued or running: {', '.join(active)}", code="run_active", hint="`hpcsweep cancel` it first"
            )
        return named, bad_nodes(rows)
    wanted = {row.run for row in ended if (row.outcome in outcomes if outcomes else row.outcome not in FINAL_OUTCOMES)}
    return wanted if outcomes else wanted | refused, bad_nodes(rows)

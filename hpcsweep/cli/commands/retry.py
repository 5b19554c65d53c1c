"""`hpcsweep retry`: what is missing, again, as further attempts."""

import json
from pathlib import Path

import click

from hpcsweep.analysis.bad_nodes import BadNode, bad_nodes
from hpcsweep.cli.context import session
from hpcsweep.cli.output import note, say, say_json
from hpcsweep.cli.params import duration_s
from hpcsweep.cli.runs import choose_runs
from hpcsweep.cli.wait import wait_for
from hpcsweep.errors import HpcsweepError, SpecError
from hpcsweep.render.environment import make_environment
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

NOT_TRIED_AGAIN = {OutcomeKind.COMPLETED, OutcomeKind.UNSUPPORTED}


@click.command()
@click.argument("names", nargs=-1, metavar="[SWEEP] [RUN]...")
@click.option("--failed", is_flag=True, help="Every run that has ended without completing.  [default]")
@click.option(
    "--outcome",
    multiple=True,
    type=click.Choice([kind.value for kind in OutcomeKind]),
    help="Only runs that ended so (repeatable).",
)
@click.option(
    "--walltime", "walltime_s", callback=duration_s, help="Of each run, such as 8h.  [default: as the experiment says]"
)
@click.option("--cluster", "cluster_name", help="Submit by this profile as it is now.  [default: as it was at submit]")
@click.option("--exclude-bad-nodes", is_flag=True, help="Keep away from nodes on which several variants failed.")
@click.option("--template-dir", type=click.Path(path_type=Path, file_okay=False), help="As for submit.")
@click.option("--wait", is_flag=True, help="Show progress until all runs have ended.")
@click.option("--json", "as_json", is_flag=True, help="Print what was submitted as JSON.")
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
    """Submit runs of a sweep again, as further attempts.

    Without RUN: every run of the sweep that has ended without completing, --outcome narrowing it, and those whose
    submission was refused. A run that is still queued or running is never submitted twice; one that nobody knows
    anything of (`unknown`) only when it is named.
    """
    if failed and outcome:
        raise click.UsageError("--failed and --outcome exclude each other")
    with session(ctx) as opened:
        chosen = choose_runs(opened.home, names)
        if len(chosen) > 1:
            raise SpecError("retry takes runs of one sweep at a time")
        sweep, named = chosen[0]
        lock = SweepLock(sweep, "retry")
        ctx.call_on_close(lock.release)
        lock.take(note)  # before the runs are chosen: another retry may be submitting the same ones
        troubles = opened.refresh([sweep.name], ended_too=True)
        if opened.incomplete.get(sweep.name):
            raise HpcsweepError(
                f"{sweep.name}: not all of its files could be read, so what is missing may have completed: "
                "nothing was submitted",
                detail="\n".join(opened.incomplete[sweep.name]),
                hint="retry once `hpcsweep status` shows no such warning",
            )
        for trouble in troubles:
            say(f"warning: {trouble}", err=True)
        labels, nodes = _missing(opened, sweep, named, {OutcomeKind(kind) for kind in outcome})
        for node in nodes:
            told = "kept away from" if exclude_bad_nodes else "--exclude-bad-nodes keeps away from it"
            say(f"node {node.node}: {node.reason}; {told}", err=True)
        if not labels:
            raise SpecError(f"{sweep.name}: nothing to retry", hint="`hpcsweep status` shows where every run stands")
        cluster_name, cluster = _cluster(opened, sweep, cluster_name)
        if exclude_bad_nodes and nodes:
            away = ",".join([*([cluster.exclude] if cluster.exclude else []), *(node.node for node in nodes)])
            cluster = cluster.model_copy(update={"exclude": away})
        backend = make_backend(cluster, opened.home, opened.document(sweep).parallel)
        templates = make_environment(own_templates(template_dir))
        submitted = retry_runs(sweep, cluster_name, cluster, templates, backend, labels, lock, walltime_s=walltime_s)
        lock.release()
        if as_json:
            jobs = [job.document() for job in submitted.jobs]
            say_json(json.dumps({"sweep": sweep.name, "runs": sorted(labels), "jobs": jobs}, indent=1))
            return
        say(f"{sweep.name}: {len(labels)} runs again, in {len(submitted.jobs)} job(s)")
        if wait:
            ctx.exit(wait_for(opened, sweep.name))


def _cluster(opened: Session, sweep: SweepFolder, name: str | None) -> tuple[str, Cluster]:
    """The profile that the sweep keeps; with a name, that one as it is now. Raises SpecError where it is elsewhere."""
    kept = opened.cluster(sweep)
    if name is None:
        return opened.document(sweep).cluster, kept
    name, cluster = read_cluster(name)
    lies, leads = (
        f"{one.scheduler} {f'on {one.ssh.host}:{one.ssh.home}' if one.ssh else 'on this machine'}"
        for one in (kept, cluster)
    )
    if lies != leads:
        raise SpecError(
            f"{sweep.name} is a sweep of {lies}; the cluster profile {name} leads to {leads}",
            hint="submit the experiment there as a sweep of its own",
        )
    return name, cluster


def _missing(
    opened: Session, sweep: SweepFolder, named: set[str] | None, outcomes: set[OutcomeKind]
) -> tuple[set[str], list[BadNode]]:
    with opened.store.reading() as connection:
        rows = load_sweep(connection, sweep.name, samples=False).runs
    ended = [row for row in rows if row.state is RunState.FINISHED and row.job is not None]
    refused = {row.run for row in rows if row.state is RunState.PLANNED}  # no scheduler ever took them
    if named is not None:
        unknown = {row.run for row in rows if row.state is RunState.UNKNOWN}
        alive = sorted(named - {row.run for row in ended} - unknown - refused)
        if alive:
            raise SpecError(f"{', '.join(alive)} has not ended", hint="`hpcsweep cancel` it first")
        return named, bad_nodes(rows)
    wanted = {row.run for row in ended if (row.outcome in outcomes if outcomes else row.outcome not in NOT_TRIED_AGAIN)}
    return wanted if outcomes else wanted | refused, bad_nodes(rows)

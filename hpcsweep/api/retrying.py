"""Submit runs again: the steps that `hpcsweep retry` and the dashboard share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.analysis.bad_nodes import BadNode, bad_nodes
from hpcsweep.errors import HpcsweepError, SpecError
from hpcsweep.render.environment import make_environment
from hpcsweep.schedulers.registry import scheduler_templates
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.submit.client import SubmittedJob
from hpcsweep.submit.client import retry as submit_again
from hpcsweep.submit.factory import make_backend
from hpcsweep.submit.preparations import PreparationUse
from hpcsweep.submit.sweep_lock import SweepLock
from hpcsweep.sweep.inputs import read_cluster
from hpcsweep.sweep.layout import SweepFolder
from hpcsweep.sweep.prepare import own_templates
from hpcsweep.track.refresh import Session
from hpcsweep.track.runs import read_runs
from hpcsweep.track.sweep_rows import load_sweep
from hpcsweep.units import counted

FINAL_OUTCOMES = {OutcomeKind.COMPLETED, OutcomeKind.UNSUPPORTED}


@dataclass(frozen=True)
class RetryOptions:
    """What `hpcsweep retry` can change.

    `outcomes`: only runs that ended so; empty: all that did not complete. `walltime_s` None: that of the experiment.
    `cluster_name` None: the profile stored at submission.
    """

    outcomes: frozenset[OutcomeKind] = frozenset()
    walltime_s: float | None = None
    cluster_name: str | None = None
    exclude_bad_nodes: bool = False
    template_dir: Path | None = None


@dataclass(frozen=True)
class Retried:
    """The runs that were submitted again, and their jobs."""

    sweep: str
    runs: tuple[str, ...]
    jobs: tuple[SubmittedJob, ...]

    def sentence(self) -> str:
        """Return the result in words."""
        return f"{self.sweep}: {counted(len(self.runs), 'run')} again in {counted(len(self.jobs), 'submission')}"


def retry_chosen(
    opened: Session,
    sweep: SweepFolder,
    named: set[str] | None,
    options: RetryOptions,
    *,
    on_note: Callable[[str], None],
    on_warning: Callable[[str], None],
) -> Retried:
    """Submit runs of a sweep again as new attempts. `named` None: all that ended without completing.

    A run that is queued or running is never submitted twice. Raises HpcsweepError.
    """
    lock = SweepLock(sweep, "retry")
    lock.take(on_note)  # before the runs are chosen: another retry may be submitting the same runs
    try:
        warnings = opened.refresh([sweep.name], ended_too=True)
        if opened.incomplete.get(sweep.name):
            raise HpcsweepError(
                f"nothing was submitted: some files of {sweep.name} are unreadable, and their runs may have completed",
                code="sweep_incomplete",
                detail="\n".join(opened.incomplete[sweep.name]),
                hint="retry when `hpcsweep status` shows no such warning",
            )
        for warning in warnings:
            on_warning(warning)
        labels, nodes = _missing(opened, sweep, named, options.outcomes)
        for node in nodes:
            action = "excluded" if options.exclude_bad_nodes else "--exclude-bad-nodes excludes it"
            on_note(f"node {node.node}: {node.reason}; {action}")
        if not labels:
            raise SpecError(
                f"{sweep.name}: nothing to retry",
                code="nothing_to_retry",
                hint="`hpcsweep status` shows the state of every run",
            )
        cluster_name, cluster = _cluster(opened, sweep, options.cluster_name)
        if options.exclude_bad_nodes and nodes:
            excluded = ",".join([*([cluster.exclude] if cluster.exclude else []), *(node.node for node in nodes)])
            cluster = cluster.model_copy(update={"exclude": excluded})
        backend = make_backend(cluster, opened.home, opened.document(sweep).parallel)
        templates = make_environment(own_templates(options.template_dir), scheduler_templates(cluster.scheduler))
        submitted = submit_again(
            sweep,
            cluster_name,
            cluster,
            templates,
            backend,
            labels,
            lock,
            walltime_s=options.walltime_s,
            preparations=_preparations(opened, sweep),
        )
    finally:
        lock.release()
    return Retried(sweep.name, tuple(sorted(labels)), tuple(submitted.jobs))


def _preparations(opened: Session, sweep: SweepFolder) -> dict[str, PreparationUse]:
    """Return what the submission does with each preparation of the sweep."""
    with opened.store.reading() as connection:
        (status,) = read_runs(connection, [sweep.name])
    uses = {RunState.UNKNOWN: PreparationUse.UNKNOWN, RunState.PLANNED: PreparationUse.AGAIN}
    ended = {True: PreparationUse.DONE, False: PreparationUse.AGAIN}
    return {
        step.name: ended[step.completed]
        if step.verdict.state.final
        else uses.get(step.verdict.state, PreparationUse.WAIT)
        for step in status.current_preparations
    }


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
    opened: Session, sweep: SweepFolder, named: set[str] | None, outcomes: frozenset[OutcomeKind]
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

"""Submitting a sweep, cancelling and retrying runs of it: everything that changes something."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hpcsweep.errors import (
    HostError,
    HpcsweepError,
    Interrupted,
    PlanError,
    SchedulerError,
    SchedulerUnreachable,
    SpecError,
)
from hpcsweep.node.record.records import EXIT_FILE, OWNER_FILE, read_record
from hpcsweep.plan.jobs import repack, shape
from hpcsweep.render.environment import TemplateEnvironment
from hpcsweep.render.job import SCRIPT_FILE, RenderedJob
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.experiment import ResourceRequest
from hpcsweep.spec.job import JobSpec
from hpcsweep.spec.records import OwnerRecord
from hpcsweep.submit.backends import Backend
from hpcsweep.submit.place import Place, check_far_side, claim, find_place
from hpcsweep.submit.provenance import provenance
from hpcsweep.submit.sweep_lock import SweepLock
from hpcsweep.sweep.layout import SUBMISSION_FILE, Home, SweepFolder
from hpcsweep.sweep.prepare import Prepared, render_jobs, render_sweep, user_request
from hpcsweep.sweep.submission import Submission
from hpcsweep.sweep.write import write_jobs, write_sweep


@dataclass(frozen=True)
class Submitted:
    """What was handed over: the sweep, and per job its scheduler id and number of elements."""

    sweep: SweepFolder
    jobs: tuple[tuple[int, str, int], ...]


def submit(prepared: Prepared, home: Home, backend: Backend, above: int = 0) -> Submitted:
    """Write a sweep and hand its jobs over. Raises HpcsweepError.

    When the first job is refused nothing is left behind. When a later one is, the ones before it run, and the error
    names the rest, which `hpcsweep retry` submits. `above`: see `Home.claim`.
    """
    if all(run.refused for run in prepared.runs):
        raise PlanError(
            f"none of the {len(prepared.runs)} variants can be served as asked",
            detail="\n".join(f"{run.label}: {run.refused}" for run in prepared.runs[:5]),
            hint="`--dry-run` shows the reason of each",
        )
    limit = prepared.cluster.max_array_size or backend.max_array_size()
    home.make(prepared.group)
    place = claim(home, prepared.experiment.name, prepared.cluster, backend, above)
    sweep = place.sweep
    lock = SweepLock(sweep, "submit")
    try:
        lock.take(_nothing_to_say)
        rendered = render_sweep(
            prepared,
            sweep.name,
            place.sweep_dir,
            place.cache_dir,
            backend.template,
            max_array_size=limit,
            provenance=provenance(prepared.experiment_file),
        )
        write_sweep(prepared, rendered, sweep)
        place.stage()
        jobs = _hand_over(prepared.cluster_name, prepared.cluster, rendered.jobs, rendered.files, place, backend, lock)
    except BaseException:
        if not any(sweep.was_handed_over(number) for number in sweep.job_numbers()):
            place.remove()
        raise
    finally:
        lock.release()
    return Submitted(sweep, tuple(jobs))


def retry(
    sweep: SweepFolder,
    cluster_name: str,
    cluster: Cluster,
    environment: TemplateEnvironment,
    backend: Backend,
    labels: Collection[str],
    lock: SweepLock,
    *,
    walltime_s: float | None = None,
) -> Submitted:
    """Submit these runs of a sweep again, as further attempts, to the cluster as `cluster` now describes it.

    `lock`: held since before `labels` were chosen, or another command may have submitted the same runs meanwhile.
    `walltime_s`: of each; None: as the experiment says. Raises HpcsweepError.
    """
    document = sweep.read_sweep()
    own_script = bool(document.get("own_script"))
    if own_script and walltime_s is not None:
        raise SpecError("the sweep was submitted with a script of yours, which asks for its walltime itself")
    request = ResourceRequest.model_validate(document["experiment"].get("resources") or {})
    if walltime_s is not None:
        request = request.model_copy(update={"walltime": walltime_s})
    numbers = sweep.job_numbers()
    jobs = repack(
        [(job, run) for label, (job, _, run) in sweep.places().items() if label in labels],
        {label: sweep.attempts(label) for label in labels},
        lambda job, run: job.resources if own_script else shape(run.server, request, cluster),
        first_job=numbers[-1] + 1,
        max_array_size=1 if own_script else cluster.max_array_size or backend.max_array_size(),
        cluster=cluster,
    )
    script = own_script_of(sweep, cluster) if own_script else None
    files = render_jobs(environment, backend.template, jobs, cluster, document.get("parallel"), script)
    place = find_place(sweep, cluster, backend)
    check_far_side(cluster, backend)
    write_jobs(jobs, files, sweep)
    place.stage()
    return Submitted(sweep, tuple(_hand_over(cluster_name, cluster, jobs, files, place, backend, lock)))


def own_script_of(sweep: SweepFolder, cluster: Cluster) -> str:
    """Return the user's own script that a sweep was submitted with. Raises SpecError when it cannot be used again."""
    path = sweep.job_dir(sweep.job_numbers()[0]) / SCRIPT_FILE
    command = "sbatch" if cluster.scheduler == "slurm" else "qsub"
    again = f"submit the experiment as a sweep of its own, or the job with {command}"
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as exc:
        raise SpecError(
            f"{sweep.name}: the script of its jobs was not kept ({path}: {exc.strerror})", hint=again
        ) from exc
    if not text.strip():
        raise SpecError(f"{sweep.name}: its job was submitted by you, and its script was not kept", hint=again)
    user_request(cluster, text)
    return text


def cancel(
    sweep: SweepFolder,
    cluster: Cluster,
    backend: Backend,
    labels: Collection[str] | None,
    ended: Collection[tuple[int, int]] = (),
) -> list[str]:
    """Cancel runs (None: all of the sweep), one call a job; labels of those that a scheduler was asked to stop.

    Every submission of a run is covered: an earlier one may have been started again. `ended`: (job, index) of elements
    that are known to be over; they are left out of earlier submissions. What we cancel is remembered first: a scheduler
    may forget an element that is cancelled while it is pending. Raises SchedulerError.
    """
    place = find_place(sweep, cluster, backend)
    places = sweep.where_runs_are()
    wanted = {label: place for label, place in places.items() if labels is None or label in labels}
    elements = {*wanted.values(), *(sweep.earlier_places(wanted) - set(ended))}
    asked: set[int] = set()
    for number in sorted({job for job, _ in elements}):
        submission = sweep.read_submission(number)
        if submission is None or submission.job_id is None:
            continue
        indexes = sorted({index for job, index in elements if job == number})
        remembered = sorted({*submission.cancelled, *indexes})
        sweep.write_submission(number, submission.model_copy(update={"cancelled": remembered}))
        place.stage()  # the agent reads there that it is we who cancel
        # Subjobs of a plain array that have not started are in no job.json, so a whole sweep is its whole array.
        whole = len(indexes) == submission.elements or submission.plain == "job"
        whole = whole or (submission.plain == "array" and labels is None)
        try:
            backend.cancel(submission.job_id, None if whole else indexes)
        except SchedulerError:
            sweep.write_submission(number, submission)  # what ends it later was not this
            place.stage()
            raise
        asked.add(number)
    manual = [who for label in wanted if (who := _runs_manually(sweep, label)) is not None] if not asked else []
    if manual:
        raise SpecError(
            f"no scheduler has the job of {', '.join(manual)}: it was started manually",
            hint="end that process there; it stops its server and records the end",
        )
    return sorted(label for label, (job, _) in wanted.items() if job in asked)


def _runs_manually(sweep: SweepFolder, label: str) -> str | None:
    """`LABEL (process 7 on HOST)` of an attempt that has not ended; None: there is none."""
    folder = sweep.path / "runs" / label / f"attempt-{sweep.attempts(label)}"
    owner = read_record(folder / OWNER_FILE, OwnerRecord)
    if owner is None or (folder / EXIT_FILE).exists():
        return None
    return f"{label} (process {owner.pid} on {owner.host})"


def neighbours(sweep: SweepFolder, labels: Collection[str]) -> list[str]:
    """Runs that share an allocation with one of `labels` and would be cancelled with it."""
    places = sweep.where_runs_are()
    elements = {places[label] for label in labels if label in places}
    return sorted(label for label, place in places.items() if place in elements and label not in labels)


def _nothing_to_say(text: str) -> None:
    """No other process knows a folder that was made a moment ago."""


def _hand_over(
    cluster_name: str,
    cluster: Cluster,
    jobs: Sequence[JobSpec],
    files: Sequence[RenderedJob],
    place: Place,
    backend: Backend,
    lock: SweepLock,
) -> list[tuple[int, str, int]]:
    handed: list[tuple[int, str, int]] = []
    sweep = place.sweep
    for job, rendered in zip(jobs, files, strict=True):
        submission = Submission(
            job_id=None,
            cluster=cluster_name,
            scheduler=cluster.scheduler,
            submitted_at=time.time(),
            elements=len(job.array_tasks),
        )
        lock.check()
        try:
            _note(sweep, job.job, submission)  # whatever comes between: it may have arrived
            job_id = backend.submit(job, f"{place.sweep_dir}/jobs/{job.job}", rendered.script)
            _note(sweep, job.job, submission.model_copy(update={"job_id": job_id}))
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted while job {job.job} of {sweep.name} was submitted: it may have been{_told(handed)}",
                hint=f"do not submit again: `hpcsweep status {sweep.name}` looks for it, `hpcsweep cancel` ends what "
                f"was submitted{_rest(sweep, jobs, handed)}",
            ) from None
        except SchedulerUnreachable as exc:
            raise SchedulerUnreachable(
                f"{exc.message}: nobody knows whether it took job {job.job} of {sweep.name}{_told(handed)}",
                detail=exc.detail,
                hint=f"`hpcsweep status {sweep.name}` looks for it, so do not submit again; {exc.hint}",
            ) from exc
        except (SchedulerError, SpecError) as exc:
            sweep.forget_submission(job.job)
            if not handed:
                raise
            rest = f"`hpcsweep retry {sweep.name}` submits the rest; with --cluster {cluster_name} by a mended profile"
            raise HpcsweepError(
                f"{len(handed)} of {len(jobs)} jobs of {sweep.name} were submitted, "
                f"job {job.job} was refused: {exc.message}",
                detail=exc.detail,
                hint=f"{exc.hint}; {rest}" if exc.hint else rest,
            ) from exc
        handed.append((job.job, job_id, len(job.array_tasks)))
    return handed


def _note(sweep: SweepFolder, number: int, submission: Submission) -> None:
    """Write submission.json. Raises HostError that names the job's id, when it has one: it is the only trace of it."""
    try:
        sweep.write_submission(number, submission)
    except OSError as exc:
        path = sweep.job_dir(number) / SUBMISSION_FILE
        if submission.job_id is None:
            raise HostError(f"{path} cannot be written: {exc.strerror}", hint="this job was not submitted") from exc
        raise HostError(
            f"job {number} of {sweep.name} was accepted as {submission.job_id}, but {path} cannot be written: "
            f"{exc.strerror}",
            hint=f"do not submit again: make room, then `hpcsweep status {sweep.name}` finds the job",
        ) from exc


def _told(handed: Sequence[tuple[int, str, int]]) -> str:
    """What was submitted before, for an error; empty: nothing."""
    return f"; submitted before: {', '.join(job_id for _, job_id, _ in handed)}" if handed else ""


def _rest(sweep: SweepFolder, jobs: Sequence[JobSpec], handed: Sequence[tuple[int, str, int]]) -> str:
    left = len(jobs) - len(handed) - 1
    return f", `hpcsweep retry {sweep.name}` submits the other {left}" if left else ""

"""Submit a sweep; cancel and retry its runs."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hpcsweep.errors import (
    HostError,
    HpcsweepError,
    Interrupted,
    PlanError,
    SchedulerError,
    SchedulerUnreachable,
    SpecError,
)
from hpcsweep.node.records import EXIT_FILE, OWNER_FILE, read_record
from hpcsweep.plan.jobs import repack, shape
from hpcsweep.plan.request_check import check_request
from hpcsweep.render.environment import TemplateEnvironment
from hpcsweep.render.job import RenderedJob
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.file_names import SCRIPT_FILE
from hpcsweep.spec.job import JobSpec, Resources, RunSpec
from hpcsweep.spec.records import OwnerRecord
from hpcsweep.submit.backends import Backend
from hpcsweep.submit.location import SweepLocation, check_remote_python, claim, locate_sweep
from hpcsweep.submit.preparations import (
    PreparationUse,
    preparations_again,
    submitted_before,
    unneeded_preparations,
)
from hpcsweep.submit.provenance import provenance
from hpcsweep.submit.sweep_lock import SweepLock
from hpcsweep.sweep.layout import SUBMISSION_FILE, Home, SweepFolder
from hpcsweep.sweep.prepare import Prepared, render_jobs, render_sweep, user_request
from hpcsweep.sweep.submission import Submission
from hpcsweep.sweep.unfilled import require_filled
from hpcsweep.sweep.write import write_jobs, write_sweep


@dataclass(frozen=True)
class SubmittedJob:
    """One submission. `number`: of the folder below jobs/; `array_tasks`: their number, 1 for a single job.

    `preparation`: its name; None: the submission executes runs.
    """

    number: int
    job_id: str
    array_tasks: int
    preparation: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the entry of the `--json` output; `elements` is the name of `array_tasks` before version 0.2."""
        return {
            "job": self.number,
            "job_id": self.job_id,
            "array_tasks": self.array_tasks,
            "elements": self.array_tasks,
            "preparation": self.preparation,
        }


@dataclass(frozen=True)
class Submitted:
    """A sweep and the jobs that were submitted for it."""

    sweep: SweepFolder
    jobs: tuple[SubmittedJob, ...]


def submit(prepared: Prepared, home: Home, backend: Backend, above: int = 0) -> Submitted:
    """Write a sweep and submit its jobs. Raises HpcsweepError.

    If the scheduler refuses the first job, the sweep's folder is removed. If it refuses a later job, the jobs before it
    continue, and `hpcsweep retry` submits the others. `above`: see `Home.claim`.
    """
    if all(run.refused for run in prepared.runs):
        raise PlanError(
            f"0 of {len(prepared.runs)} variants can be served as requested",
            code="nothing_to_submit",
            detail="\n".join(f"{run.label}: {run.refused}" for run in prepared.runs[:5]),
            hint="`--dry-run` shows the reason for each variant",
        )
    require_filled(prepared.cluster_name, prepared.cluster)
    limit = prepared.cluster.max_array_size or backend.max_array_size()
    home.make(prepared.group)
    location = claim(home, prepared.experiment.name, prepared.cluster, backend, above)
    sweep = location.sweep
    lock = SweepLock(sweep, "submit")
    try:
        lock.take(lambda text: None)  # the folder is new: no other process waits for it
        rendered = render_sweep(
            prepared,
            sweep.name,
            location.sweep_dir,
            location.cache_dir,
            backend.template,
            max_array_size=limit,
            provenance=provenance(prepared.experiment_file),
        )
        write_sweep(prepared, rendered, sweep)
        location.stage()
        jobs = _submit_jobs(
            prepared.cluster_name, prepared.cluster, rendered.jobs, rendered.files, location, backend, lock
        )
    except BaseException:
        if not any(sweep.was_submitted(number) for number in sweep.job_numbers()):
            location.remove()
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
    preparations: Mapping[str, PreparationUse] = MappingProxyType({}),
) -> Submitted:
    """Submit these runs of a sweep again, as further attempts, with the settings that `cluster` has now.

    `lock`: must be held since before `labels` were chosen, because another command may submit the same runs.
    `walltime_s`: of each run; None: that of the experiment. `preparations`: what to do with those that the runs need; a
    failed one is submitted again. Raises HpcsweepError.
    """
    definition = sweep.read_sweep()
    if definition.own_script and walltime_s is not None:
        raise SpecError(
            "--walltime cannot be used: the sweep was submitted with your own script, which requests the walltime",
            code="walltime_of_own_script",
        )
    request = definition.resource_request
    if walltime_s is not None:
        request = request.model_copy(update={"walltime": walltime_s})

    def resources(job: JobSpec, run: RunSpec) -> Resources:
        if definition.own_script:
            return job.resources
        needed = shape(run.server, request, cluster)
        check_request(needed, cluster, own_template=environment.is_own(backend.template))
        return needed

    chosen = [(job, run) for label, (job, _, run) in sweep.current_jobs().items() if label in labels]
    needs = preparations_again(sweep, [job for job, _ in chosen], preparations, cluster)
    jobs = needs.jobs + repack(
        [(job.model_copy(update={"needs": needs.open_of(job)}), run) for job, run in chosen],
        {label: sweep.attempts(label) for label in labels},
        resources,
        first_job=needs.next_job,
        max_array_size=1 if definition.own_script else cluster.max_array_size or backend.max_array_size(),
        cluster=cluster,
        preparations=needs.numbers,
    )
    script = own_script_of(sweep, cluster) if definition.own_script else None
    files = render_jobs(environment, backend.template, jobs, cluster, definition.parallel, script)
    location = locate_sweep(sweep, cluster, backend)
    check_remote_python(cluster, backend)
    write_jobs(jobs, files, sweep)
    location.stage()
    return Submitted(sweep, tuple(_submit_jobs(cluster_name, cluster, jobs, files, location, backend, lock)))


def own_script_of(sweep: SweepFolder, cluster: Cluster) -> str:
    """Return the user's own script that a sweep was submitted with. Raises SpecError when it cannot be used again."""
    first = next(number for number in sweep.job_numbers() if sweep.read_job(number).preparation is None)
    path = sweep.job_dir(first) / SCRIPT_FILE
    command = "sbatch" if cluster.scheduler == "slurm" else "qsub"
    hint = f"submit the experiment as a new sweep, or submit the job with {command}"
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as exc:
        raise SpecError(
            f"{sweep.name}: the batch script of its jobs cannot be read: {path}: {exc.strerror}",
            code="own_script_missing",
            hint=hint,
        ) from exc
    if not text.strip():
        raise SpecError(
            f"{sweep.name}: you submitted its job yourself, so hpcsweep has no copy of the script",
            code="own_script_missing",
            hint=hint,
        )
    user_request(cluster, text)
    return text


def cancel(
    sweep: SweepFolder,
    cluster: Cluster,
    backend: Backend,
    labels: Collection[str] | None,
    ended: Collection[tuple[int, int]] = (),
) -> list[str]:
    """Cancel runs (None: all of the sweep), with one call per submission; return the labels of the cancelled runs.

    All submissions of a run are cancelled, because the scheduler may have started an earlier one again. `ended`:
    (job, index) of array tasks that have ended; they are not cancelled in earlier submissions. submission.json records
    the cancellation first, because a scheduler may forget an array task that is cancelled while it is pending.
    Raises SchedulerError.
    """
    location = locate_sweep(sweep, cluster, backend)
    wanted = {label: task for label, task in sweep.current_tasks().items() if labels is None or label in labels}
    tasks = {*wanted.values(), *(sweep.earlier_tasks(wanted) - set(ended))}
    unneeded = {(number, 0) for number in unneeded_preparations(sweep, wanted)} - set(ended)
    asked: set[int] = set()
    for number in [*sorted({job for job, _ in tasks}), *sorted({job for job, _ in unneeded})]:
        submission = sweep.read_submission(number)
        if submission is None or submission.job_id is None:
            continue
        indexes = sorted({index for job, index in tasks | unneeded if job == number})
        cancelled = sorted({*submission.cancelled, *indexes})
        sweep.write_submission(number, submission.model_copy(update={"cancelled": cancelled}))
        location.stage()  # the agent reads from this file why its job is cancelled
        # job.json of a plain array has only the subjobs that have started: cancelling the sweep cancels the array.
        whole = len(indexes) == submission.array_tasks or submission.plain == "job"
        whole = whole or (submission.plain == "array" and labels is None)
        try:
            backend.cancel(submission.job_id, None if whole else indexes)
        except SchedulerError:
            sweep.write_submission(number, submission)  # if the job ends later, it was not because of this
            location.stage()
            raise
        asked.add(number)
    manual = [text for label in wanted if (text := _manual_process(sweep, label)) is not None] if not asked else []
    if manual:
        raise SpecError(
            f"{', '.join(manual)} was started manually and has no job to cancel",
            code="no_job_to_cancel",
            hint="end the process yourself: it records its runs as cancelled when it receives SIGTERM",
        )
    return sorted(label for label, (job, _) in wanted.items() if job in asked)


def _manual_process(sweep: SweepFolder, label: str) -> str | None:
    """Return `LABEL (process 7 on HOST)` for an attempt that has not ended; None: there is none."""
    folder = sweep.path / "runs" / label / f"attempt-{sweep.attempts(label)}"
    owner = read_record(folder / OWNER_FILE, OwnerRecord)
    if owner is None or (folder / EXIT_FILE).exists():
        return None
    return f"{label} (process {owner.pid} on {owner.host})"


def neighbours(sweep: SweepFolder, labels: Collection[str]) -> list[str]:
    """Return the runs that share an array task with one of `labels`: they would be cancelled with it."""
    current = sweep.current_tasks()
    tasks = {current[label] for label in labels if label in current}
    return sorted(label for label, task in current.items() if task in tasks and label not in labels)


def _submit_jobs(
    cluster_name: str,
    cluster: Cluster,
    jobs: Sequence[JobSpec],
    files: Sequence[RenderedJob],
    location: SweepLocation,
    backend: Backend,
    lock: SweepLock,
) -> list[SubmittedJob]:
    done: list[SubmittedJob] = []
    sweep = location.sweep
    for job, rendered in zip(jobs, files, strict=True):
        submission = Submission(
            job_id=None,
            cluster=cluster_name,
            scheduler=cluster.scheduler,
            submitted_at=time.time(),
            array_tasks=len(job.array_tasks),
        )
        lock.check()
        try:
            _record(sweep, job.job, submission)  # first: if this process is killed now, the job may exist
            after = submitted_before(sweep, job)
            job_id = backend.submit(job, f"{location.sweep_dir}/jobs/{job.job}", rendered.script, after)
            _record(sweep, job.job, submission.model_copy(update={"job_id": job_id}))
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted while job {job.job} of {sweep.name} was being submitted; it may or may not have been "
                f"created{_listed(done)}",
                code="submission_interrupted",
                hint=f"do not submit again: `hpcsweep status {sweep.name}` searches for the job, `hpcsweep cancel` "
                f"cancels what was submitted{_remaining(sweep, jobs, done)}",
            ) from None
        except SchedulerUnreachable as exc:
            raise SchedulerUnreachable(
                f"{exc.message}; job {job.job} of {sweep.name} may or may not have been created{_listed(done)}",
                code="submission_unconfirmed",
                detail=exc.detail,
                hint=f"do not submit again: `hpcsweep status {sweep.name}` searches for the job; {exc.hint}",
            ) from exc
        except (SchedulerError, SpecError) as exc:
            sweep.forget_submission(job.job)
            if not done:
                raise
            rest = (
                f"`hpcsweep retry {sweep.name}` submits the rest; use --cluster {cluster_name} after fixing the profile"
            )
            raise HpcsweepError(
                f"{len(done)} of {len(jobs)} jobs of {sweep.name} were submitted; "
                f"job {job.job} was refused: {exc.message}",
                code="submission_refused_partly",
                detail=exc.detail,
                hint=f"{exc.hint}; {rest}" if exc.hint else rest,
            ) from exc
        name = job.preparation.name if job.preparation is not None else None
        done.append(SubmittedJob(job.job, job_id, len(job.array_tasks), name))
        if job.needs:
            location.stage()  # the agent of a preparation waits until it sees that this job was submitted
    return done


def _record(sweep: SweepFolder, number: int, submission: Submission) -> None:
    """Write submission.json. Raises HostError, which has the job's id if there is one: it is recorded nowhere else."""
    try:
        sweep.write_submission(number, submission)
    except OSError as exc:
        path = sweep.job_dir(number) / SUBMISSION_FILE
        if submission.job_id is None:
            raise HostError(
                f"{path} cannot be written: {exc.strerror}",
                code="submission_not_recorded",
                hint="this job was not submitted",
            ) from exc
        raise HostError(
            f"job {number} of {sweep.name} was accepted as {submission.job_id}, but {path} cannot be written: "
            f"{exc.strerror}",
            code="job_id_not_recorded",
            hint=f"do not submit again: free disk space, then `hpcsweep status {sweep.name}` finds the job",
        ) from exc


def _listed(done: Sequence[SubmittedJob]) -> str:
    """Return the ids of the jobs that were submitted before an error; empty: none."""
    return f"; submitted before: {', '.join(job.job_id for job in done)}" if done else ""


def _remaining(sweep: SweepFolder, jobs: Sequence[JobSpec], done: Sequence[SubmittedJob]) -> str:
    number = len(jobs) - len(done) - 1
    return f", `hpcsweep retry {sweep.name}` submits the other {number}" if number else ""

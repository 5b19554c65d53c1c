"""Add a job that was submitted with plain `qsub` or `sbatch` to a sweep when it starts.

`hpcsweep-node --experiment exp_runner` plans one run from the environment and writes it below HPCSWEEP_HOME as
`hpcsweep submit` does. The sweep's name is derived from the job's id, so that a restart of the job, and the other
tasks of its array, find it; HPCSWEEP_SWEEP is the name of a sweep that several jobs share. A lock serializes their
changes.
"""

import random
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.errors import HpcsweepError, PlanError, SpecError
from hpcsweep.node.identity import Identity, array_index
from hpcsweep.node.process.file_lock import FileLock
from hpcsweep.node.record.joining import Newcomer, join_sweep, record_failure
from hpcsweep.plan.variables import run_name, selection_of
from hpcsweep.schedulers.registry import scheduler_of
from hpcsweep.spec.cluster import LOCAL, Cluster
from hpcsweep.spec.load import choose_cluster
from hpcsweep.sweep.inputs import find_experiment, read_experiment, read_settings
from hpcsweep.sweep.layout import HOME_VARIABLE, SWEEP_FILE, Home
from hpcsweep.sweep.prepare import Request, prepare_on

SWEEP_VARIABLE = "HPCSWEEP_SWEEP"
CLUSTER_VARIABLE = "HPCSWEEP_CLUSTER"
_LOCK_WAIT_S = 120.0
_SWEEP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


@dataclass(frozen=True)
class PlainJob:
    """A job, read from the scheduler's environment. `job_id`: of the submission, for array tasks that of the array.

    None: started manually. `submit_dir`: working directory of qsub or sbatch. `index`: of an array task.
    """

    scheduler: str
    job_id: str | None
    name: str | None
    queue: str | None
    submit_dir: Path | None
    index: int | None = None


def read_plain_job(env: Mapping[str, str]) -> PlainJob:
    """Read this job from the environment."""
    scheduler = scheduler_of(env)
    if scheduler is None:
        return PlainJob("local", None, None, None, None)
    names = scheduler.environment
    submission = env.get(names.array_job_id) or scheduler.submission_id(env[names.job_id])
    return PlainJob(
        scheduler.name,
        submission,
        env.get(names.job_name),
        env.get(names.queue),
        _folder(env.get(names.submit_dir)),
        array_index(env) if submission != env[names.job_id] else None,
    )


def _folder(path: str | None) -> Path | None:
    return Path(path) if path else None


def add_plain_job(
    experiment_name: str, script: Path | None, env: Mapping[str, str], identity: Identity
) -> tuple[Path, int]:
    """Add this job to a sweep. Return the submission's folder and the index of the task. Raises HpcsweepError.

    When the variables do not describe a valid variant, a failed run with the reason is recorded, and the error is
    raised too. Nothing is created when the experiment cannot be read.
    """
    job = read_plain_job(env)
    home = Home(Path(env.get(HOME_VARIABLE) or (job.submit_dir or Path()) / ".hpcsweep").absolute())
    experiment = read_experiment(find_experiment(experiment_name))
    wanted = env.get(SWEEP_VARIABLE) or None
    if wanted is not None and not _SWEEP_NAME.fullmatch(wanted):
        message = f"{SWEEP_VARIABLE}={wanted!r} is not a valid name of a sweep"
        raise SpecError(message, code="sweep_name_invalid", hint="use letters, digits and . _ -")
    home.make()
    sweep = wanted or _sweep_name(experiment.name, job.job_id) or home.claim(experiment.name).name
    text = _read_script(script)
    target = find_profile(job, env.get(CLUSTER_VARIABLE))
    failure: HpcsweepError | None = None
    label, prepared = None, None
    try:
        label = run_name(env)
        selection = selection_of(experiment, env)
        prepared = prepare_on(Request(experiment_name, target[0], selection), target, text, running=True)
        if prepared.runs[0].refused is not None:
            failure = PlanError(f"this variant cannot be run: {prepared.runs[0].refused}", code="variant_refused")
    except HpcsweepError as exc:
        failure = exc
    newcomer = Newcomer(job.scheduler, job.job_id, job.name, job.index, label)
    lock = FileLock(home.sweeps_dir / f".{sweep}.join", identity)
    _wait_for(lock)
    made = not (home.sweeps_dir / sweep).exists() or not wanted
    folder = home.join(sweep)
    try:
        if failure is None and prepared is not None:
            return join_sweep(folder, home.cache_dir, prepared, newcomer)
        failure = failure or SpecError("no run was planned", code="no_run_planned")
        record_failure(folder, find_experiment(experiment_name), experiment, target, newcomer, failure)
    except OSError as exc:
        message = f"{folder.path} is not writable: {exc}"
        raise HpcsweepError(message, code="sweep_not_writable", hint="is it shared with this node?") from exc
    finally:
        if made and not (folder.path / SWEEP_FILE).exists():  # an incomplete sweep is removed
            shutil.rmtree(folder.path, ignore_errors=True)
        lock.release()
    message = f"{sweep}: {failure.message}"
    raise type(failure)(message, code=failure.code, hint=failure.hint, detail=failure.detail) from failure


def find_profile(job: PlainJob, name: str | None) -> tuple[str, Cluster]:
    """Return the cluster profile that this job runs under, and its name.

    That is `name`, else the first of these with the job's scheduler: the default profile, one with the job's queue, any
    other; else an empty profile. Without a scheduler: `local`. Raises SpecError when `name` has another scheduler.
    """
    settings = read_settings()
    if job.job_id is None:
        return choose_cluster(name, settings) if name or not settings else ("local", LOCAL)
    if name is not None:
        chosen = choose_cluster(name, settings)
        if chosen[1].scheduler != job.scheduler:
            raise SpecError(
                f"{CLUSTER_VARIABLE}={name} is a profile for {chosen[1].scheduler}, not for {job.scheduler}",
                code="profile_of_other_scheduler",
            )
        return name, chosen[1].model_copy(update={"ssh": None})
    profiles: dict[str, Cluster] = {}
    for _, file in reversed(settings):
        profiles |= {key: cluster for key, cluster in file.clusters.items() if cluster.scheduler == job.scheduler}
    default = next((file.default for _, file in settings if file.default), None)
    of_queue = [key for key, cluster in profiles.items() if job.queue in (cluster.queue, cluster.partition)]
    names = [*([default] if default in profiles else []), *of_queue, *profiles]
    if not names:
        return job.scheduler, Cluster(scheduler=job.scheduler)
    return str(names[0]), profiles[str(names[0])].model_copy(update={"ssh": None})


def _sweep_name(experiment: str, job_id: str | None) -> str | None:
    """Return `exp_runner-job12.server`, the same for all starts and tasks of a job; None: no job."""
    return None if job_id is None else f"{experiment}-job{re.sub(r'[^A-Za-z0-9.]', '', job_id)}"


def _read_script(path: Path | None) -> str | None:
    """Return the text of the job's script, which is only stored; None: the scheduler's copy cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path is not None else None
    except OSError:
        return None


def _wait_for(lock: FileLock) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while (owner := lock.take()) is not None:
        if time.monotonic() > deadline:
            raise HpcsweepError(
                f"{lock.path} has been locked by {owner} for more than {_LOCK_WAIT_S:.0f} s",
                code="sweep_locked",
                hint="remove the file if that process has exited, and submit the job again",
            )
        time.sleep(random.uniform(0.1, 0.4))

"""A job that the user submitted with plain `qsub` or `sbatch`: it gets its place in a sweep as it starts.

`hpcsweep-node --experiment exp_runner` plans one run from the environment and writes it below HPCSWEEP_HOME as
`hpcsweep submit` would have done. The sweep's name follows from the job's id, so that a second life of the job, and
the other subjobs of its array, find it; HPCSWEEP_SWEEP names one that several jobs share. A lock keeps them apart.
"""

import random
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.errors import HpcsweepError, PlanError, SpecError
from hpcsweep.node.process.file_lock import FileLock
from hpcsweep.node.record.identity import Identity, array_index
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
    """What the scheduler's environment says of the job. `job_id`: of the submission, an array's for its subjobs.

    None: started manually. `submit_dir`: where qsub or sbatch was called. `index`: of a subjob.
    """

    scheduler: str
    job_id: str | None
    name: str | None
    queue: str | None
    submit_dir: Path | None
    index: int | None = None


def read_plain_job(env: Mapping[str, str]) -> PlainJob:
    """Return what the environment says of this job."""
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
    """Give this job its place in a sweep; its folder, and the index of its element. Raises HpcsweepError.

    When the variables describe no variant that can be run, a failed run with the reason is recorded, and the error is
    raised all the same. An experiment that cannot be read leaves nothing behind.
    """
    job = read_plain_job(env)
    home = Home(Path(env.get(HOME_VARIABLE) or (job.submit_dir or Path()) / ".hpcsweep").absolute())
    experiment = read_experiment(find_experiment(experiment_name))
    wanted = env.get(SWEEP_VARIABLE) or None
    if wanted is not None and not _SWEEP_NAME.fullmatch(wanted):
        raise SpecError(f"{SWEEP_VARIABLE}={wanted!r} cannot name a sweep", hint="use letters, digits and . _ -")
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
            failure = PlanError(f"this variant cannot be run: {prepared.runs[0].refused}")
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
        failure = failure or SpecError("no run was planned")
        record_failure(folder, find_experiment(experiment_name), experiment, target, newcomer, failure)
    except OSError as exc:
        raise HpcsweepError(f"{folder.path} cannot be written: {exc}", hint="is it shared with this node?") from exc
    finally:
        if made and not (folder.path / SWEEP_FILE).exists():  # nothing half-made is left behind
            shutil.rmtree(folder.path, ignore_errors=True)
        lock.release()
    raise type(failure)(f"{sweep}: {failure.message}", hint=failure.hint, detail=failure.detail) from failure


def find_profile(job: PlainJob, name: str | None) -> tuple[str, Cluster]:
    """Return the cluster profile that this job runs under, and its name.

    The named one; else of those with the job's scheduler the default one, the one with its queue, or the first; else
    an empty one. Without a scheduler: `local`. Raises SpecError when the named one is of another scheduler.
    """
    settings = read_settings()
    if job.job_id is None:
        return choose_cluster(name, settings) if name or not settings else ("local", LOCAL)
    if name is not None:
        chosen = choose_cluster(name, settings)
        if chosen[1].scheduler != job.scheduler:
            raise SpecError(
                f"{CLUSTER_VARIABLE}={name} is a profile of {chosen[1].scheduler}, the job of {job.scheduler}"
            )
        return name, chosen[1].model_copy(update={"ssh": None})
    profiles: dict[str, Cluster] = {}
    for _, found in reversed(settings):
        profiles |= {one: cluster for one, cluster in found.clusters.items() if cluster.scheduler == job.scheduler}
    default = next((found.default for _, found in settings if found.default), None)
    of_queue = [one for one, cluster in profiles.items() if job.queue in (cluster.queue, cluster.partition)]
    names = [*([default] if default in profiles else []), *of_queue, *profiles]
    if not names:
        return job.scheduler, Cluster(scheduler=job.scheduler)
    return str(names[0]), profiles[str(names[0])].model_copy(update={"ssh": None})


def _sweep_name(experiment: str, job_id: str | None) -> str | None:
    """`exp_runner-job12.server`: the same in every life and every subjob of a job; None: there is no job."""
    return None if job_id is None else f"{experiment}-job{re.sub(r'[^A-Za-z0-9.]', '', job_id)}"


def _read_script(path: Path | None) -> str | None:
    """The text of the job's script; None where the scheduler's copy cannot be read: it is only kept for the record."""
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path is not None else None
    except OSError:
        return None


def _wait_for(lock: FileLock) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while (owner := lock.take()) is not None:
        if time.monotonic() > deadline:
            raise HpcsweepError(
                f"{lock.path} is held by {owner} for more than {_LOCK_WAIT_S:.0f} s",
                hint="remove the file if that process is gone, and submit the job again",
            )
        time.sleep(random.uniform(0.1, 0.4))

"""Pack runs into submissions: one array per resource request, in chunks that the cluster accepts."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hpcsweep.engines.registry import get_engine
from hpcsweep.errors import PlanError
from hpcsweep.plan.request_check import per_gpu
from hpcsweep.plan.runs import PlannedRun
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.experiment import Experiment, ResourceRequest
from hpcsweep.spec.job import ArrayTask, JobSpec, Resources, RunSpec, Simulation
from hpcsweep.spec.server import ServerConfig
from hpcsweep.units import format_duration

Item = TypeVar("Item")


@dataclass(frozen=True)
class Packing:
    """Parameters of `pack_jobs`."""

    sweep: str
    sweep_dir: str
    cache_dir: str
    pack: int = 1
    max_array_size: int | None = None
    own_script: bool = False
    simulations: Mapping[str, Simulation] = field(default_factory=dict)  # engine -> the simulation that replaces it
    data_files: Mapping[str, str] = field(default_factory=dict)  # path here -> path on the node


def shape(server: ServerConfig, request: ResourceRequest, cluster: Cluster, pack: int = 1) -> Resources:
    """Return the request of one job with `pack` runs of such a server. Raises PlanError if it exceeds the cluster."""
    nodes = request.nodes
    needed = get_engine(server.engine).settings(server).gpus
    gpus = request.gpus if request.gpus is not None else math.ceil(needed / nodes)
    if cluster.gpus_per_node is not None and gpus > cluster.gpus_per_node and cluster.scheduler != "local":
        raise PlanError(
            f"the server needs {gpus} GPUs per node; nodes of this cluster have {cluster.gpus_per_node}",
            code="too_many_gpus_per_node",
            hint="lower tp, pp or dp, raise resources.nodes, or set gpus_per_node in the cluster profile",
        )
    walltime_s = request.walltime * pack
    if cluster.walltime is not None and walltime_s > cluster.walltime:
        request_text = f"a run requests {format_duration(walltime_s)}"
        if pack > 1:
            request_text = f"{pack} runs of {format_duration(request.walltime)} need {format_duration(walltime_s)}"
        raise PlanError(
            f"{request_text}; this cluster allows {format_duration(cluster.walltime)} (walltime in its profile)",
            code="walltime_over_limit",
            hint="lower --runs-per-job or the walltime"
            if pack > 1
            else "lower the walltime, or raise that of the profile",
        )
    return Resources(
        nodes=nodes,
        gpus=gpus,
        gpu_type=request.gpu_type or cluster.gpu_type,
        gpu_memory_bytes=request.gpu_memory or cluster.gpu_memory,
        cpus=request.cpus or per_gpu(gpus, cluster.cpus_per_gpu, cluster.cpus),
        memory_bytes=request.memory or per_gpu(gpus, cluster.memory_per_gpu, cluster.memory),
        walltime_s=walltime_s,
    )


def pack_jobs(experiment: Experiment, runs: Sequence[PlannedRun], cluster: Cluster, packing: Packing) -> list[JobSpec]:
    """Return the submissions of all runs that are not refused: as few as possible, with the runs in order in each."""
    groups: dict[Resources, list[PlannedRun]] = {}
    for run in runs:
        if run.refused is None:
            groups.setdefault(shape(run.server, experiment.resources, cluster, packing.pack), []).append(run)
    jobs: list[JobSpec] = []
    for resources, members in groups.items():
        tasks = list(_chunks(members, packing.pack))
        for part in _chunks(tasks, packing.max_array_size or len(tasks)):
            number = len(jobs)
            jobs.append(
                JobSpec(
                    sweep=packing.sweep,
                    job=number,
                    sweep_dir=packing.sweep_dir,
                    name=f"{packing.sweep}-{number}",
                    scheduler=cluster.scheduler,
                    resources=resources,
                    array_tasks=[
                        ArrayTask(index=index, runs=[_run_spec(experiment, run, packing) for run in task_runs])
                        for index, task_runs in enumerate(part)
                    ],
                    engines=cluster.engines,
                    cache_dir=packing.cache_dir,
                    own_script=packing.own_script,
                    compile_cache=experiment.compile_cache,
                    engine_setup=cluster.engine_setup,
                    profile_variables=cluster.variables,
                    env_from=experiment.env_from,
                    secrets_file=experiment.secrets_file or cluster.secrets_file,
                    private_network=cluster.private_network,
                    unprotected_server_allowed=cluster.unprotected_server_allowed,
                )
            )
    return jobs


def repack(
    runs: Sequence[tuple[JobSpec, RunSpec]],
    attempts: Mapping[str, int],
    resources: Callable[[JobSpec, RunSpec], Resources],
    *,
    first_job: int,
    max_array_size: int | None,
    cluster: Cluster,
) -> list[JobSpec]:
    """Return submissions that run runs of earlier ones again, one run per array task.

    `attempts`: run label -> number of known attempts. `resources`: the request of a job with this run alone.
    `cluster`: the current profile.
    """
    groups: dict[Resources, list[tuple[JobSpec, RunSpec]]] = {}
    for job, run in runs:
        groups.setdefault(resources(job, run), []).append((job, run))
    jobs: list[JobSpec] = []
    for request, members in groups.items():
        for part in _chunks(members, max_array_size or len(members)):
            number = first_job + len(jobs)
            tasks = [
                ArrayTask(index=index, runs=[run.model_copy(update={"attempt_offset": attempts.get(run.label, 0)})])
                for index, (_, run) in enumerate(part)
            ]
            first = part[0][0]
            changed: dict[str, Any] = {"job": number, "name": f"{first.sweep}-{number}", "array_tasks": tasks}
            changed |= {"resources": request, "engines": dict(cluster.engines)}
            changed |= {"unprotected_server_allowed": cluster.unprotected_server_allowed}
            changed |= {"private_network": cluster.private_network}
            changed |= {"engine_setup": cluster.engine_setup, "profile_variables": cluster.variables}
            jobs.append(first.model_copy(update=changed))
    return jobs


def gpu_hours(jobs: Sequence[JobSpec]) -> float:
    """Return the upper limit of GPU-hours: GPUs x walltime of every array task."""
    return sum(
        job.resources.gpus * job.resources.nodes * job.resources.walltime_s / 3600 * len(job.array_tasks)
        for job in jobs
    )


def _run_spec(experiment: Experiment, run: PlannedRun, packing: Packing) -> RunSpec:
    workloads = [
        planned.model_copy(
            update={
                "facts": planned.facts.model_copy(
                    update={"files": {packing.data_files.get(p, p): sha for p, sha in planned.facts.files.items()}}
                )
            }
        )
        for planned in run.workloads
    ]
    return RunSpec(
        run_id=f"{packing.sweep}/{run.label}",
        label=run.label,
        variant_id=run.variant_id,
        repeat=run.repeat,
        axes=dict(run.axes),
        server=run.server,
        workloads=workloads,
        budgets=experiment.budgets,
        run_dir=f"{packing.sweep_dir}/runs/{run.label}",
        exports={**run.exports, "HPCSWEEP_SWEEP": packing.sweep},
        simulation=packing.simulations.get(run.server.engine),
        gpus=run.gpus,
    )


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def parallel_shares(sizes: Sequence[int], parallel: int | None) -> list[int | None]:
    """Return how many tasks of each array may run at once, so that at most `parallel` of the sweep do.

    `sizes`: array tasks of each submission. Schedulers limit single arrays only, so each array gets a share in
    proportion to its size, at least 1: with more arrays than `parallel`, one task of each may run. None: no limit.
    """
    if parallel is None or len(sizes) < 2:
        return [parallel] * len(sizes)
    shares = [1] * len(sizes)
    while sum(shares) < parallel:
        waiting = [size / share if share < size else 0.0 for size, share in zip(sizes, shares, strict=True)]
        most = max(range(len(sizes)), key=waiting.__getitem__)
        if not waiting[most]:
            break
        shares[most] += 1
    return list(shares)

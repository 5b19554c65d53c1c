"""Pack runs into submissions: one array per resource request, in chunks that the cluster accepts."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from hpcsweep.engines.registry import get_engine
from hpcsweep.errors import PlanError
from hpcsweep.plan.feasibility import nodes_spanned
from hpcsweep.plan.request_check import per_gpu
from hpcsweep.plan.runs import PlannedRun
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.container import Container
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
    needed = get_engine(server.engine).settings(server).gpus
    nodes = request.nodes or nodes_needed(needed, request.gpus, cluster)
    gpus = request.gpus if request.gpus is not None else math.ceil(needed / nodes)
    if cluster.gpus_per_node is not None and gpus > cluster.gpus_per_node and cluster.scheduler != "local":
        raise PlanError(
            f"the server needs {gpus} GPUs per node; nodes of this cluster have {cluster.gpus_per_node}",
            code="too_many_gpus_per_node",
            hint="lower tp, pp or dp, raise resources.nodes, or set gpus_per_node in the cluster profile",
        )
    walltime_s = request.walltime * pack
    asks = "a run requests" if pack == 1 else f"{pack} runs of {format_duration(request.walltime)} need"
    hint = "lower --runs-per-job or the walltime" if pack > 1 else "lower the walltime, or raise that of the profile"
    check_walltime(cluster, walltime_s, asks, hint)
    return Resources(
        nodes=nodes,
        gpus=gpus,
        gpu_type=request.gpu_type or cluster.gpu_type,
        gpu_memory_bytes=request.gpu_memory or cluster.gpu_memory,
        cpus=request.cpus or per_gpu(gpus, cluster.cpus_per_gpu, cluster.cpus),
        memory_bytes=request.memory or per_gpu(gpus, cluster.memory_per_gpu, cluster.memory),
        walltime_s=walltime_s,
    )


def nodes_needed(gpus: int, gpus_asked: int | None, cluster: Cluster) -> int:
    """Return the fewest nodes on which a server with `gpus` GPUs fits with equal parts.

    `gpus_asked`: GPUs of one node that the experiment requests; None: all of a node of the cluster, if that is known.
    """
    per_node = gpus_asked if gpus_asked is not None else cluster.gpus_per_node
    if not per_node or cluster.scheduler == "local" or gpus <= per_node:
        return 1
    least = math.ceil(gpus / per_node)
    return next(nodes for nodes in range(least, gpus + 1) if gpus % nodes == 0)


def check_walltime(cluster: Cluster, walltime_s: float, asks: str, hint: str) -> None:
    """Raise PlanError when a walltime exceeds the maximum of the profile. `asks`: `a run requests`."""
    if cluster.walltime is not None and walltime_s > cluster.walltime:
        limit = f"this cluster allows {format_duration(cluster.walltime)} (walltime in its profile)"
        raise PlanError(f"{asks} {format_duration(walltime_s)}; {limit}", code="walltime_over_limit", hint=hint)


def pack_jobs(
    experiment: Experiment,
    runs: Sequence[PlannedRun],
    cluster: Cluster,
    packing: Packing,
    needs_of: Callable[[PlannedRun], Mapping[str, int]] = lambda run: {},
    first_job: int = 0,
) -> list[JobSpec]:
    """Return the submissions of all runs that are not refused: as few as possible, with the runs in order in each.

    `needs_of`: the preparations of a run, with the numbers of their jobs; runs of one submission need the same.
    """
    groups: dict[tuple[Resources, tuple[tuple[str, int], ...]], list[PlannedRun]] = {}
    for run in runs:
        if run.refused is None:
            resources = shape(run.server, experiment.resources, cluster, packing.pack)
            groups.setdefault((resources, tuple(needs_of(run).items())), []).append(run)
    jobs: list[JobSpec] = []
    for (resources, needs), members in groups.items():
        tasks = list(_chunks(members, packing.pack))
        for part in _chunks(tasks, packing.max_array_size or len(tasks)):
            number = first_job + len(jobs)
            jobs.append(
                JobSpec(
                    sweep=packing.sweep,
                    job=number,
                    sweep_dir=packing.sweep_dir,
                    name=f"{packing.sweep}-{number}",
                    scheduler=cluster.scheduler,
                    resources=resources,
                    needs=dict(needs),
                    array_tasks=[
                        ArrayTask(
                            index=index, runs=[run_spec(experiment, run, packing, resources) for run in task_runs]
                        )
                        for index, task_runs in enumerate(part)
                    ],
                    container=experiment.container,
                    containers=containers_of(cluster, [run.server.engine for run in members]),
                    cache_dir=packing.cache_dir,
                    own_script=packing.own_script,
                    compile_cache=experiment.compile_cache,
                    env_from=experiment.env_from,
                    secrets_file=experiment.secrets_file or cluster.secrets_file,
                    **of_profile(cluster),
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
    preparations: Mapping[str, int] = MappingProxyType({}),
) -> list[JobSpec]:
    """Return submissions that run runs of earlier ones again, one run per array task.

    `attempts`: run label -> number of known attempts. `resources`: the request of a job with this run alone.
    `cluster`: the current profile. `preparations`: name -> number of the job that now prepares the runs.
    """
    groups: dict[tuple[Resources, tuple[str, ...]], list[tuple[JobSpec, RunSpec]]] = {}
    for job, run in runs:
        groups.setdefault((resources(job, run), tuple(job.needs)), []).append((job, run))
    jobs: list[JobSpec] = []
    for (request, needs), members in groups.items():
        for part in _chunks(members, max_array_size or len(members)):
            number = first_job + len(jobs)
            tasks = [
                ArrayTask(index=index, runs=[run.model_copy(update={"attempt_offset": attempts.get(run.label, 0)})])
                for index, (_, run) in enumerate(part)
            ]
            first = part[0][0]
            changed: dict[str, Any] = {"job": number, "name": f"{first.sweep}-{number}", "array_tasks": tasks}
            changed |= {"needs": {name: preparations[name] for name in needs}}
            changed |= {"resources": request, **of_profile(cluster)}
            changed |= {"containers": containers_of(cluster, [run.server.engine for _, run in part])}
            jobs.append(first.model_copy(update=changed))
    return jobs


def of_profile(cluster: Cluster) -> dict[str, Any]:
    """Return the fields of a job that a retry takes from the current profile."""
    return {
        "engines": cluster.executables,
        "private_network": cluster.private_network,
        "unprotected_server_allowed": cluster.unprotected_server_allowed,
        "engine_setup": cluster.engine_setup,
        "profile_variables": cluster.variables,
        "launcher": cluster.launcher,
        "preflight": cluster.preflight,
    }


def containers_of(cluster: Cluster, engines: Iterable[str]) -> dict[str, Container]:
    """Return engine -> its container in the profile, for the engines that have one."""
    profiled = {engine: cluster.container_of(engine) for engine in dict.fromkeys(engines)}
    return {engine: container for engine, container in profiled.items() if container is not None}


def gpu_hours(jobs: Sequence[JobSpec]) -> float:
    """Return the upper limit of GPU-hours: GPUs x walltime of every array task."""
    return sum(
        job.resources.gpus * job.resources.nodes * job.resources.walltime_s / 3600 * len(job.array_tasks)
        for job in jobs
    )


def run_spec(experiment: Experiment, run: PlannedRun, packing: Packing, resources: Resources) -> RunSpec:
    """Return a run as job.json describes it. `resources`: of its job."""
    nodes = nodes_spanned(get_engine(run.server.engine).settings(run.server).gpus, resources)
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
        gpus=run.gpus // nodes,
        nodes=nodes,
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

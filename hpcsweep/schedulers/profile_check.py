"""Compare a cluster profile with what the cluster reports: find what would be refused, or would never start."""

from collections.abc import Iterator

from hpcsweep.schedulers.base import ClusterFacts, Partition, Scheduler
from hpcsweep.schedulers.registry import get_scheduler
from hpcsweep.spec.base import nearest
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.gpu_request import ONE_TYPE, names_gpu_type
from hpcsweep.units import format_bytes, format_duration


def profile_problems(cluster: Cluster, facts: ClusterFacts) -> list[str]:
    """Return the problems of a profile on this cluster, one sentence each. Values that are unknown are not checked."""
    if not facts.partitions:
        return []
    scheduler = get_scheduler(cluster.scheduler)
    key = scheduler.queue_key
    wanted = cluster.queue if key == "queue" else cluster.partition
    names = [partition.name for partition in facts.partitions]
    requested = wanted.split(",") if wanted else []
    if facts.server:
        queues = [name.partition("@") for name in requested]
        requested = [queue for queue, _, server in queues if server in ("", facts.server)]
        if wanted and not requested:
            return []  # a queue of another server, which these facts do not describe
    chosen = [p for p in facts.partitions if (p.name in requested if wanted else p.default)]
    problems = [f"{key} {name!r} does not exist ({nearest(name, names)})" for name in requested if name not in names]
    if not chosen and not problems:
        return [f"{key} is not set, and this cluster has no default {key} (known: {', '.join(names)})"]
    if chosen:
        per_partition = [list(_compare(cluster, partition, scheduler)) for partition in chosen]
        if all(per_partition):  # of several partitions, one that fits is enough
            problems += per_partition[0]
    limit = facts.max_array_size
    if cluster.max_array_size is not None and limit is not None and cluster.max_array_size > limit:
        problems.append(f"max_array_size {cluster.max_array_size} exceeds this cluster's limit of {limit}")
    return problems


def _compare(cluster: Cluster, partition: Partition, scheduler: Scheduler) -> Iterator[str]:
    name = f"{scheduler.queue_key} {partition.name!r}"
    if not partition.usable:
        yield f"{name} does not accept jobs at present"
    if partition.only_routed:
        yield f"{name} accepts jobs only from a routing queue (from_route_only): use that queue instead"
    if not scheduler.has_gpu_types:
        yield from _gpu_type_problems(cluster, partition, name)
    limit_s = partition.max_walltime_s
    if cluster.walltime is not None and limit_s is not None and cluster.walltime > limit_s:
        yield f"walltime {format_duration(cluster.walltime)} exceeds the {format_duration(limit_s)} of {name}"
    if cluster.gpu_type is not None and partition.gpus and cluster.gpu_type not in partition.gpus:
        yield f"{name} has no GPUs of type {cluster.gpu_type!r} ({nearest(cluster.gpu_type, partition.gpus)})"
    most_gpus = partition.gpus.get(cluster.gpu_type or "", max(partition.gpus.values(), default=0))
    if cluster.gpus_per_node is not None and cluster.gpus_per_node > most_gpus:
        yield f"gpus_per_node {cluster.gpus_per_node}: a node of {name} has {most_gpus}"
    if cluster.cpus is not None and partition.cpus is not None and cluster.cpus > partition.cpus:
        yield f"cpus {cluster.cpus}: a node of {name} has {partition.cpus}"
    if cluster.memory is not None and partition.memory_bytes is not None and cluster.memory > partition.memory_bytes:
        yield f"memory {format_bytes(cluster.memory)}: a node of {name} has {format_bytes(partition.memory_bytes)}"


def _gpu_type_problems(cluster: Cluster, partition: Partition, name: str) -> Iterator[str]:
    """Yield what keeps the GPU type of a profile from reaching PBS, which has no notion of GPU types."""
    wanted, resource = cluster.gpu_type, cluster.gpu_resource
    if wanted is not None and not names_gpu_type(cluster, wanted):
        missing = f"gpu_resource: {partition.gpu_resource or 'queue'}"
        yield f"gpu_type {wanted} is not passed to PBS, so a job may get any GPUs of {name}: add {missing}"
    elif resource not in (None, ONE_TYPE, partition.gpu_resource) and partition.gpu_resource:
        yield f"gpu_resource {resource}: the nodes of {name} report their GPU type as {partition.gpu_resource}"
    elif resource is None and wanted is None and len(partition.gpus) > 1 and cluster.constraint is None:
        kinds = ", ".join(sorted(kind or "GPUs without a type" for kind in partition.gpus))
        yield f"{name} has different GPUs ({kinds}), and the profile does not select one: set gpu_type"

"""A cluster profile held against what the cluster says of itself: what would be refused, or would wait for ever."""

from collections.abc import Iterator

from hpcsweep.schedulers.base import ClusterFacts, Partition
from hpcsweep.spec.base import nearest
from hpcsweep.spec.cluster import Cluster
from hpcsweep.units import format_bytes, format_duration


def profile_problems(cluster: Cluster, facts: ClusterFacts) -> list[str]:
    """What is wrong with a profile on this cluster, in words; nothing is said of what the cluster does not tell."""
    if not facts.partitions:
        return []
    key = "queue" if cluster.scheduler == "pbs" else "partition"
    wanted = cluster.queue if cluster.scheduler == "pbs" else cluster.partition
    names = [partition.name for partition in facts.partitions]
    asked = wanted.split(",") if wanted else []
    if cluster.scheduler == "pbs":
        asked = [queue for queue, at, server in (name.partition("@") for name in asked) if server in ("", facts.server)]
        if wanted and not asked:
            return []  # a queue of another server: these facts are not about it
    chosen = [p for p in facts.partitions if (p.name in asked if wanted else p.default)]
    problems = [f"{key} {name!r} is not there ({nearest(name, names)})" for name in asked if name not in names]
    if not chosen and not problems:
        return [f"no {key} is set, and this cluster has no default one (known: {', '.join(names)})"]
    if chosen:
        per_partition = [list(_against(cluster, partition, key)) for partition in chosen]
        if all(per_partition):  # a job may go to any of several partitions: one that fits is enough
            problems += per_partition[0]
    limit = facts.max_array_size
    if cluster.max_array_size is not None and limit is not None and cluster.max_array_size > limit:
        problems.append(f"max_array_size {cluster.max_array_size} is over the {limit} that this cluster takes")
    return problems


def _against(cluster: Cluster, partition: Partition, key: str) -> Iterator[str]:
    name = f"{key} {partition.name!r}"
    if not partition.usable:
        yield f"{name} takes no jobs at present"
    if partition.only_routed:
        yield f"{name} takes jobs only from a routing queue (from_route_only): name that one"
    if cluster.scheduler == "pbs":
        yield from _gpu_type_problems(cluster, partition, name)
    limit_s = partition.max_walltime_s
    if cluster.walltime is not None and limit_s is not None and cluster.walltime > limit_s:
        yield f"walltime {format_duration(cluster.walltime)} is over the {format_duration(limit_s)} of {name}"
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
    """What keeps the GPU type of a profile from reaching PBS, which has no notion of GPU types itself."""
    wanted, resource = cluster.gpu_type, cluster.gpu_resource
    in_constraint = wanted is not None and wanted.lower() in (cluster.constraint or "").lower()
    if wanted is not None and resource is None and not in_constraint:
        found = f"gpu_resource: {partition.gpu_resource}" if partition.gpu_resource else "gpu_resource: queue"
        yield f"gpu_type {wanted} does not reach PBS, so that a job may get any GPUs of {name}: add {found}"
    elif resource not in (None, "queue", partition.gpu_resource) and partition.gpu_resource:
        yield f"gpu_resource {resource}: the nodes of {name} say their GPU type by {partition.gpu_resource}"
    elif resource is None and wanted is None and len(partition.gpus) > 1 and cluster.constraint is None:
        kinds = ", ".join(sorted(kind or "GPUs without a type" for kind in partition.gpus))
        yield f"{name} has different GPUs ({kinds}), and the profile does not choose: set gpu_type"

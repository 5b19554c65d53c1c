"""Whether the scheduler learns which GPU type is requested: a job on other GPUs would be measured for nothing."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the models, and with them pydantic, are not needed to query a scheduler
    from hpcsweep.spec.cluster import Cluster

ONE_TYPE = "queue"
"""Value of `gpu_resource`: all GPUs of the queue have the type of the profile, so the request does not name it."""

PBS_HINT = (
    "set gpu_resource in the profile to the resource by which your site distinguishes its nodes (`hpcsweep doctor` "
    "shows it, `hpcsweep init` writes it), or to `queue` if all GPUs of the queue are of this type"
)
"""What to do about a GPU type that would not reach PBS, which has no GPU types of its own."""


def names_gpu_type(cluster: "Cluster", gpu_type: str) -> bool:
    """Return whether a request for GPUs of this type reaches the scheduler.

    A constraint or a PBS request that contains the type counts. A profile without a type in its requests states by its
    `gpu_type` which GPUs its partition or queue has; another type cannot be requested by it. With `gpu_resource: queue`
    and without a `gpu_type`, the user has chosen the queue for its GPUs, and the agent compares them with the request.
    """
    same = (cluster.gpu_type or "").lower() == gpu_type.lower()
    if cluster.scheduler == "pbs":
        by_queue = cluster.gpu_resource == ONE_TYPE and (same or cluster.gpu_type is None)
        return by_queue or _in_text(cluster, gpu_type) or bool(gpu_type_resource(cluster, gpu_type))
    if cluster.scheduler == "slurm" and not (cluster.gpu_type_in_directive and cluster.gpu_directive != "none"):
        return same or _in_text(cluster, gpu_type)
    return True


def gpu_type_resource(cluster: "Cluster", gpu_type: str) -> str:
    """Return `RESOURCE=TYPE` for a request to PBS; empty: the request names the type otherwise, or not at all."""
    if cluster.gpu_resource in (None, ONE_TYPE) or _in_text(cluster, gpu_type):
        return ""
    return f"{cluster.gpu_resource}={gpu_type}"


def _in_text(cluster: "Cluster", gpu_type: str) -> bool:
    """Return whether the profile's own text names the type: its constraint, or its form of a request to PBS."""
    texts = [cluster.constraint or ""]
    if cluster.scheduler == "pbs":
        texts += [cluster.pbs.select or "", *cluster.pbs.resources]
    return any("{gpu_type}" in text or gpu_type.lower() in text.lower() for text in texts)

"""Check that what a job needs can be requested in the form of its cluster profile."""

from hpcsweep.errors import PlanError
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.gpu_request import PBS_HINT, names_gpu_type
from hpcsweep.spec.job import Resources
from hpcsweep.spec.pbs_request import NO_SELECT, fill

_SLURM_HINT = (
    "set gpu_type in the profile if all GPUs of its partition and constraint are of this type, or name the type in "
    "constraint, or set gpu_type_in_directive: true"
)


def per_gpu(gpus: int, amount: int | None, of_node: int | None) -> int | None:
    """Return the CPUs or bytes of a job on one node: `amount` for each GPU, at most those of the node.

    Without `amount` or GPUs, the job requests `of_node`; None: the default of the scheduler.
    """
    if amount is None or not gpus:
        return of_node
    return min(amount * gpus, of_node) if of_node is not None else amount * gpus


def check_request(resources: Resources, cluster: Cluster, *, own_template: bool = False) -> list[str]:
    """Return warnings.

    Raises PlanError if the GPU type would not reach the scheduler, SpecError if a value of a request is missing.
    `own_template`: the directives are in a template of the user, which may have the GPU type.
    """
    gpu_type = resources.gpu_type
    if cluster.scheduler == "pbs":
        for text in (cluster.pbs.select, *cluster.pbs.resources):
            if text not in (None, NO_SELECT):
                fill(text, resources)
    if gpu_type is None or not resources.gpus or names_gpu_type(cluster, gpu_type):
        return []
    scheduler = "PBS" if cluster.scheduler == "pbs" else "Slurm"
    if own_template:
        return [
            f"gpu_type {gpu_type} is requested; the profile does not pass it to {scheduler}, your own template has to"
        ]
    if cluster.gpu_type is not None and cluster.gpu_type.lower() != gpu_type.lower():
        raise PlanError(
            f"gpu_type {gpu_type} is requested; this profile is for {cluster.gpu_type}, and its requests have no type",
            code="gpu_type_not_requested",
            hint=f"use a profile for {gpu_type} nodes, or remove gpu_type from the resources of the experiment",
        )
    raise PlanError(
        f"gpu_type {gpu_type} is requested, but is not passed to {scheduler}",
        code="gpu_type_not_requested",
        hint=PBS_HINT if cluster.scheduler == "pbs" else _SLURM_HINT,
    )

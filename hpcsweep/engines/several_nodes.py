"""What engines share on several nodes: the network that their libraries use, and the refusal of Ray. Pure."""

from collections.abc import Mapping

from hpcsweep.engines.base import Engine, Placement
from hpcsweep.engines.ray import RAY
from hpcsweep.spec.server import ServerConfig

INTERFACE_VARIABLES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")
"""Variables with the network interface of NCCL's bootstrap and of Gloo. InfiniBand is found by NCCL itself."""


def network_environment(placement: Placement, own: Mapping[str, str]) -> dict[str, str]:
    """Return the interface variables of this node. `own`: variables of the experiment, which take precedence."""
    if not placement.interface:
        return {}
    return {name: placement.interface for name in INTERFACE_VARIABLES if name not in own}


def without_ray(engine: Engine, config: ServerConfig) -> list[str]:
    """Return why the server cannot span nodes by Ray, if the experiment asks for it; for engines that do not use it."""
    if config.across_nodes != RAY:
        return []
    return [f"{engine.title} is not started with Ray: remove `across_nodes: ray`, or keep it for vLLM only"]

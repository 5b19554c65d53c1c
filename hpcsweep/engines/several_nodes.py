"""Environment of a server on several nodes, with the network that its libraries use. Pure."""

from collections.abc import Mapping

from hpcsweep.engines.base import Placement

INTERFACE_VARIABLES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")
"""Variables with the network interface of NCCL's bootstrap and of Gloo. InfiniBand is found by NCCL itself."""


def network_environment(placement: Placement, own: Mapping[str, str]) -> dict[str, str]:
    """Return the interface variables of this node. `own`: variables of the experiment, which take precedence."""
    if not placement.interface:
        return {}
    return {name: placement.interface for name in INTERFACE_VARIABLES if name not in own}

"""The clients that `client:` of a workload may name."""

from collections.abc import Callable
from importlib import import_module

from hpcsweep.errors import SpecError
from hpcsweep.load.config import LoadConfig
from hpcsweep.spec.base import nearest

CLIENTS = {
    "builtin": "hpcsweep.load.drivers.builtin",
    "vllm-bench": "hpcsweep.load.drivers.vllm_bench",
    "guidellm": "hpcsweep.load.drivers.guidellm",
}
"""Name -> module with `run(config) -> exit code`."""


def driver(client: str) -> Callable[[LoadConfig], int]:
    """What sends a workload for this client. SpecError when there is none of this name."""
    if client not in CLIENTS:
        raise SpecError(f"unknown client {client!r}", hint=nearest(client, CLIENTS))
    run: Callable[[LoadConfig], int] = import_module(CLIENTS[client]).run
    return run

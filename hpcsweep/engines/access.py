"""How a server is protected from other users of its node, by what its engine can do. Pure.

An engine with `unix_socket` listens on a socket that only its user can open. An engine with `key_file_text` reads its
API key from a file that only its user can read. An engine with neither listens on a TCP port of the node that every
user of the node can connect to.
"""

from enum import Enum

from hpcsweep.engines.base import Engine
from hpcsweep.spec.server import ServerConfig


class Access(str, Enum):
    """What another user of the node needs to reach the server."""

    UNIX_SOCKET = "unix_socket"
    API_KEY = "api_key"
    OPEN = "open"


def access(engine: Engine, config: ServerConfig) -> Access:
    """Return how the server of `config` is protected."""
    if engine.unix_socket:
        return Access.UNIX_SOCKET
    return Access.API_KEY if engine.key_file_text(config, "x") is not None else Access.OPEN


def exposed(engine: Engine, config: ServerConfig, *, nodes: int = 1, version: str | None = None) -> str | None:
    """Return why every user of the node could use this server, or None when they cannot.

    `nodes`: that it spans. `version`: of the engine; None: unknown.
    """
    if access(engine, config) is not Access.OPEN:
        across = engine.open_channels_across(config, nodes, version) if nodes > 1 else ""
        return engine.open_channels(config) or across or None
    return (
        f"{config.engine} would listen on a TCP port without a key: every user of the node could send requests to it, "
        "read its state and call its control endpoints"
    )


ALLOW_HINT = (
    "request whole nodes (`exclusive: true` in the cluster profile), or set `allow_unprotected_server: true` there if "
    "no other user can log in to the nodes"
)

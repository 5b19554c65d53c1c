"""How other users of a node are kept out of a server, by what its engine can do. Pure.

Two optional attributes of an engine say it: `unix_socket`, true when its HTTP server can listen on a Unix socket
(`LaunchContext.socket_path`); and `key_file_text(config, key)`, the text of a configuration file that gives it an API key for
every endpoint but its health and metrics (`LaunchContext.key_file`), None when this configuration leaves no room for one.
An engine with neither listens on a TCP port of the node that every user of the node can connect to.
"""

from enum import Enum

from hpcsweep.engines.base import Engine
from hpcsweep.spec.server import ServerConfig


class Access(str, Enum):
    """What another user of the node has to get past."""

    UNIX_SOCKET = "unix_socket"
    API_KEY = "api_key"
    OPEN = "open"


def access(engine: Engine, config: ServerConfig) -> Access:
    """Return how the server of `config` is protected."""
    if getattr(engine, "unix_socket", False):
        return Access.UNIX_SOCKET
    return Access.API_KEY if key_file_text(engine, config, "x") is not None else Access.OPEN


def key_file_text(engine: Engine, config: ServerConfig, key: str) -> str | None:
    """Return the text of the file that gives the server its API key; None: this engine cannot read one."""
    make = getattr(engine, "key_file_text", None)
    text: str | None = make(config, key) if make is not None else None
    return text


def exposed(engine: Engine, config: ServerConfig) -> str | None:
    """Return why every user of the node could use this server, or None when they cannot."""
    if access(engine, config) is not Access.OPEN:
        return None
    return (
        f"{config.engine} would listen on a TCP port without a key: every user of the node could send requests to it, "
        "read its state and call its control endpoints"
    )


ALLOW_HINT = (
    "ask for whole nodes (`exclusive: true` in the cluster profile), or set `allow_unprotected_server: true` there if "
    "no other user can log in to the nodes"
)

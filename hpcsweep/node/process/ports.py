"""Choose a TCP port for a server that binds it only after its imports, a minute or more later."""

import random
import socket
from pathlib import Path

_FIRST = 20_000
"""Below it are the ports of most services."""
_TRIES = 50
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port(range_file: Path = _RANGE) -> int:
    """Return a free port of the loopback interface that the kernel gives to no connection in the meantime.

    The kernel takes the local ports of connections, and of sockets that ask for any port, from a range of its own; an
    engine opens dozens of them while it starts. Where nothing is free below that range, the port is one of it.
    """
    below = range(_FIRST, max(_FIRST, _first_of_kernel(range_file)))
    for port in random.SystemRandom().sample(below, k=min(_TRIES, len(below))):
        if _is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _first_of_kernel(range_file: Path) -> int:
    """Return the first port of the kernel's range; 0: unknown."""
    try:
        return int(range_file.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _is_free(port: int) -> bool:
    """Return whether a server could bind a port of the loopback interface now."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

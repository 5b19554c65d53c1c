"""The network addresses of this node, and whether another one can be reached."""

import contextlib
import fcntl
import socket
import struct
from collections.abc import Mapping, Sequence

_SIOCGIFADDR = 0x8915  # linux/sockios.h
LOOPBACK = "127.0.0.1"
_CONNECT_S = 3.0
_FAST_FIRST = ("hsn", "hsi", "ib", "bond", "en", "eth")
"""Prefixes of interface names, the fastest network first: Slingshot, InfiniBand, then Ethernet."""
_NEVER = ("docker", "virbr", "veth", "br-", "cni", "lo", "idrac", "usb")


def interfaces() -> dict[str, str]:
    """Return IPv4 address -> interface of this node, without the loopback interface."""
    named: dict[str, str] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface without an address
                packed = fcntl.ioctl(any_socket, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                named[socket.inet_ntoa(packed[20:24])] = name
    return {address: name for address, name in named.items() if not address.startswith("127.")}


def candidates(known: Mapping[str, str], env: Mapping[str, str]) -> list[str]:
    """Return the addresses at which other nodes may reach this one, the preferred first; the loopback address last.

    VLLM_HOST_IP and the interfaces of NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME come first: a site or user chose them.
    """
    named = [word.lstrip("=^") for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")
             for word in env.get(name, "").split(",") if word and not word.startswith("^")]  # fmt: skip

    def order(item: tuple[str, str]) -> tuple[bool, int, int]:
        address, name = item
        chosen = next((index for index, prefix in enumerate(named) if name.startswith(prefix)), len(named))
        speed = next((index for index, prefix in enumerate(_FAST_FIRST) if name.startswith(prefix)), len(_FAST_FIRST))
        return address != env.get("VLLM_HOST_IP"), chosen, speed

    usable = {a: n for a, n in known.items() if not n.startswith(_NEVER) or n in named}
    return [*(address for address, _ in sorted(usable.items(), key=order)), LOOPBACK]


def interface_of(address: str, known: Mapping[str, str]) -> str:
    """Return the interface that has this address; empty: unknown."""
    return "lo" if address.startswith("127.") else known.get(address, "")


def reaches(address: str, port: int, within_s: float = _CONNECT_S) -> bool:
    """Return whether a TCP connection to this port can be made."""
    try:
        socket.create_connection((address, port), timeout=within_s).close()
    except OSError:
        return False
    return True


def common_address(offered: Sequence[str], reached: Sequence[Sequence[str]]) -> str | None:
    """Return the first of the `offered` addresses that all other nodes have reached; None: there is none."""
    return next((address for address in offered if all(address in addresses for addresses in reached)), None)


def listener(backlog: int = 64) -> socket.socket:
    """Return a socket that listens on a free port of all interfaces."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.bind(("", 0))
        made.listen(backlog)
    except OSError:
        made.close()
        raise
    return made


def free_port_on(address: str) -> int:
    """Return a port that is free on this address of this node."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])

"""A private network for a server on a Unix socket, with a loopback interface that no other process can reach.

Besides the port of their HTTP server, engines open ports without authentication (PyTorch's TCPStore and Gloo). In a
network namespace no other user of the node can connect to them, while a Unix socket is a path and works across
namespaces. An ordinary user needs a new user namespace to create one (`man 7 user_namespaces`); some sites forbid that.
"""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1  # linux/sockios.h, linux/if.h
_LIBC = ctypes.CDLL(None, use_errno=True)


def enter_private_network() -> None:
    """Move this process, a child before exec, into a new network namespace. Raises OSError."""
    uid, gid = os.geteuid(), os.getegid()
    if _LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"unshare: {os.strerror(code)}")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def private_network_problem() -> str:
    """Return why users of this node cannot create a network namespace; empty: they can."""
    # In a new process, because this one has threads, so that a forked child could do little.
    done = subprocess.run(
        [sys.executable, "-m", "hpcsweep.node.process.private_network"], capture_output=True, text=True, check=False
    )
    return done.stderr.strip()[-500:] if done.returncode else ""


def main() -> int:
    """Try to enter a private network. Return 0, or 1 with the reason on standard error."""
    try:
        enter_private_network()
    except OSError as exc:
        print(exc, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

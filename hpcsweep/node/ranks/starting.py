"""Start the agents of the other nodes with a launcher, and accept their connections."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hpcsweep.launchers.base import Launcher, NodeSlot
from hpcsweep.node.process.processes import send
from hpcsweep.node.ranks.link import Link, LinkError, welcome
from hpcsweep.node.ranks.network import listener
from hpcsweep.node.records import rank_dir

LAUNCHER_LOG = "launcher.log"
_LAST_LINES = 12


class Doorkeeper:
    """Listens for the agents of other nodes. `on_link` is called with rank and link of each that has the token."""

    def __init__(self, token: str, on_link: Callable[[int, Link], None]) -> None:
        self._token, self._on_link = token, on_link
        self._listener = listener()
        self.port = int(self._listener.getsockname()[1])
        self._closed = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Accept no connection any more."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept
        self._thread.join(timeout=2)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # One thread for each: a silent connection must not keep others waiting.
            threading.Thread(target=self._welcome, args=(connection,), daemon=True).start()

    def _welcome(self, connection: socket.socket) -> None:
        try:
            rank, link = welcome(connection, self._token)
        except (LinkError, OSError, ValueError):  # a port scanner, or a test of reachability
            connection.close()
            return
        self._on_link(rank, link)


class LaunchedRanks:
    """The processes of the launcher, one for each other node."""

    def __init__(self, launcher: Launcher, attempt_dir: Path, env: Mapping[str, str]) -> None:
        self.launcher, self._attempt_dir = launcher, attempt_dir
        self._env = launcher.environment(env)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def pids(self) -> list[int]:
        """Pids of the launchers, which are children of this agent and do not belong to the server."""
        return [process.pid for process in self._processes.values()]

    def start(self, node: NodeSlot) -> None:
        """Start the agent on a node. Raises OSError when the launcher cannot be started."""
        command = [sys.executable, "-m", "hpcsweep.node.rank_agent", str(self._attempt_dir)]
        command += ["--rank", str(node.index), "--node", node.name]
        folder = rank_dir(self._attempt_dir, node.index)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LAUNCHER_LOG).open("ab") as log:
            self._processes[node.index] = subprocess.Popen(
                self.launcher.argv(command, node), env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def exit_code(self, rank: int) -> int | None:
        """Return the exit code of a launcher; None: it runs."""
        process = self._processes.get(rank)
        return process.poll() if process is not None else None

    def output(self, rank: int) -> list[str]:
        """Return the last lines that the launcher of a rank and its agent printed."""
        try:
            text = (rank_dir(self._attempt_dir, rank) / LAUNCHER_LOG).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return text.splitlines()[-_LAST_LINES:]

    def end(self, within_s: float) -> None:
        """Wait for the launchers; ask those that remain to end, then kill them."""
        for signum, patience_s in ((None, within_s), (signal.SIGTERM, within_s), (signal.SIGKILL, within_s)):
            remaining = [process for process in self._processes.values() if process.poll() is None]
            for process in remaining:
                if signum is not None:
                    send(process.pid, signum)
            _wait(remaining, patience_s)


def _wait(processes: Sequence[subprocess.Popen[bytes]], within_s: float) -> None:
    deadline_s = time.monotonic() + within_s
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(0.0, deadline_s - time.monotonic()))


def command_exists(env: Mapping[str, str]) -> Callable[[str], bool]:
    """Return a function that returns whether a command is on the PATH of `env`."""
    return lambda name: shutil.which(name, path=env.get("PATH", os.defpath)) is not None

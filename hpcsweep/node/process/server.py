"""The server process: start it, write its output to server.log with time stamps, and end it with all its children."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import IO

from hpcsweep.node.process.capped_log import CappedLog
from hpcsweep.node.process.family import Family
from hpcsweep.node.process.private_network import enter_private_network
from hpcsweep.node.process.processes import TOKEN_VARIABLE, die_with_parent, lead_group, reap_orphans, send
from hpcsweep.node.process.secrets_file import without

SERVER_LOG = "server.log"
_CHUNK_BYTES = 1 << 16
_LONGEST_LINE_BYTES = 1 << 18
_SEARCHED_BYTES = 1 << 16
"""Length of a line up to which it is searched; an engine's configuration in one line is a third of it."""


@dataclass(frozen=True)
class Teardown:
    """How a server ended. `killed`: processes that had to be killed, as `PID NAME`; `left`: unkillable ones."""

    exit_code: int | None
    killed: list[str]
    left: list[str]
    lasted_s: float


def _begin_server(in_session: bool, private_network: bool) -> None:
    """Prepare the new process between fork and exec."""
    if private_network:
        enter_private_network()
    if in_session:
        lead_group()
    else:
        die_with_parent()  # last, because the kernel resets it in a new user namespace


class Server:
    """One server process and its descendants. `on_line` is called with each line and its monotonic time of arrival.

    `in_session`: it stays in the agent's session, in its own process group, instead of leading a session.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        folder: Path,
        token: str,
        on_line: Callable[[str, float], None],
        *,
        hidden: Sequence[bytes] = (),
        in_session: bool = False,
        private_network: bool = False,
        log_name: str = SERVER_LOG,
    ) -> None:
        """Start it. `hidden`: values that are masked in all lines. `private_network`: see that module.

        `log_name`: of the file in `folder` that gets its output.

        Raises OSError when the executable cannot be started.
        """
        self._on_line, self._hidden, self.in_session = on_line, hidden, in_session
        self._log = CappedLog(folder / log_name)
        self.lost_log_lines = 0
        try:
            self._process = subprocess.Popen(
                list(argv),
                cwd=folder,
                env={**env, TOKEN_VARIABLE: token},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=not in_session,
                preexec_fn=partial(_begin_server, in_session, private_network),
            )
        except BaseException:
            self._log.close()
            raise
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Pid of the process that was started: leader of its group, and of its session unless `in_session`."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the exit code of the process that was started; None: running; negative: ended by that signal."""
        return self._process.poll()

    def end(self, family: Family, not_server_pids: Collection[int], grace_s: float) -> Teardown:
        """Send SIGTERM, wait up to `grace_s` real seconds, then send SIGKILL to all remaining processes.

        `family`: the server and all processes that it started; some of them may be running although the server itself
        has exited. `not_server_pids`: children of the agent that do not belong to it.
        """
        begun_s = time.monotonic()
        if self._process.poll() is None and grace_s > 0:
            send(self.pid, signal.SIGTERM, group=True)
        waited_for = {*not_server_pids, self.pid}
        while time.monotonic() - begun_s < grace_s:
            reap_orphans(waited_for)
            if self._process.poll() is not None and not family.living():
                break
            time.sleep(0.05)
        killed, left = family.kill(waited_for=(self.pid,))
        try:
            exit_code: int | None = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            exit_code = None
        self._reader.join(timeout=5)
        return Teardown(exit_code, killed, [str(process) for process in left], time.monotonic() - begun_s)

    def drain(self, within_s: float = 2.0) -> None:
        """Wait until the last lines of a dead server have been read, unless a child keeps its output open."""
        self._reader.join(timeout=within_s)

    def _read(self, pipe: IO[bytes]) -> None:
        rest = b""
        with pipe, contextlib.closing(self._log):
            while chunk := os.read(pipe.fileno(), _CHUNK_BYTES):
                arrived_s = time.monotonic()
                *lines, rest = (rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
                if len(rest) > _LONGEST_LINE_BYTES:  # it would be searched again with every chunk, so it is cut here
                    lines.append(rest)
                    rest = b""
                self._take(lines, arrived_s)
            if rest:
                self._take([rest], time.monotonic())

    def _take(self, lines: list[bytes], arrived_s: float) -> None:
        stamp = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
        masked = [without(line, self._hidden) for line in lines if line.strip()]
        try:
            self._log.write(b"".join(stamp + b" " + line + b"\n" for line in masked))
        except OSError:  # the disk is full: the run continues, and a warning reports the missing lines
            self.lost_log_lines += len(masked)
        for line in masked:
            self._on_line(line[:_SEARCHED_BYTES].decode(errors="replace"), arrived_s)

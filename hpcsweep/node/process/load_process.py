"""The load process, `python -m hpcsweep.load.worker`, which sends one workload to a ready server."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from hpcsweep.load.config import API_KEY_VARIABLE, LoadConfig
from hpcsweep.node.process.family import LOAD_SUFFIX, Family
from hpcsweep.node.process.processes import TOKEN_VARIABLE, die_with_parent, lead_group, send

CLIENT_LOG = "client.log"


class LoadProcess:
    """Runs the load client: it reads its configuration from standard input and prints events as JSON lines."""

    def __init__(
        self,
        config: LoadConfig,
        api_key: str | None,
        token: str,
        env: Mapping[str, str],
        folder: Path,
        on_line: Callable[[str], None],
        on_end: Callable[[], None],
        *,
        in_session: bool = False,
    ) -> None:
        """Start it. `in_session`: as for `Server`. Raises OSError when it cannot be started."""
        key = {API_KEY_VARIABLE: api_key} if api_key is not None else {}
        self._token = token + LOAD_SUFFIX
        with (folder / CLIENT_LOG).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hpcsweep.load.worker"],
                env={**env, **key, TOKEN_VARIABLE: self._token},
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=not in_session,
                preexec_fn=lead_group if in_session else die_with_parent,
            )
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout, on_line, on_end), daemon=True)
        self._reader.start()
        if self._process.stdin is not None:
            try:
                with self._process.stdin as pipe:
                    pipe.write(config.model_dump_json().encode())
            except BrokenPipeError:  # it exited at once: see its exit code and client.log
                pass

    @property
    def pid(self) -> int:
        """Pid of the load process, which belongs to the agent and not to the server."""
        return self._process.pid

    def ask_to_stop(self) -> None:
        """Ask it to stop sending, to print what it has measured, and to exit."""
        send(self.pid, signal.SIGTERM)

    def end(self, grace_s: float) -> int | None:
        """Wait up to `grace_s` real seconds, then kill it and all processes it started. Return its exit code."""
        try:
            self._process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            send(self.pid, signal.SIGKILL, group=True)
            self._process.wait()
        Family(self._token).kill()
        self._reader.join(timeout=5)
        return self._process.returncode

    def _read(self, pipe: IO[bytes], on_line: Callable[[str], None], on_end: Callable[[], None]) -> None:
        with pipe:
            for line in pipe:
                if line.endswith(b"\n"):  # an incomplete last line: it was killed while printing it
                    on_line(line[:-1].decode(errors="replace"))
        on_end()


def load_log_tail(folder: Path, lines: int = 12) -> list[str]:
    """Return the last lines of client.log."""
    try:
        with (folder / CLIENT_LOG).open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - 8192))
            return log.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []

"""The all-reduce check on one node: its processes, how far they have come, and their end."""

import json
import shutil
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcsweep.node.guardian import Guardian
from hpcsweep.node.process.cleanup import clean_up
from hpcsweep.node.process.family import Family, leader_of_its_own
from hpcsweep.node.process.secrets_file import hidden_values
from hpcsweep.node.process.server import Server
from hpcsweep.node.ranks import all_reduce_script
from hpcsweep.node.ranks.all_reduce_script import LINE_START, STAGES, UNAVAILABLE
from hpcsweep.node.setup.container import write_files
from hpcsweep.node.setup.preparation import PreparedLaunch
from hpcsweep.node.watch.outcome import EVIDENCE_LINES

SCRIPT_NAME, LOG_NAME = "all_reduce.py", "all_reduce.log"


@dataclass(frozen=True)
class ReduceRequest:
    """What the processes of one node need to meet. `node`: its number. `processes`: on each node.

    `address`, `port`: of the first node.
    """

    nodes: int
    node: int
    processes: int
    address: str
    port: int
    within_s: float

    @property
    def arguments(self) -> list[str]:
        """The arguments of the script."""
        return [
            *("--nodes", str(self.nodes), "--node", str(self.node), "--processes", str(self.processes)),
            *("--address", self.address, "--port", str(self.port), "--within", f"{self.within_s:.0f}"),
        ]


@dataclass(frozen=True)
class NodeReduced:
    """How far a node has come. `stage`: of its process that is furthest behind.

    `exit_code` None: its processes were ended, or still run. `result`: of the whole check, from the first node.
    """

    stage: str = STAGES[0]
    exit_code: int | None = None
    error: str = ""
    result: Mapping[str, Any] | None = None
    last_lines: list[str] = field(default_factory=list)


class NodeReduce:
    """The processes of the check on this node. They carry `token`, as those of the server do.

    `folder`: for the script and its log. `in_session`, `not_server_pids`: as for `Server` and `Family`.
    """

    def __init__(
        self, folder: Path, token: str, guardian: Guardian, not_server_pids: Collection[int], *, in_session: bool
    ) -> None:
        self._folder, self._token, self._guardian, self._in_session = folder, token, guardian, in_session
        self._not_server_pids = not_server_pids
        self._family: Family | None = None
        self._server: Server | None = None
        self._cleanup: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._ended = False
        self._unavailable = ""
        self._processes = 0
        self._stages: dict[int, str] = {}
        self._error = ""
        self._result: Mapping[str, Any] | None = None
        self._last_lines: list[str] = []

    def start(
        self, request: ReduceRequest, prepared: PreparedLaunch, environment: Mapping[str, str], own: Collection[str]
    ) -> None:
        """Start the processes, with the Python of the engine. `own`: see `PreparedLaunch.command`. Raises OSError."""
        python = prepared.python
        if not python:
            unknown = f"{prepared.executable} is not a Python script, so its Python is not known"
            self._unavailable = unknown if prepared.installation is not None else "the engine is simulated"
            return
        script = self._folder / SCRIPT_NAME
        shutil.copyfile(all_reduce_script.__file__, script)
        # NCCL prints the reason of an error only on request.
        asked = {"NCCL_DEBUG": "WARN", **environment}
        command = prepared.helper((*python, str(script), *request.arguments), asked, [*own, "NCCL_DEBUG"])
        with self._lock:
            if self._ended:  # the attempt ended meanwhile
                return
            self._processes = request.processes
            write_files(command.files)
            self._cleanup = command.cleanup
            self._guardian.set_cleanup(self._token, command.cleanup)
            self._family = Family(self._token, self._not_server_pids)
            self._server = Server(
                command.argv, command.environment, self._folder, self._token, self._take,
                hidden=hidden_values(environment, (), None), in_session=self._in_session, log_name=LOG_NAME,
            )  # fmt: skip
            leader = leader_of_its_own(self._server.pid)
            if leader is not None:
                self._guardian.set_members(self._token, [leader])

    def finished(self) -> bool:
        """Return whether the processes have ended by themselves, or could not be started."""
        return bool(self._unavailable) or (self._server is not None and self._server.exit_code() is not None)

    def end(self) -> None:
        """End the processes that are left. It may be called several times, and from any thread."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            if self._server is None or self._family is None:
                return
            self._server.end(self._family, self._not_server_pids, 0.0)
            clean_up(self._cleanup)
            self._guardian.set_cleanup(self._token, ())

    def report(self) -> NodeReduced:
        """Return how far the node has come. Of processes that have ended by themselves all lines are read."""
        if self._unavailable:
            return NodeReduced(exit_code=UNAVAILABLE, error=self._unavailable)
        exit_code = None
        if self._server is not None and not self._ended:
            exit_code = self._server.exit_code()
        if self._server is not None and exit_code is not None:
            self._server.drain()
        stages = [self._stages.get(process, STAGES[0]) for process in range(self._processes)]
        stage = min(stages, key=STAGES.index, default=STAGES[0])
        return NodeReduced(stage, exit_code, self._error, self._result, self._last_lines[-EVIDENCE_LINES:])

    def _take(self, line: str, at_s: float) -> None:
        """Take a line of the script, in the thread that reads its output."""
        if not line.startswith(LINE_START):
            self._last_lines = [*self._last_lines[-EVIDENCE_LINES:], line]
            return
        try:
            fields = json.loads(line[len(LINE_START) :])
        except ValueError:  # cut by another line
            return
        if "stage" in fields:
            self._stages[int(fields["process"])] = str(fields["stage"])
        self._error = self._error or str(fields.get("error", ""))
        self._result = fields.get("result", self._result)

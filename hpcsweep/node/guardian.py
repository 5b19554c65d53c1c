"""A small process that survives a killed agent and cleans up after it.

The agent has a pipe to it and sends `["watch", TOKEN, FOLDER, SCRATCH ...]`, `["members", TOKEN, [PID, START, MARK]
...]`, `["cleanup", TOKEN, ARGV ...]` and `["forget", TOKEN]`, one JSON line each. When the pipe is closed while an
attempt is watched, the agent was killed (SIGKILL, or the kernel's OOM killer): the processes of that attempt are
killed, its container is removed, and its folder is closed as `lost`. The guardian has its own session, so that it
survives for a moment when a scheduler kills the job's session or process tree.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from hpcsweep.node.process.cleanup import clean_up
from hpcsweep.node.process.family import Member, kill_attempt
from hpcsweep.node.records import EXIT_FILE, OWNER_FILE, read_json, read_record
from hpcsweep.spec.records import OwnerRecord


class Guardian:
    """The agent's end of the pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hpcsweep.node.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Pid of the guardian, which does not belong to an attempt."""
        return self._process.pid

    def watch(self, token: str, folder: Path, scratch: Collection[Path] = ()) -> None:
        """Watch an attempt from now on. `scratch`: files and folders that are removed if the agent is killed."""
        self._send(["watch", token, str(folder), *(str(path) for path in scratch)])

    def set_members(self, token: str, members: Collection[Member]) -> None:
        """Report the current processes of an attempt, because they may not be recognizable later."""
        self._send(["members", token, *members])

    def set_cleanup(self, token: str, argv: Sequence[str]) -> None:
        """Report the command that removes what the attempt's container leaves."""
        self._send(["cleanup", token, *argv])

    def forget(self, token: str) -> None:
        """Stop watching an attempt that the agent has torn down."""
        self._send(["forget", token])

    def close(self) -> None:
        """End the guardian."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def _send(self, words: list[Any]) -> None:
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # the guardian was killed: the agent still tears down by itself
            return


def main() -> int:
    """Watch until the pipe is closed; then clean up the attempts that are still watched."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(signum, signal.SIG_IGN)
    agent_pid = os.getppid()
    watched: dict[str, list[Path]] = {}
    members: dict[str, list[Member]] = {}
    cleanup: dict[str, list[str]] = {}
    for line in sys.stdin:
        command, token, *rest = json.loads(line)
        if command == "watch":
            watched[token] = [Path(path) for path in rest]
        elif command == "members":
            members[token] = [(pid, started, mark) for pid, started, mark in rest]
        elif command == "cleanup":
            cleanup[token] = rest
        else:
            watched.pop(token, None)
    for token, (folder, *scratch) in watched.items():
        killed = kill_attempt(token, members.get(token, []))
        clean_up(cleanup.get(token, []))
        _close(folder, killed)
        for path in scratch:
            _remove(path, agent_pid)
    return 0


def _remove(path: Path, agent_pid: int) -> None:
    """Remove a folder, or a lock file if it still belongs to the dead agent and not to its successor."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif (read_json(path) or {}).get("pid") == agent_pid:
        path.unlink(missing_ok=True)


def _close(folder: Path, killed: list[str]) -> None:
    from hpcsweep.node.record.folders import close_as_lost  # imported late, so that a watching guardian stays small

    owner = read_record(folder / OWNER_FILE, OwnerRecord)
    if owner is not None and not (folder / EXIT_FILE).exists():
        reason = f"the agent (process {owner.pid}) was killed"
        close_as_lost(folder, owner, "agent_killed", reason, "the agent's guardian", killed)


if __name__ == "__main__":
    sys.exit(main())

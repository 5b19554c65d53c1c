"""A small process that outlives a killed agent and ends what the agent left behind.

The agent holds a pipe to it. While the agent lives it sends `["watch", TOKEN, FOLDER, SCRATCH ...]`,
`["members", TOKEN, [PID, START, MARK] ...]` and `["forget", TOKEN]`, a JSON line each. When the pipe closes with
something still watched, the agent was killed (kill -9, or the kernel for want of memory): the processes of that
attempt are killed and its folder is closed as `lost`. It has a session of its own, so that a scheduler that kills the
job's session or process tree leaves it the moment it needs.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from hpcsweep.node.process.family import Member, kill_attempt
from hpcsweep.node.record.records import EXIT_FILE, OWNER_FILE, read_json, read_record
from hpcsweep.spec.records import OwnerRecord


class Guardian:
    """The agent's end of the pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hpcsweep.node.process.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Of the guardian itself: it belongs to no attempt."""
        return self._process.pid

    def watch(self, token: str, folder: Path, scratch: Collection[Path] = ()) -> None:
        """From now on this attempt is looked after. `scratch`: files and folders that must not outlive it."""
        self._send(["watch", token, str(folder), *(str(path) for path in scratch)])

    def set_members(self, token: str, members: Collection[Member]) -> None:
        """The processes of this attempt as they are now: their marks may be gone when they are looked for."""
        self._send(["members", token, *members])

    def forget(self, token: str) -> None:
        """This attempt has been torn down by the agent."""
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
        except BrokenPipeError:  # somebody killed the guardian: the agent still tears down by itself
            return


def main() -> int:
    """Watch until the pipe closes; then end what is still watched."""
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(one, signal.SIG_IGN)
    agent_pid = os.getppid()
    watched: dict[str, list[Path]] = {}
    members: dict[str, list[Member]] = {}
    for line in sys.stdin:
        word, token, *rest = json.loads(line)
        if word == "watch":
            watched[token] = [Path(path) for path in rest]
        elif word == "members":
            members[token] = [(pid, started, mark) for pid, started, mark in rest]
        else:
            watched.pop(token, None)
    for token, (folder, *scratch) in watched.items():
        _close(folder, kill_attempt(token, members.get(token, [])))
        for path in scratch:
            _remove(path, agent_pid)
    return 0


def _remove(path: Path, agent_pid: int) -> None:
    """Remove a folder, or a lock file if it is still the dead agent's and not that of its successor."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif (read_json(path) or {}).get("pid") == agent_pid:
        path.unlink(missing_ok=True)


def _close(folder: Path, killed: list[str]) -> None:
    from hpcsweep.node.record.folders import close_as_lost  # only now: a watching guardian stays small

    owner = read_record(folder / OWNER_FILE, OwnerRecord)
    if owner is not None and not (folder / EXIT_FILE).exists():
        reason = f"the agent (process {owner.pid}) was killed"
        close_as_lost(folder, owner, "agent_killed", reason, "the agent's guardian", killed)


if __name__ == "__main__":
    sys.exit(main())

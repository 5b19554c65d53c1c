"""Find all processes of an attempt, and kill them.

Three criteria are combined, because each fails in some cases. Descent is lost when a parent dies. The token in the
environment is lost when a process clears its environment or overwrites it with its title, as vLLM's engine and workers
do. So processes that were seen as members are remembered with their session: their orphans are in the same session.
Under PBS that session is the job's own, and the process group is used instead.
"""

import os
import signal
import time
from collections.abc import Collection

from hpcsweep.node.process.processes import Process, carries, own_processes, read_process, reap_orphans, send

LOAD_SUFFIX = ".load"  # the load process has its own token: its CPU time is not activity of the server

_LEAST_ROUNDS = 5
"""Rounds of SIGKILL before the remaining processes are reported as unkillable."""

Member = tuple[int, int, int]
"""Pid, start (clock ticks since boot) and session or group (`mark_of`) of a process."""


class Family:
    """The processes of one attempt.

    `not_server_pids`: children of this process that do not belong to the attempt; all its other children do (an orphan
    without any mark has become one of them, see `become_subreaper`). None: children are not counted. Children that
    exist when the family is created, and processes started by them, do not belong either: the `setup` of a job may
    have started services for all its runs (`srun ray start`).
    """

    def __init__(self, token: str, not_server_pids: Collection[int] | None = None) -> None:
        self._token, self._not_server_pids = token, not_server_pids
        self._earlier: dict[int, int] = {}
        self._of_earlier: dict[int, int] = {}
        if not_server_pids is not None:
            everyone = own_processes()
            below = _descendants(everyone, {os.getpid()}) - {os.getpid(), *not_server_pids}
            self._earlier = {process.pid: process.started for process in everyone if process.pid in below}
        self._known: dict[int, int] = {}
        self._marks: set[int] = set()
        self._not_ours = {os.getsid(0), os.getpgrp()}

    def remember(self, members: Collection[Member]) -> None:
        """Add processes, and with them all processes of their sessions or groups."""
        for pid, started, mark in members:
            self._known[pid] = started
            if mark and mark not in self._not_ours:
                self._marks.add(mark)

    def living(self) -> list[Process]:
        """Return all running members."""
        everyone, me = own_processes(), os.getpid()
        members = {process.pid for process in everyone if self._belongs(process)}
        if self._not_server_pids is not None:
            members |= {
                process.pid for process in everyone if process.ppid == me and process.pid not in self._not_server_pids
            }
        members = _descendants(everyone, members) - self._see_earlier(everyone)
        running = [process for process in everyone if process.pid in members and process.pid != me]
        self._known |= {process.pid: process.started for process in running}
        alive = {process.pid for process in everyone}
        self.remember([(process.pid, process.started, self._mark(process, alive)) for process in running])
        return running

    def started_by_earlier(self) -> list[Process]:
        """Return processes started by a service of the job's `setup` since, such as Ray's workers.

        They may work for the server, so their progress counts, but they are not killed with it.
        """
        if not self._earlier:
            return []
        everyone = own_processes()
        self._see_earlier(everyone)
        return [process for process in everyone if self._of_earlier.get(process.pid) == process.started]

    def _see_earlier(self, everyone: Collection[Process]) -> set[int]:
        """Return the pids of the earlier processes and of all processes they started, which are remembered."""
        if not self._earlier:
            return set()
        living = {process.pid: process.started for process in everyone}
        known = self._earlier | self._of_earlier
        seen = _descendants(everyone, {pid for pid, started in known.items() if living.get(pid) == started})
        self._of_earlier = {pid: living[pid] for pid in seen if self._earlier.get(pid) != living[pid]}
        return seen

    def kill(self, *, waited_for: Collection[int] = (), within_s: float = 10.0) -> tuple[list[str], list[Process]]:
        """Kill all members, including those that appear meanwhile.

        `waited_for`: own children that another function reaps. Return the killed processes, as `PID NAME`, and those
        that are still running after `within_s` real seconds (a process in uninterruptible sleep cannot be killed).
        """
        killed: dict[int, str] = {}
        deadline_s = time.monotonic() + within_s
        rounds = 0
        while True:
            alive = self.living()
            # On a frozen machine the time may be over before any process was killed.
            if not alive or (rounds >= _LEAST_ROUNDS and time.monotonic() > deadline_s):
                return list(killed.values()), alive
            rounds += 1
            for process in alive:
                killed.setdefault(process.pid, str(process))
                send(process.pid, signal.SIGKILL)
            if self._not_server_pids is not None:
                reap_orphans({*self._not_server_pids, *waited_for})
            time.sleep(0.02)

    def end(self, grace_s: float) -> tuple[list[str], list[Process]]:
        """Wait up to `grace_s` real seconds until another process has ended all members, then `kill` the others."""
        deadline_s = time.monotonic() + grace_s
        while self.living() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        return self.kill()

    def _belongs(self, process: Process) -> bool:
        if self._known.get(process.pid) == process.started or not self._marks.isdisjoint(
            (process.session, process.group)
        ):
            return True
        return carries(process.pid, self._token)

    def _mark(self, process: Process, alive: Collection[int]) -> int:
        """Return the session or group of a member that contains only members; 0: there is none.

        A session whose leader is running and is not a member is the job's, with the user's script in it.
        """
        for leader in (process.session, process.group):
            if leader not in self._not_ours and (leader in self._known or leader not in alive):
                return leader
        return 0


def _descendants(everyone: Collection[Process], of: Collection[int]) -> set[int]:
    """Return the pids `of`, and those of all their descendants."""
    children: dict[int, list[int]] = {}
    for process in everyone:
        children.setdefault(process.ppid, []).append(process.pid)
    pids, pending = set(of), list(of)
    while pending:
        for child in children.get(pending.pop(), ()):
            if child not in pids:
                pids.add(child)
                pending.append(child)
    return pids


def kill_attempt(token: str, members: Collection[Member] = ()) -> list[str]:
    """Kill what a dead agent left of an attempt, including its load process. Return the killed ones, as `PID NAME`.

    `members`: processes that belonged to it. A process that has reused the pid of a dead one is not killed; the session
    of a dead leader is still valid, because its number is not reused while the session exists.
    """
    family = Family(token)
    family.remember([member for member in members if _same(member)])
    return family.kill()[0] + Family(token + LOAD_SUFFIX).kill()[0]


def _same(member: Member) -> bool:
    pid, started, mark = member
    leader = read_process(mark)
    if pid == mark:
        return leader is None or leader.started == started
    process = read_process(pid)
    return process is not None and process.started == started


def mark_of(process: Process) -> int:
    """Return the session of a process, or its group where the session is that of this process."""
    return process.group if process.session == os.getsid(0) else process.session


def leader_of_its_own(pid: int) -> Member | None:
    """Return the record of a process that leads its own session or group; None: it has exited."""
    process = read_process(pid)
    return (process.pid, process.started, process.pid) if process is not None else None

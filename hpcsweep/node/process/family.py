"""Which processes belong to an attempt, wherever they hide, and how all of them are ended.

Three marks, for each fails somewhere. Descent: lost when a parent dies. The token in the environment: lost when a
process clears it, or overwrites it with its title, as vLLM's engine and workers do. So what was once seen as a member
is remembered, with the session it lives in: a process that a remembered one left behind has the same session. Under PBS
that session is the job's own, and the process group takes its place.
"""

import os
import signal
import time
from collections.abc import Collection

from hpcsweep.node.process.processes import Process, carries, own_processes, read_process, reap_orphans, send

LOAD_SUFFIX = ".load"  # the load process has a token of its own: its CPU time is no sign of life of the server

_LEAST_ROUNDS = 5
"""Of killing, before what is still there counts as not to be killed."""

Member = tuple[int, int, int]
"""Pid, start (clock ticks since boot) and session or group (`mark_of`) of a process: how one is remembered."""


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
        """These belong to it, and so does what lives in their sessions or groups."""
        for pid, started, mark in members:
            self._known[pid] = started
            if mark and mark not in self._not_ours:
                self._marks.add(mark)

    def living(self) -> list[Process]:
        """Every member that lives now."""
        everyone, me = own_processes(), os.getpid()
        members = {process.pid for process in everyone if self._belongs(process)}
        if self._not_server_pids is not None:
            members |= {
                process.pid for process in everyone if process.ppid == me and process.pid not in self._not_server_pids
            }
        members = _descendants(everyone, members) - self._see_earlier(everyone)
        found = [process for process in everyone if process.pid in members and process.pid != me]
        self._known |= {process.pid: process.started for process in found}
        alive = {process.pid for process in everyone}
        self.remember([(process.pid, process.started, self._mark(process, alive)) for process in found])
        return found

    def started_by_earlier(self) -> list[Process]:
        """Processes that a service of the job's `setup` has started since, such as Ray's workers.

        They may work for the server, so their CPU time is progress, but they are not ended with it.
        """
        if not self._earlier:
            return []
        everyone = own_processes()
        self._see_earlier(everyone)
        return [process for process in everyone if self._of_earlier.get(process.pid) == process.started]

    def _see_earlier(self, everyone: Collection[Process]) -> set[int]:
        """Pids of the earlier processes and of all they started, which are remembered: their parents may end."""
        if not self._earlier:
            return set()
        living = {process.pid: process.started for process in everyone}
        known = self._earlier | self._of_earlier
        seen = _descendants(everyone, {pid for pid, started in known.items() if living.get(pid) == started})
        self._of_earlier = {pid: living[pid] for pid in seen if self._earlier.get(pid) != living[pid]}
        return seen

    def kill(self, *, waited_for: Collection[int] = (), within_s: float = 10.0) -> tuple[list[str], list[Process]]:
        """Kill every member, those too that appear meanwhile.

        `waited_for`: own children that somebody else collects. Comes back with the ones that were killed, as
        `PID NAME`, and with the ones that are still there after `within_s` real seconds (a process in uninterruptible
        sleep cannot be killed).
        """
        killed: dict[int, str] = {}
        deadline_s = time.monotonic() + within_s
        rounds = 0
        while True:
            alive = self.living()
            # On a machine that stands still for a while the time may be over before anybody was killed.
            if not alive or (rounds >= _LEAST_ROUNDS and time.monotonic() > deadline_s):
                return list(killed.values()), alive
            rounds += 1
            for process in alive:
                killed.setdefault(process.pid, str(process))
                send(process.pid, signal.SIGKILL)
            if self._not_server_pids is not None:
                reap_orphans({*self._not_server_pids, *waited_for})
            time.sleep(0.02)

    def _belongs(self, process: Process) -> bool:
        if self._known.get(process.pid) == process.started or not self._marks.isdisjoint(
            (process.session, process.group)
        ):
            return True
        return carries(process.pid, self._token)

    def _mark(self, process: Process, alive: Collection[int]) -> int:
        """The session or group of a member that is all of this family; 0: it shares both with others.

        A session whose leader lives and is no member is that of a job, with the user's own script in it.
        """
        for leader in (process.session, process.group):
            if leader not in self._not_ours and (leader in self._known or leader not in alive):
                return leader
        return 0


def _descendants(everyone: Collection[Process], of: Collection[int]) -> set[int]:
    """The pids `of`, and those of all processes below them."""
    children: dict[int, list[int]] = {}
    for process in everyone:
        children.setdefault(process.ppid, []).append(process.pid)
    found, pending = set(of), list(of)
    while pending:
        for child in children.get(pending.pop(), ()):
            if child not in found:
                found.add(child)
                pending.append(child)
    return found


def kill_attempt(token: str, members: Collection[Member] = ()) -> list[str]:
    """Kill what a dead agent left of an attempt, its load process too. The killed ones, as `PID NAME`.

    `members`: processes known to have been of it. Those that are dead are not taken for others of the same number;
    the session of a dead leader still tells, for its number is not given away while the session lives.
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
    """The session that a process is in, or its group where the session is that of this very process."""
    return process.group if process.session == os.getsid(0) else process.session


def leader_of_its_own(pid: int) -> Member | None:
    """A process that leads a session or a group of its own, as it is remembered; None: it is gone already."""
    process = read_process(pid)
    return (process.pid, process.started, process.pid) if process is not None else None

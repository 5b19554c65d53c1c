"""Collect snapshots of a server: processes by role, log, GPUs, compile cache, counters."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hpcsweep.load.client.clock import Clock
from hpcsweep.node.compile_cache import measure
from hpcsweep.node.process.gpus import SILENT_DRIVER, Gpus, gpu_samples
from hpcsweep.node.process.processes import Process, command_line, environment
from hpcsweep.node.process.roles import ProcessKind, ProcessRole, logged_name, role_of
from hpcsweep.node.record.notes import Note
from hpcsweep.node.watch.counters import read_counters
from hpcsweep.node.watch.log_progress import FRESH_TIMES, LogProgress
from hpcsweep.node.watch.stacks import StackActivity
from hpcsweep.node.watch.stall import Snapshot, StallWatch
from hpcsweep.node.watch.stall_cause import RankUse
from hpcsweep.node.watch.traffic import Traffic


class Observer:
    """Takes snapshots of one server. `cache_folders`: its compile cache; empty: it has none."""

    def __init__(self, gpus: Gpus, warn: Callable[[Note], None]) -> None:
        self._gpus, self._warn = gpus, warn
        self._driver_was_silent = gpus.silent  # then the attempt has recorded a warning already
        self._log, self._lines = LogProgress(), 0
        self._logged: dict[int, str] = {}
        self._known: set[tuple[int, int]] = set()
        self._names: Counter[str] = Counter()
        self._new_processes = 0
        self._tokens: float | None = None
        self._kv_cache_usage: float | None = None
        self.traffic = Traffic()
        self.samples = 0
        self.cache_folders: tuple[Path, ...] = ()

    def line(self, text: str, *, noise: bool) -> None:
        """Take a line of the log. `noise`: the engine writes such lines even when it is stuck."""
        signed = logged_name(text)
        if signed is not None:
            self._logged[signed[0]] = signed[1]
        if not noise and self._log.informative(text):
            self._lines += 1

    def figures(self, figures: Mapping[str, float]) -> None:
        """Take a sample of /metrics."""
        names = ("generation_tokens", "prompt_tokens", "computed_tokens")
        counted = [figures[name] for name in names if name in figures]
        self._tokens = sum(counted) if counted else None
        self._kv_cache_usage = figures.get("kv_cache_usage")
        self.traffic.gauges(figures)

    def snapshot(self, members: Sequence[Process], *, with_cache: bool) -> Snapshot:
        """Return a snapshot. `with_cache`: measure the cache folder too."""
        roles = self.roles(members)
        self._count_new(members)
        states = self._gpus.states()
        if self._gpus.silent and not self._driver_was_silent:
            self._driver_was_silent = True
            self._warn(Note("driver_silent", SILENT_DRIVER))
        cache = measure(*self.cache_folders) if self.cache_folders and with_cache else None
        return Snapshot(
            at_s=time.monotonic(),
            log_lines=self._lines,
            processes=read_counters(members),
            workers=frozenset(
                pid for pid, role in roles.items() if role.kind in (ProcessKind.RANK, ProcessKind.ENGINE_CORE)
            ),
            compilers=frozenset(pid for pid, role in roles.items() if role.kind is ProcessKind.COMPILER),
            new_processes=self._new_processes,
            gpus=gpu_samples(states),
            cache_entries=cache.entries if cache else None,
            cache_bytes=cache.bytes if cache else None,
            tokens=self._tokens,
            kv_cache_usage=self._kv_cache_usage,
            samples=self.samples,
            received=self.traffic.received,
        )

    def roles(self, members: Sequence[Process]) -> dict[int, ProcessRole]:
        """Return pid -> role in the server."""
        return {process.pid: self._role(process.pid) for process in members}

    def uses(
        self,
        members: Sequence[Process],
        watch: StallWatch,
        activity: Mapping[int, StackActivity],
        functions: Mapping[int, str],
        clock: Clock,
        node: str = "",
    ) -> list[RankUse]:
        """Return what each process has used since the last progress. `activity`, `functions`: from stacks, if taken.

        `node`: the name of this host for a server on several nodes.
        """
        roles, now_s = self.roles(members), time.monotonic()
        return [
            RankUse(
                pid=process.pid,
                role=roles[process.pid],
                state=process.state,
                cores=watch.cores(process.pid),
                quiet_s=clock.scaled(watch.quiet_s(process.pid, now_s)),
                activity=activity.get(process.pid),
                function=functions.get(process.pid, ""),
                ready=watch.ready(process.pid),
                node=node,
            )
            for process in members
        ]

    def _role(self, pid: int) -> ProcessRole:
        command = command_line(pid)
        role = role_of(command, self._logged.get(pid, ""))
        if role.kind is ProcessKind.RANK and not role.name:
            return role_of(command, self._logged.get(pid, ""), environment(pid))
        return role

    def _count_new(self, members: Sequence[Process]) -> None:
        """Count new processes; of a name that recurs (a loop around `sleep`) only the first FRESH_TIMES count."""
        for process in members:
            if (process.pid, process.started) not in self._known:
                self._known.add((process.pid, process.started))
                self._names[process.name] += 1
                self._new_processes += self._names[process.name] <= FRESH_TIMES

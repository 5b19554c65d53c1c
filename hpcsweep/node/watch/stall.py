"""Distinguish a slow server from a stuck one: compare two snapshots for progress and for mere activity. Pure.

Progress is evidence that work is being done. Activity is CPU time or GPU utilization: a rank that waits for a dead
peer in a loop has as much of it as one that computes, so activity alone is not progress. The thresholds are tested on
recorded counters of real processes, `tests/transcripts/counters`.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

from hpcsweep.node.process.gpu_work import GpuSample, gpu_signals
from hpcsweep.node.watch.counters import READY_STATE, Counters


class Situation(Enum):
    """What a server has to do. `PREFILL`: requests are in flight, and at least one has no first token yet."""

    STARTING = "starting"
    SERVING = "serving"
    PREFILL = "prefill"
    NOTHING_TO_DO = "nothing to do"


@dataclass(frozen=True)
class Snapshot:
    """A server at one moment, `at_s` real seconds (monotonic). Counters only increase; None: not readable this time.

    `log_lines`, `new_processes`: without repetitions. `workers`: pids of ranks and engine cores.
    `compilers`: pids of compilers and compile workers. `received`: when the client last received bytes, in
    nanoseconds.
    """

    at_s: float
    log_lines: int = 0
    processes: Mapping[int, Counters] = field(default_factory=dict)
    workers: frozenset[int] = frozenset()
    compilers: frozenset[int] = frozenset()
    new_processes: int = 0
    gpus: Mapping[str, GpuSample] = field(default_factory=dict)
    cache_entries: int | None = None
    cache_bytes: int | None = None
    tokens: float | None = None
    kv_cache_usage: float | None = None
    samples: int = 0
    received: int = 0


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of the progress signals. A spin loop, an idle server and our own health checks are below them.

    `faults_per_s`, `calls_per_s`: page faults; read and write calls. `rss_bytes`, `rss_bytes_per_s`: minimum change of
    the memory of one process since the last progress; both apply, so that neither a slow leak nor noise counts.
    """

    cpu_cores: float = 0.05
    io_bytes_per_s: float = 200_000.0
    faults_per_s: float = 100.0
    calls_per_s: float = 1000.0
    rss_bytes: int = 1 << 20
    rss_bytes_per_s: float = 200_000.0


@dataclass(frozen=True)
class ProgressSignals:
    """The signals between two snapshots, by class."""

    progress: tuple[str, ...] = ()
    activity: tuple[str, ...] = ()


NO_SIGNALS = ProgressSignals()


def signals(
    before: Snapshot,
    after: Snapshot,
    situation: Situation = Situation.STARTING,
    limits: Thresholds = Thresholds(),
    since: Snapshot | None = None,
) -> ProgressSignals:
    """Return the signals. `since`: the snapshot at the last progress, for slow growth; None: `before`.

    Progress while starting: log, io, memory, processes, faults, calls, gpu, cache. With requests in flight: tokens,
    kv_cache, chunks, samples, jit; and, until the first token of each, prefill.
    """
    changes = _Changes(before, after, limits, since or before)
    served = changes.served()
    if situation in (Situation.SERVING, Situation.PREFILL):
        progress = served + (["jit"] if changes.compiled() else [])
        if situation is Situation.PREFILL and changes.computed():
            progress.append("prefill")
    else:
        progress = changes.started() + served
    return ProgressSignals(tuple(progress), tuple(changes.activity()))


class _Changes:
    """The differences between two snapshots. Processes are compared one by one: a sum would fall when one exits."""

    def __init__(self, before: Snapshot, after: Snapshot, limits: Thresholds, since: Snapshot) -> None:
        self._before, self._after, self._limits, self._since = before, after, limits, since
        self._elapsed_s = max(after.at_s - before.at_s, 1e-3)
        self._gpu = gpu_signals(before.gpus, after.gpus)

    def started(self) -> list[str]:
        before, after, limits = self._before, self._after, self._limits
        everyone = after.processes.keys()
        changed = {
            "log": after.log_lines > before.log_lines,
            "io": self._rate("io_bytes", everyone) >= limits.io_bytes_per_s,
            "memory": self._memory_moved(),
            "processes": after.new_processes > before.new_processes,
            "faults": self._rate("faults", everyone) >= limits.faults_per_s,
            "calls": self._rate("io_calls", everyone) >= limits.calls_per_s,
            "gpu": self._gpu.progress,
            "cache": self._cache_grew(),
        }
        return [name for name, yes in changed.items() if yes]

    def served(self) -> list[str]:
        before, after = self._before, self._after
        changed = {
            "tokens": _differ(before.tokens, after.tokens),
            "kv_cache": _differ(before.kv_cache_usage, after.kv_cache_usage),
            "chunks": after.received > before.received,
            "samples": after.samples > before.samples,
        }
        return [name for name, yes in changed.items() if yes]

    def compiled(self) -> bool:
        """Return whether something compiles during a request: the cache grows, or a compiler allocates memory."""
        faults = self._rate("faults", self._after.compilers)
        return self._cache_grew() or faults >= self._limits.faults_per_s

    def computed(self) -> bool:
        """Return whether a rank computes: it allocates memory for its results, or the memory of its GPU is read."""
        return self._gpu.progress or self._rate("faults", self._after.workers) >= self._limits.faults_per_s

    def activity(self) -> list[str]:
        busy = self._rate("cpu_s", self._after.processes.keys()) >= self._limits.cpu_cores
        return ["cpu"] * busy + ["gpu"] * self._gpu.activity

    def _rate(self, name: str, pids: Collection[int]) -> float:
        """Return the growth per second, summed over processes; a new process counts from zero."""
        total = 0.0
        for pid in pids:
            now, then = self._after.processes.get(pid), self._before.processes.get(pid)
            if now is None:
                continue
            base = getattr(then, name) if then is not None and then.started == now.started else 0
            total += max(0.0, getattr(now, name) - base)
        return total / self._elapsed_s

    def _memory_moved(self) -> bool:
        old, limits = self._since.processes, self._limits
        least = max(limits.rss_bytes, limits.rss_bytes_per_s * (self._after.at_s - self._since.at_s))
        both = [(old[pid], now) for pid, now in self._after.processes.items() if pid in old]
        return any(abs(now.rss_bytes - then.rss_bytes) >= least for then, now in both)

    def _cache_grew(self) -> bool:
        before, after = self._before, self._after
        return _differ(before.cache_entries, after.cache_entries) or _differ(before.cache_bytes, after.cache_bytes)


def _differ(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and before != after


HELD_UP_INTERVALS = 4.0
"""A snapshot that is taken so many intervals after the last one was delayed."""


class StallWatch:
    """Follows snapshots of one server, and reports since when there has been no progress.

    `every_s`: interval of the snapshots. When one is taken much later, the observer itself was delayed (a frozen or
    overloaded machine, a suspended job, a hanging file system), and most likely the server too, so that this time does
    not count as time without progress. Nor does time in which a process of the server was ready to run but got no
    core. Both are excused for at most `stall_s`, so that a slow machine cannot hide a dead server. None: every second
    counts.
    """

    def __init__(
        self, first: Snapshot, limits: Thresholds = Thresholds(), every_s: float | None = None, stall_s: float = 0.0
    ) -> None:
        self._limits, self._every_s, self._stall_s = limits, every_s, stall_s
        self.last = first
        """The latest snapshot."""
        self.at_progress = first
        """The snapshot at which progress was last seen."""
        self._progress_at_s = first.at_s
        self._excused_s = 0.0
        self._busy_at_s: dict[int, float] = {}
        self._snapshots = 0
        self._ready: Counter[int] = Counter()
        self.held_up_s = 0.0
        """Seconds so far in which the observer itself was delayed, or the server got no core."""

    def update(self, now: Snapshot, situation: Situation = Situation.STARTING) -> ProgressSignals:
        """Take the next snapshot; return the signals since the last one."""
        changes = signals(self.last, now, situation, self._limits, self.at_progress)
        late_s = self._late_s(now)
        self.held_up_s += late_s
        if changes.progress or situation is Situation.NOTHING_TO_DO:
            self._progress_at_s, self._excused_s = now.at_s, 0.0
            self.at_progress = now
            self._snapshots = 0
            self._ready.clear()
        else:
            excused_s = min(late_s, self._stall_s - self._excused_s)
            self._progress_at_s += excused_s
            self._excused_s += excused_s
        self._note_busy(now)
        self.last = now
        self._snapshots += 1
        self._ready.update(pid for pid, counters in now.processes.items() if counters.state == READY_STATE)
        return changes

    def _note_busy(self, now: Snapshot) -> None:
        elapsed_s = max(now.at_s - self.last.at_s, 1e-3)
        for pid, counters in now.processes.items():
            then = self.last.processes.get(pid)
            if then is None or counters.cpu_s - then.cpu_s >= self._limits.cpu_cores * elapsed_s:
                self._busy_at_s[pid] = now.at_s

    def _late_s(self, now: Snapshot) -> float:
        elapsed_s = now.at_s - self.last.at_s
        if self._every_s is None:
            return 0.0
        if elapsed_s > HELD_UP_INTERVALS * self._every_s:
            return elapsed_s - self._every_s
        return elapsed_s if self._starved(now, elapsed_s) else 0.0

    def _starved(self, now: Snapshot, elapsed_s: float) -> bool:
        """Return whether a process was ready to run, but none got a significant share of a core."""
        pairs = [
            (self.last.processes[pid], counters)
            for pid, counters in now.processes.items()
            if pid in self.last.processes
        ]
        ready = any(then.state == counters.state == READY_STATE for then, counters in pairs)
        used_s = sum(counters.cpu_s - then.cpu_s for then, counters in pairs)
        return ready and used_s < self._limits.cpu_cores * elapsed_s

    def answered(self, at_s: float) -> None:
        """Count an answer to a readiness check as progress: a server that answers is not stuck."""
        self._progress_at_s = max(self._progress_at_s, at_s)
        self.at_progress = self.last

    def idle_s(self, at_s: float) -> float:
        """Return the real seconds since the last progress."""
        return at_s - self._progress_at_s

    def quiet_s(self, pid: int, at_s: float) -> float:
        """Return the real seconds since this process last used a significant amount of CPU time."""
        return at_s - self._busy_at_s.get(pid, at_s)

    def ready(self, pid: int) -> bool:
        """Return whether this process was running or waiting for a core in most snapshots since the last progress."""
        return 2 * self._ready[pid] > self._snapshots

    def cores(self, pid: int) -> float:
        """Return the average number of cores that this process and its dead children used since the last progress."""
        then, now = self.at_progress.processes.get(pid), self.last.processes.get(pid)
        elapsed_s = self.last.at_s - self.at_progress.at_s
        if now is None or elapsed_s <= 0:
            return 0.0
        return max(0.0, now.cpu_s - (then.cpu_s if then is not None else 0.0)) / elapsed_s

"""Slow or stuck: what moved between two looks at a server, and whether that is progress or only activity. Pure.

Progress is evidence that work gets done. Activity is CPU time or GPU utilization: a rank that waits for a dead peer in
a loop has as much of it as one that computes, so alone it proves nothing. The thresholds are tested on counters of
real processes, `tests/transcripts/counters`.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

from hpcsweep.node.watch.counters import READY_STATE, Counters
from hpcsweep.node.watch.gpu_work import GpuSample, gpu_signals


class Situation(Enum):
    """What a server has to do. `PREFILL`: requests are in flight, and one of them has no first token yet."""

    STARTING = "starting"
    SERVING = "serving"
    PREFILL = "prefill"
    NOTHING_TO_DO = "nothing to do"


@dataclass(frozen=True)
class Snapshot:
    """One look, at `at_s` real seconds (monotonic). Counters only grow; None: could not be seen this time.

    `log_lines`, `new_processes`: those that are no repetition. `workers`: pids of ranks and engine cores.
    `compilers`: pids of compilers and compile workers. `received`: when the client last received something, in
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
    """From where on something counts. Below are a spin loop, an idle server, and our own health checks.

    `faults_per_s`, `calls_per_s`: page faults; read and write calls. `rss_bytes`, `rss_bytes_per_s`: both by which the
    memory of one process must have changed since the last progress, so that neither a slow leak nor noise counts.
    """

    cpu_cores: float = 0.05
    io_bytes_per_s: float = 200_000.0
    faults_per_s: float = 100.0
    calls_per_s: float = 1000.0
    rss_bytes: int = 1 << 20
    rss_bytes_per_s: float = 200_000.0


@dataclass(frozen=True)
class ProgressSignals:
    """What moved between two looks, by class."""

    progress: tuple[str, ...] = ()
    activity: tuple[str, ...] = ()


def signals(
    before: Snapshot,
    after: Snapshot,
    situation: Situation = Situation.STARTING,
    limits: Thresholds = Thresholds(),
    since: Snapshot | None = None,
) -> ProgressSignals:
    """Return what moved. `since`: the look at the last progress, for what grows slowly; None: `before`.

    Progress while starting: log, io, memory, processes, faults, calls, gpu, cache. With requests in flight: tokens,
    kv_cache, chunks, samples, jit; and, until the first token of each, prefill.
    """
    moved = _Moved(before, after, limits, since or before)
    served = moved.served()
    if situation in (Situation.SERVING, Situation.PREFILL):
        progress = served + (["jit"] if moved.compiled() else [])
        if situation is Situation.PREFILL and moved.computed():
            progress.append("prefill")
    else:
        progress = moved.started() + served
    return ProgressSignals(tuple(progress), tuple(moved.activity()))


class _Moved:
    """The differences between two looks. A process counts by itself: a sum would fall when one of them exits."""

    def __init__(self, before: Snapshot, after: Snapshot, limits: Thresholds, since: Snapshot) -> None:
        self._before, self._after, self._limits, self._since = before, after, limits, since
        self._elapsed_s = max(after.at_s - before.at_s, 1e-3)
        self._gpu = gpu_signals(before.gpus, after.gpus)

    def started(self) -> list[str]:
        before, after, limits = self._before, self._after, self._limits
        everyone = after.processes.keys()
        found = {
            "log": after.log_lines > before.log_lines,
            "io": self._rate("io_bytes", everyone) >= limits.io_bytes_per_s,
            "memory": self._memory_moved(),
            "processes": after.new_processes > before.new_processes,
            "faults": self._rate("faults", everyone) >= limits.faults_per_s,
            "calls": self._rate("io_calls", everyone) >= limits.calls_per_s,
            "gpu": self._gpu.progress,
            "cache": self._cache_grew(),
        }
        return [name for name, moved in found.items() if moved]

    def served(self) -> list[str]:
        before, after = self._before, self._after
        found = {
            "tokens": _differ(before.tokens, after.tokens),
            "kv_cache": _differ(before.kv_cache_usage, after.kv_cache_usage),
            "chunks": after.received > before.received,
            "samples": after.samples > before.samples,
        }
        return [name for name, moved in found.items() if moved]

    def compiled(self) -> bool:
        """A compile in the middle of a request: the cache grows, or a compiler allocates memory."""
        faults = self._rate("faults", self._after.compilers)
        return self._cache_grew() or faults >= self._limits.faults_per_s

    def computed(self) -> bool:
        """A rank computes: it takes memory for its results, or the memory of its GPU is read."""
        return self._gpu.progress or self._rate("faults", self._after.workers) >= self._limits.faults_per_s

    def activity(self) -> list[str]:
        busy = self._rate("cpu_s", self._after.processes.keys()) >= self._limits.cpu_cores
        return ["cpu"] * busy + ["gpu"] * self._gpu.activity

    def _rate(self, name: str, pids: Collection[int]) -> float:
        """The growth a second, summed over processes; one that is new counts from zero."""
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


HELD_UP_LOOKS = 4.0
"""A look that comes so many intervals after the last one was held up."""


class StallWatch:
    """Follows looks at one server, and reports since when there has been no progress.

    `every_s`: when the next look is due. Where it comes much later, the observer itself was held up (a machine that
    was frozen or starved, a suspended job, a file system that hung), and the server most likely with it: that time
    is no silence of the server. Nor is the time in which a process of the server was ready to run and got no core. Both
    are excused for `stall_s` at most, so that a machine that is slow for ever cannot hide a server that is dead. None:
    every second counts.
    """

    def __init__(
        self, first: Snapshot, limits: Thresholds = Thresholds(), every_s: float | None = None, stall_s: float = 0.0
    ) -> None:
        self._limits, self._every_s, self._stall_s = limits, every_s, stall_s
        self.last = first
        """The latest look."""
        self.at_progress = first
        """The look at which progress was last seen."""
        self._moved_at_s = first.at_s
        self._excused_s = 0.0
        self._busy_at_s: dict[int, float] = {}
        self._looks = 0
        self._ready: Counter[int] = Counter()
        self.held_up_s = 0.0
        """Seconds so far in which the observer itself was held up, or the server got no core."""

    def look(self, now: Snapshot, situation: Situation = Situation.STARTING) -> ProgressSignals:
        """Take one more look: the signals since the last one."""
        found = signals(self.last, now, situation, self._limits, self.at_progress)
        late_s = self._late_s(now)
        self.held_up_s += late_s
        if found.progress or situation is Situation.NOTHING_TO_DO:
            self._moved_at_s, self._excused_s = now.at_s, 0.0
            self.at_progress = now
            self._looks = 0
            self._ready.clear()
        else:
            excused_s = min(late_s, self._stall_s - self._excused_s)
            self._moved_at_s += excused_s
            self._excused_s += excused_s
        self._note_busy(now)
        self.last = now
        self._looks += 1
        self._ready.update(pid for pid, counters in now.processes.items() if counters.state == READY_STATE)
        return found

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
        if elapsed_s > HELD_UP_LOOKS * self._every_s:
            return elapsed_s - self._every_s
        return elapsed_s if self._starved(now, elapsed_s) else 0.0

    def _starved(self, now: Snapshot, elapsed_s: float) -> bool:
        """Whether a process was ready to run, and none got a core worth speaking of."""
        both = [(self.last.processes[pid], one) for pid, one in now.processes.items() if pid in self.last.processes]
        ready = any(then.state == one.state == READY_STATE for then, one in both)
        return ready and sum(one.cpu_s - then.cpu_s for then, one in both) < self._limits.cpu_cores * elapsed_s

    def answered(self, at_s: float) -> None:
        """Take an answer to a request of ours as progress: a server that answers is not stuck."""
        self._moved_at_s = max(self._moved_at_s, at_s)
        self.at_progress = self.last

    def idle_s(self, at_s: float) -> float:
        """Real seconds since the last progress."""
        return at_s - self._moved_at_s

    def quiet_s(self, pid: int, at_s: float) -> float:
        """Real seconds since this process last used CPU time worth speaking of."""
        return at_s - self._busy_at_s.get(pid, at_s)

    def ready(self, pid: int) -> bool:
        """Whether this process ran, or was ready to, at most looks since the last progress."""
        return 2 * self._ready[pid] > self._looks

    def cores(self, pid: int) -> float:
        """CPU cores that this process has used on average since the last progress, itself and its dead children."""
        then, now = self.at_progress.processes.get(pid), self.last.processes.get(pid)
        elapsed_s = self.last.at_s - self.at_progress.at_s
        if now is None or elapsed_s <= 0:
            return 0.0
        return max(0.0, now.cpu_s - (then.cpu_s if then is not None else 0.0)) / elapsed_s

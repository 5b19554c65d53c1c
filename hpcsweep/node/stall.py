"""Slow or stuck: what counts as a sign of life between two looks at a server. Pure.

A growing log alone proves little (engines write waiting lines beside a dead worker: those are noise), and silence
proves nothing either: a compile can be silent for many minutes at full CPU. So a stall is the absence of all signs.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Evidence:
    """One look, at `at_s` real seconds (monotonic). Counters only grow; None: could not be seen this time."""

    at_s: float
    log_lines: int = 0
    cpu_s: float = 0.0
    io_bytes: int = 0
    pids: frozenset[int] = frozenset()
    gpu_utilization: float | None = None
    gpu_memory_bytes: int | None = None
    cache_entries: int | None = None
    cache_bytes: int | None = None
    tokens: float | None = None
    samples: int = 0


@dataclass(frozen=True)
class Thresholds:
    """From where on something counts. Below them lies the breathing of an idle server and our own health checks."""

    cpu_cores: float = 0.05
    io_bytes_per_s: float = 200_000.0
    gpu_utilization: float = 1.0
    gpu_memory_bytes: int = 16 << 20


def signs(before: Evidence, after: Evidence, limits: Thresholds = Thresholds()) -> list[str]:
    """What moved between two looks: log, cpu, io, gpu, cache, tokens, samples. Empty: nothing did.

    Processes that come count as CPU: compilers may live and die between two looks.
    """
    elapsed_s = max(after.at_s - before.at_s, 1e-3)
    found = []
    if after.log_lines > before.log_lines:
        found.append("log")
    if after.cpu_s - before.cpu_s >= limits.cpu_cores * elapsed_s or after.pids - before.pids:
        found.append("cpu")
    if after.io_bytes - before.io_bytes >= limits.io_bytes_per_s * elapsed_s:
        found.append("io")
    if _gpu_moved(before, after, limits):
        found.append("gpu")
    if (before.cache_entries, before.cache_bytes) != (after.cache_entries, after.cache_bytes):
        found.append("cache")
    if after.tokens is not None and before.tokens is not None and after.tokens != before.tokens:
        found.append("tokens")
    if after.samples > before.samples:
        found.append("samples")
    return found


def _gpu_moved(before: Evidence, after: Evidence, limits: Thresholds) -> bool:
    if after.gpu_utilization is not None and after.gpu_utilization >= limits.gpu_utilization:
        return True
    if before.gpu_memory_bytes is None or after.gpu_memory_bytes is None:
        return False
    return abs(after.gpu_memory_bytes - before.gpu_memory_bytes) >= limits.gpu_memory_bytes


HELD_UP_LOOKS = 4.0
"""A look that comes so many intervals after the last one was held up."""


class StallWatch:
    """Follows looks at one server, and says since when nothing has moved.

    `every_s`: when the next look is due. Where it comes much later, the observer itself was held up (a machine that
    was frozen or starved, a suspended job, a file system that hung), and the server most likely with it: that time
    is no silence of the server. It is excused for `stall_s` at most, so that a machine that is slow for ever cannot
    hide a server that is dead. None: every second counts.
    """

    def __init__(
        self, first: Evidence, limits: Thresholds = Thresholds(), every_s: float | None = None, stall_s: float = 0.0
    ) -> None:
        self._limits, self._every_s, self._stall_s = limits, every_s, stall_s
        self._last = first
        self._moved_at_s = first.at_s
        self._excused_s = 0.0
        self.held_up_s = 0.0
        """Seconds so far in which the observer itself was held up."""

    def look(self, now: Evidence) -> list[str]:
        """The signs since the last look."""
        found = signs(self._last, now, self._limits)
        late_s = self._late_s(now.at_s)
        self.held_up_s += late_s
        if found:
            self._moved_at_s, self._excused_s = now.at_s, 0.0
        else:
            excused_s = min(late_s, self._stall_s - self._excused_s)
            self._moved_at_s += excused_s
            self._excused_s += excused_s
        self._last = now
        return found

    def _late_s(self, at_s: float) -> float:
        elapsed_s = at_s - self._last.at_s
        if self._every_s is None or elapsed_s <= HELD_UP_LOOKS * self._every_s:
            return 0.0
        return elapsed_s - self._every_s

    def excuse(self, at_s: float) -> None:
        """Nothing had to move until now: the server had nothing to do."""
        self._moved_at_s = max(self._moved_at_s, at_s)

    def idle_s(self, at_s: float) -> float:
        """Real seconds since the last sign."""
        return at_s - self._moved_at_s

"""Simulated time: durations of the profile, divided by the time scale."""

import asyncio
import os
import random
import time
from pathlib import Path


class Pace:
    """Converts simulated seconds to real ones. `scale`: simulated seconds per real second.

    `sleep` waits until absolute deadlines: a late wake-up shortens the next wait, so that errors do not accumulate. The
    first wait begins with the process, so that the start of Python is part of the first phase.
    """

    def __init__(self, scale: float, jitter: float, seed: str) -> None:
        self.scale = scale
        self.jitter = jitter
        self._random = random.Random(seed)
        self._origin = self._deadline = time.monotonic() - _process_age_s()

    def now_s(self, monotonic_s: float | None = None) -> float:
        """Return the simulated seconds since the start of the server, at a monotonic time; None: now."""
        return ((time.monotonic() if monotonic_s is None else monotonic_s) - self._origin) * self.scale

    def varied(self, duration_s: float) -> float:
        """Return `duration_s` with the profile's jitter, reproducible for the same seed and order of calls."""
        return duration_s * (1 + self.jitter * self._random.uniform(-1, 1)) if self.jitter else duration_s

    async def sleep(self, duration_s: float) -> None:
        """Wait until `duration_s` simulated seconds after the end of the previous wait."""
        self._deadline += duration_s / self.scale
        await asyncio.sleep(max(0.0, self._deadline - time.monotonic()))

    def restart(self, at_s: float) -> None:
        """Begin the next wait at this time of `now_s`, ignoring the time that passed outside `sleep`."""
        self._deadline = max(self._deadline, self._origin + at_s / self.scale)


def _process_age_s() -> float:
    """Return the real seconds since the start of this process, in kernel ticks (proc(5), starttime); 0: unknown."""
    try:
        stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
        ticks = int(stat.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0.0
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return min(max(0.0, age_s), 60.0)

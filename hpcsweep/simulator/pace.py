"""Simulated time: durations of the profile, played faster than they are told."""

import asyncio
import os
import random
import time
from pathlib import Path


class Pace:
    """Turns simulated seconds into real ones. `scale`: simulated seconds in one real second.

    `sleep` waits until absolute deadlines: a late wake-up shortens the next wait, so that no error adds up. The first
    begins with the process, so that the start of Python is a part of the first phase.
    """

    def __init__(self, scale: float, jitter: float, seed: str) -> None:
        self.scale = scale
        self.jitter = jitter
        self._random = random.Random(seed)
        self._origin = self._deadline = time.monotonic() - _process_age_s()

    def now_s(self, monotonic_s: float | None = None) -> float:
        """Simulated seconds since the server began, at a monotonic time; None: now."""
        return ((time.monotonic() if monotonic_s is None else monotonic_s) - self._origin) * self.scale

    def varied(self, duration_s: float) -> float:
        """`duration_s` with the profile's jitter; the same for the same seed and order of calls."""
        return duration_s * (1 + self.jitter * self._random.uniform(-1, 1)) if self.jitter else duration_s

    async def sleep(self, duration_s: float) -> None:
        """Wait `duration_s` simulated seconds after the end of the wait before."""
        self._deadline += duration_s / self.scale
        await asyncio.sleep(max(0.0, self._deadline - time.monotonic()))

    def restart(self, at_s: float) -> None:
        """Forget the time that passed outside `sleep`: the next wait begins at this moment of `now_s`."""
        self._deadline = max(self._deadline, self._origin + at_s / self.scale)


def _process_age_s() -> float:
    """Real seconds since this process was started, in steps of the kernel's tick (proc(5), starttime); 0: not known."""
    try:
        stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
        ticks = int(stat.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0.0
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return min(max(0.0, age_s), 60.0)

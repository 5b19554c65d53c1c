"""The clock of an attempt: seconds since it began, run faster when the engine is simulated."""

import time


class Clock:
    """Turns CLOCK_MONOTONIC, which all processes of one machine share, into seconds of the attempt.

    `scale`: attempt seconds in one real second; 1 except for a simulated engine. `origin_s`: the monotonic time at
    which the attempt began; None: now.
    """

    def __init__(self, scale: float = 1.0, origin_s: float | None = None) -> None:
        self.scale = scale
        self.origin_s = time.monotonic() if origin_s is None else origin_s

    def t_s(self, monotonic_s: float | None = None) -> float:
        """Attempt seconds at a monotonic time; None: now."""
        return ((time.monotonic() if monotonic_s is None else monotonic_s) - self.origin_s) * self.scale

    def scaled(self, real_s: float) -> float:
        """Attempt seconds that pass in `real_s` real ones."""
        return real_s * self.scale

    def real(self, duration_s: float) -> float:
        """Real seconds that `duration_s` attempt seconds take."""
        return duration_s / self.scale

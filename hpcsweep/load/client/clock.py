"""The clock of an attempt: seconds since its start. It runs faster when the engine is simulated."""

import time


class Clock:
    """Converts CLOCK_MONOTONIC, which all processes of a machine share, to seconds of the attempt.

    `scale`: attempt seconds per real second; 1 unless the engine is simulated. `origin_s`: the monotonic time of the
    attempt's start; None: now.
    """

    def __init__(self, scale: float = 1.0, origin_s: float | None = None) -> None:
        self.scale = scale
        self.origin_s = time.monotonic() if origin_s is None else origin_s

    def t_s(self, monotonic_s: float | None = None) -> float:
        """Return the attempt seconds at a monotonic time; None: now."""
        return ((time.monotonic() if monotonic_s is None else monotonic_s) - self.origin_s) * self.scale

    def scaled(self, real_s: float) -> float:
        """Return the attempt seconds that pass in `real_s` real seconds."""
        return real_s * self.scale

    def real(self, duration_s: float) -> float:
        """Return the real seconds that `duration_s` attempt seconds take."""
        return duration_s / self.scale

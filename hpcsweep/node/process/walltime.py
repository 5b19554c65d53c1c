"""Compute when the job ends, and from when on the agent starts nothing new."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from hpcsweep.schedulers.registry import scheduler_of

WARNING_EARLY_S = 60.0
"""Slurm sends its warning signal up to this much earlier than requested, never later (man sbatch, --signal)."""


@dataclass(frozen=True)
class Walltime:
    """End of the job. `ends_at`: Unix time at which the scheduler kills it. `margin_s`: time reserved before that."""

    ends_at: float
    margin_s: float

    def left_s(self, now: float | None = None) -> float:
        """Return the real seconds until the scheduler kills the job."""
        return self.ends_at - (time.time() if now is None else now)

    def over(self, now: float | None = None) -> bool:
        """Return whether only the margin is left, so that everything has to stop."""
        return self.left_s(now) <= self.margin_s

    def near(self, now: float | None = None) -> bool:
        """Return whether the end is so near that a signal from the scheduler must be about it."""
        return self.left_s(now) <= self.margin_s + 2 * WARNING_EARLY_S


def job_walltime(env: Mapping[str, str], walltime_s: float, margin_s: float, started_at: float) -> Walltime:
    """Return the walltime of this job, from the end time that the scheduler sets, else from its start.

    `started_at`: when the agent's process was created, used without an end time and without HPCSWEEP_JOB_STARTED_AT.
    The margin is at most a quarter of the walltime, so that a job of one minute can do some work.
    """
    scheduler = scheduler_of(env)
    begun_at = _number(env.get("HPCSWEEP_JOB_STARTED_AT")) or started_at
    end_time = None if scheduler is None else _number(env.get(scheduler.environment.end_time))
    ends_at = end_time or begun_at + walltime_s
    return Walltime(ends_at, min(margin_s, walltime_s / 4))


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None

"""The job's own clock: when it must have ended, and from when on nothing new is begun."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

WARNING_EARLY_S = 60.0
"""Slurm sends its warning up to this much before the time asked for, never later (man sbatch, --signal)."""


@dataclass(frozen=True)
class Walltime:
    """`ends_at`: Unix time at which the scheduler kills the job. `margin_s`: what is kept free before it."""

    ends_at: float
    margin_s: float

    def left_s(self, now: float | None = None) -> float:
        """Real seconds until the scheduler kills the job."""
        return self.ends_at - (time.time() if now is None else now)

    def over(self, now: float | None = None) -> bool:
        """Whether only the margin is left: whatever runs is stopped now."""
        return self.left_s(now) <= self.margin_s

    def near(self, now: float | None = None) -> bool:
        """Whether the end is so near that a signal of the scheduler can only mean this."""
        return self.left_s(now) <= self.margin_s + 2 * WARNING_EARLY_S


def job_walltime(env: Mapping[str, str], walltime_s: float, margin_s: float, started_at: float) -> Walltime:
    """The clock of this job: what the scheduler says of its end, else its start plus the walltime asked for.

    `started_at`: when the agent's process was made, used when neither SLURM_JOB_END_TIME nor HPCSWEEP_JOB_STARTED_AT
    says more. The margin never takes more than a quarter of the walltime: a job of a minute must be able to work.
    """
    begun_at = _number(env.get("HPCSWEEP_JOB_STARTED_AT")) or started_at
    ends_at = _number(env.get("SLURM_JOB_END_TIME")) or begun_at + walltime_s
    return Walltime(ends_at, min(margin_s, walltime_s / 4))


def _number(word: str | None) -> float | None:
    try:
        return float(word) if word else None
    except ValueError:
        return None

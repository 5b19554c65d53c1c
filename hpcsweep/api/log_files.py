"""The files in which the logs of runs and preparations are."""

from pathlib import Path

from hpcsweep.schedulers.registry import log_index
from hpcsweep.sweep.layout import SweepFolder


def job_log(sweep: SweepFolder, label: str) -> Path | None:
    """Return the newest output file of a run's job; None: there is none yet."""
    position = sweep.current_tasks().get(label)
    if position is None:
        return None
    return submission_log(sweep, *position)


def submission_log(sweep: SweepFolder, job: int, index: int) -> Path | None:
    """Return the newest output file of an array task; None: there is none yet."""
    files = [path for path in (sweep.job_dir(job) / "logs").glob("*") if log_index(path.name) in (index, None)]
    return max(files, key=lambda path: path.stat().st_mtime, default=None)

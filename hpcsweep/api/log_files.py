"""The files in which a run's logs are."""

from pathlib import Path

from hpcsweep.schedulers.registry import log_index
from hpcsweep.sweep.layout import SweepFolder


def job_log(sweep: SweepFolder, label: str) -> Path | None:
    """Return the newest output file of a run's job; None: there is none yet."""
    position = sweep.current_tasks().get(label)
    if position is None:
        return None
    job, index = position
    files = [path for path in (sweep.job_dir(job) / "logs").glob("*") if log_index(path.name) in (index, None)]
    return max(files, key=lambda path: path.stat().st_mtime, default=None)

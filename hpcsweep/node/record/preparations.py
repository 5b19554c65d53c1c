"""Read how a preparation ended, from the attempts in its job folder `jobs/N/`.

The agent of the preparation writes these records as it does for a run. The agents of the runs that need it, the local
dispatcher and `hpcsweep status` read them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpcsweep.node.record.folders import attempt_numbers
from hpcsweep.node.records import EXIT_FILE, OWNER_FILE, read_record
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.spec.preparation_failure import failure_text
from hpcsweep.spec.records import ExitRecord, OwnerRecord

if TYPE_CHECKING:  # pydantic is not needed to read the records
    from hpcsweep.spec.job import JobSpec, RunSpec


@dataclass(frozen=True)
class PreparationRecord:
    """The attempt of a preparation that counts: one that completed, else the latest.

    `number` 0: no attempt has begun. `end` None: it has no end record.
    """

    folder: Path
    number: int = 0
    owner: OwnerRecord | None = None
    end: ExitRecord | None = None

    @property
    def outcome(self) -> OutcomeKind | None:
        """Return how the attempt ended; None: not known."""
        return self.end.outcome if self.end is not None else None


def read_preparation(job_dir: Path) -> PreparationRecord:
    """Return the record of the preparation in a job folder."""
    latest = PreparationRecord(job_dir)
    for number in reversed(attempt_numbers(job_dir)):
        folder = job_dir / f"attempt-{number}"
        owner, end = read_record(folder / OWNER_FILE, OwnerRecord), read_record(folder / EXIT_FILE, ExitRecord)
        record = PreparationRecord(folder, number, owner, end)
        if record.outcome is OutcomeKind.COMPLETED:
            return record
        latest = latest if latest.number else record
    return latest


def recorded(job: "JobSpec") -> bool:
    """Return whether every preparation that a job needs has an end record."""
    return all(read_preparation(_folder(job, number)).end is not None for number in job.needs.values())


def failed_preparation(job: "JobSpec") -> str | None:
    """Return the failure of the first preparation that did not complete, among those that a job needs."""
    for name, number in job.needs.items():
        record = read_preparation(_folder(job, number))
        if record.outcome is OutcomeKind.COMPLETED:
            continue
        if record.end is not None:
            return failure_text(name, record.outcome, record.end.reason or "")
        begun = "its agent left no end record" if record.number else "it has not started"
        return f"preparation {name} has not completed: {begun}"
    return None


def failed_warm_up(job: "JobSpec", run: "RunSpec") -> str | None:
    """Return why a warm-up that a job needs could not start the server of this run; None: it could, or did not try."""
    for name, number in job.needs.items():
        record = read_preparation(_folder(job, number))
        last = read_preparation(record.folder / run.variant_id) if record.number else None
        if last is not None and last.end is not None and last.outcome is not OutcomeKind.COMPLETED:
            return f"preparation {name}: the server of this variant did not start: {last.end.reason or last.outcome}"
    return None


def _folder(job: "JobSpec", number: int) -> Path:
    return Path(job.sweep_dir) / "jobs" / str(number)

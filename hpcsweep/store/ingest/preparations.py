"""Read the records of a sweep's preparations into the table `preparation`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from hpcsweep.node.records import EXIT_FILE, OWNER_FILE
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.store.open import Store
from hpcsweep.store.records import read_end, read_owner
from hpcsweep.store.schema import PREPARATION, SUBMISSION
from hpcsweep.store.statements import insert_new, update_rows
from hpcsweep.sweep.layout import SweepFolder

if TYPE_CHECKING:  # pydantic is not needed to read the records
    from hpcsweep.spec.job import JobSpec

_ATTEMPT = re.compile(r"attempt-([1-9]\d{0,8})")
_COLUMNS = ("attempt", "host", "started_at", "ended_at", "outcome", "reason", "hint", "evidence", "exit_code")


def save_preparation(connection: Connection, submission_id: int, job: "JobSpec") -> None:
    """Add the preparation that a submission is, without its records. Do nothing for a submission with runs."""
    if job.preparation is None:
        return
    row = {
        "submission_id": submission_id,
        "name": job.preparation.name,
        "walltime_s": job.resources.walltime_s,
        "gpus": job.resources.gpus * job.resources.nodes,
        "attempt": 0,
        "reason": "",
        "hint": "",
        "evidence": [],
    }
    insert_new(connection, PREPARATION, [row])


def ingest_preparations(store: Store, folder: SweepFolder, sweep_id: int, troubles: list[str]) -> None:
    """Read the records of the preparations of a sweep that have not completed; write what is new. Raises StoreError."""
    query = select(PREPARATION, SUBMISSION.c.job).join(SUBMISSION, SUBMISSION.c.id == PREPARATION.c.submission_id)
    where = (SUBMISSION.c.sweep_id == sweep_id, PREPARATION.c.outcome.is_distinct_from(OutcomeKind.COMPLETED.value))
    with store.reading() as connection:
        known = [dict(row) for row in connection.execute(query.where(*where)).mappings()]
    changed = []
    for row in known:
        read = _read(folder.job_dir(row["job"]), troubles)
        if read is not None and any(read[name] != row[name] for name in _COLUMNS):
            changed.append({"submission_id": row["submission_id"]} | read)
    if changed:
        with store.writing() as connection:
            update_rows(connection, PREPARATION, "submission_id", changed)


def _read(job_dir: Path, troubles: list[str]) -> dict[str, Any] | None:
    """Return the columns of the attempt that counts: one that completed, else the latest. None: none has begun."""
    try:
        matches = [_ATTEMPT.fullmatch(path.name) for path in job_dir.iterdir()]
    except OSError as exc:
        troubles.append(f"{job_dir} cannot be read: {exc.strerror}")
        return None
    latest: dict[str, Any] | None = None
    for number in sorted((int(match[1]) for match in matches if match), reverse=True):
        attempt = job_dir / f"attempt-{number}"
        owner, end = read_owner(attempt / OWNER_FILE, troubles), read_end(attempt / EXIT_FILE, troubles) or {}
        columns = {
            "attempt": number,
            "host": owner["host"],
            "started_at": owner["started_at"],
            "ended_at": end.get("ended_at"),
            "outcome": end.get("outcome"),
            "reason": end.get("reason") or "",
            "hint": end.get("hint") or "",
            "evidence": end.get("evidence") or [],
            "exit_code": end.get("exit_code"),
        }
        if columns["outcome"] is not None:
            columns["outcome"] = OutcomeKind(columns["outcome"]).value
        if columns["outcome"] == OutcomeKind.COMPLETED.value:
            return columns
        latest = latest or columns
    return latest

"""Merge the snapshots of several sources (queue, accounting) into one. Pure.

A job that is missing from the queue is unknown, not completed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hpcsweep.schedulers.base import JobState, JobStatus, QueueSnapshot

ABSENCE_GRACE_S = 120.0
"""Time for which a job may be unknown, to a scheduler that keeps no record of ended jobs, before its run is lost.

It is longer than the 60 s for which NFS may hide a new file from the login node, such as the agent's end record.
"""


def merge_snapshots(snapshots: Sequence[QueueSnapshot]) -> QueueSnapshot:
    """Return one snapshot from several, given with the most reliable source last.

    A later source is more precise about how a job ended: the accounting records who cancelled it. For a job that the queue
    lists as active the queue is more current: the accounting does not record why a job waits, and may still have the
    end of an earlier start, after which the job was requeued. Fields that the chosen status lacks are taken from the
    other one. The result is complete if all snapshots are.
    """
    merged: dict[tuple[str, int | None], JobStatus] = {}
    for snapshot in snapshots:
        for key, status in snapshot.statuses.items():
            merged[key] = _later(merged[key], status) if key in merged else status
    error = "; ".join(dict.fromkeys(snapshot.error for snapshot in snapshots if snapshot.error))
    shown = {job_id for job_id, _ in merged}
    absent = frozenset(
        (job_id, index)
        for snapshot in snapshots
        for job_id, index in snapshot.absent
        if (job_id, index) not in merged and (index is not None or job_id not in shown)
    )
    return QueueSnapshot(merged, all(snapshot.complete for snapshot in snapshots), error, absent)


def every_array_task(snapshot: QueueSnapshot, sizes: Mapping[str, int]) -> dict[tuple[str, int], JobStatus]:
    """Return (job id, array index) -> status for all array tasks of these jobs (id -> number of tasks).

    When the waiting tasks of an array were cancelled, the scheduler lists them as one job without an index. A task that
    is missing from a complete snapshot gets GONE; one missing from an incomplete snapshot gets no status.
    """
    statuses: dict[tuple[str, int], JobStatus] = {}
    for job_id, size in sizes.items():
        whole = snapshot.statuses.get((job_id, None))
        for index in range(size):
            status = snapshot.statuses.get((job_id, index), whole)
            if status is not None:
                statuses[job_id, index] = replace(status, index=index)
            elif snapshot.complete:
                statuses[job_id, index] = JobStatus(job_id, index, JobState.GONE, "gone")
    return statuses


def _later(earlier: JobStatus, later: JobStatus) -> JobStatus:
    later_is_better = earlier.state is JobState.UNKNOWN or (earlier.state.final and later.state.final)
    winner, other = (later, earlier) if later_is_better else (earlier, later)
    if winner.state.final is not other.state.final:
        return winner  # two starts of one job: node and exit code of the other are not those of this one
    same_state = winner.state is other.state
    return replace(
        winner,
        reason=winner.reason or (other.reason if same_state else ""),
        hint=winner.hint or (other.hint if same_state else ""),
        node=winner.node or other.node,
        outcome=winner.outcome or (other.outcome if same_state else None),
        exit_code=winner.exit_code if winner.exit_code is not None else other.exit_code,
        signal=winner.signal if winner.signal is not None else other.signal,
        restarts=winner.restarts if winner.restarts is not None else other.restarts,
    )

"""Merge the listings of several sources (queue, accounting) into one. Pure.

A job that is missing from the queue is unknown, never completed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hpcsweep.schedulers.base import JobState, JobStatus, QueueSnapshot

ABSENCE_GRACE_S = 120.0
"""How long a job may be unknown to a scheduler that forgets jobs as they end before its run counts as lost.

Longer than the 60 s for which NFS may hide a new file from the login node: the agent's end record may be there soon.
"""


def merge_snapshots(listings: Sequence[QueueSnapshot]) -> QueueSnapshot:
    """One listing of several, the most trustworthy last.

    Of how a job ended a later witness knows more: the accounting says who cancelled it. As long as the queue shows a
    job alive, and as soon as it shows it ended, the accounting only trails it: it does not learn why a job waits, and
    still holds the end of a life after which the job was requeued. What the winner leaves out comes from the other.
    Complete when all witnesses were: a job that none of them shows is not known to any.
    """
    merged: dict[tuple[str, int | None], JobStatus] = {}
    for listing in listings:
        for key, status in listing.statuses.items():
            merged[key] = _later(merged[key], status) if key in merged else status
    trouble = "; ".join(dict.fromkeys(listing.error for listing in listings if listing.error))
    shown = {job_id for job_id, _ in merged}
    absent = frozenset(
        (job_id, index)
        for listing in listings
        for job_id, index in listing.absent
        if (job_id, index) not in merged and (index is not None or job_id not in shown)
    )
    return QueueSnapshot(merged, all(listing.complete for listing in listings), trouble, absent)


def every_array_task(listing: QueueSnapshot, elements: Mapping[str, int]) -> dict[tuple[str, int], JobStatus]:
    """(job id, element index) -> status of the elements of these jobs (id -> number of elements).

    What is left of an array when its waiting elements were cancelled is told once, for all of them. A complete
    listing without an element says that it is gone; an incomplete one says nothing of it.
    """
    told: dict[tuple[str, int], JobStatus] = {}
    for job_id, number in elements.items():
        whole = listing.statuses.get((job_id, None))
        for index in range(number):
            status = listing.statuses.get((job_id, index), whole)
            if status is not None:
                told[job_id, index] = replace(status, index=index)
            elif listing.complete:
                told[job_id, index] = JobStatus(job_id, index, JobState.GONE, "gone")
    return told


def _later(earlier: JobStatus, later: JobStatus) -> JobStatus:
    later_knows_more = earlier.state is JobState.UNKNOWN or (earlier.state.final and later.state.final)
    winner, other = (later, earlier) if later_knows_more else (earlier, later)
    if winner.state.final is not other.state.final:
        return winner  # two lives of one job: what the other says of nodes and exit codes is not about this one
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

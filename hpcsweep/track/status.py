"""The schedulers' last word about each element: written by whoever asked, read with every status."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, RowMapping, delete, func, select

from hpcsweep.schedulers.base import ABSENT, JobState, JobStatus
from hpcsweep.schedulers.listings import ABSENCE_GRACE_S
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.store.schema import ATTEMPT, RUN, SCHEDULER_STATUS, SUBMISSION, SWEEP
from hpcsweep.store.statements import insert_new
from hpcsweep.track.decide import PERHAPS_AGAIN
from hpcsweep.track.evidence import RunVerdict
from hpcsweep.track.runs import read_runs

_ANSWER_S = 300.0
"""A word that is older by less than this was asked for earlier, and came late. By more: the clock was set back."""

_SAID = ("native", "reason", "hint", "exit_code", "signal", "node", "restarts")


def highest_number(connection: Connection, experiment: str, home_id: str | None) -> int:
    """Return the highest NNNN of the sweeps EXPERIMENT-NNNN of other homes than this one; 0: there is none."""
    rows = connection.execute(select(SWEEP.c.name, SWEEP.c.home_id).where(SWEEP.c.name.startswith(f"{experiment}-")))
    numbers = [
        row.name.removeprefix(f"{experiment}-") for row in rows if row.home_id is not None and row.home_id != home_id
    ]
    return max((int(number) for number in numbers if number.isascii() and number.isdigit()), default=0)


def record_status(connection: Connection, sweep: str, job: int, index: int, status: JobStatus, at: float) -> bool:
    """Keep what a scheduler said at Unix time `at` of element `index` of a job of a sweep; True: it was news.

    What is known stays where the new word is `unknown` or a few minutes older at most, and where a witness that trails
    the others says less: while slurmctld is down, the accounting may still call a job pending that squeue showed
    running. A final word stays too, unless the scheduler has started the element again since. `gone` is no last word:
    whoever shows the element again knows more.
    """
    submission_id, known = _known(connection, sweep, job, index)
    if submission_id is None or (known is not None and not _news(known, status, at)):
        return False
    _write(connection, submission_id, index, status, at)
    return True


def record_absence(connection: Connection, sweep: str, job: int, index: int, at: float) -> None:
    """Keep that a scheduler, which forgets jobs as they end, did not know this element at Unix time `at`.

    At first the element is unknown: the end record of its agent may still be on its way through a shared file system.
    `ABSENCE_GRACE_S` after the first such answer the element is gone. How it ended stays if it was known before.
    """
    submission_id, known = _known(connection, sweep, job, index)
    if submission_id is None:
        return
    status = JobStatus("", index, JobState.UNKNOWN, ABSENT, "the scheduler does not list the job any more")
    if known is not None:
        state = JobState(known["state"])
        if state.final and state is not JobState.GONE:
            return
        status = replace(status, node=known["node"], restarts=known["restarts"])
        if known["native"] == ABSENT and state is JobState.UNKNOWN:
            if at - known["at"] < ABSENCE_GRACE_S:
                return
            status = replace(status, state=JobState.GONE)
        elif state is JobState.GONE:
            status = replace(status, state=JobState.GONE, native=known["native"])
    _write(connection, submission_id, index, status, at)


def ended_tasks(connection: Connection, sweep: str) -> set[tuple[int, int]]:
    """(job, array index) of the elements of a sweep of which a scheduler said how they ended."""
    table = SCHEDULER_STATUS
    query = select(SUBMISSION.c.job, table.c.array_index, table.c.state)
    query = query.join(SUBMISSION, SUBMISSION.c.id == table.c.submission_id)
    rows = connection.execute(query.join(SWEEP, SWEEP.c.id == SUBMISSION.c.sweep_id).where(SWEEP.c.name == sweep))
    return {(job, index) for job, index, state in rows if JobState(state).final and state != JobState.GONE.value}


def _known(connection: Connection, sweep: str, job: int, index: int) -> tuple[int | None, RowMapping | None]:
    """Id of a submission (None: it is not in the store), and what is kept of one of its elements."""
    query = select(SUBMISSION.c.id).join(SWEEP, SWEEP.c.id == SUBMISSION.c.sweep_id)
    submission_id = connection.execute(query.where(SWEEP.c.name == sweep, SUBMISSION.c.job == job)).scalar_one_or_none()
    if submission_id is None:
        return None, None
    table = SCHEDULER_STATUS
    where = (table.c.submission_id == submission_id, table.c.array_index == index)
    return submission_id, connection.execute(select(table).where(*where)).mappings().one_or_none()


def _write(connection: Connection, submission_id: int, index: int, status: JobStatus, at: float) -> None:
    table = SCHEDULER_STATUS
    row = {name: getattr(status, name) for name in _SAID} | {
        "submission_id": submission_id,
        "array_index": index,
        "at": at,
        "state": status.state.value,
        "outcome": status.outcome.value if status.outcome else None,
    }
    where = (table.c.submission_id == submission_id, table.c.array_index == index)
    connection.execute(delete(table).where(*where))
    insert_new(connection, table, [row])


def last_reported_at(connection: Connection, sweeps: Sequence[str]) -> float | None:
    """Unix time at which a scheduler last said something of these sweeps; None: it never did."""
    table = SCHEDULER_STATUS
    query = select(func.max(table.c.at)).join(SUBMISSION, SUBMISSION.c.id == table.c.submission_id)
    found = connection.execute(query.join(SWEEP, SWEEP.c.id == SUBMISSION.c.sweep_id).where(SWEEP.c.name.in_(sweeps)))
    at = found.scalar_one()
    return None if at is None else float(at)


def unfinished_sweeps(connection: Connection) -> list[str]:
    """Names of the sweeps that have a run which has not ended, the oldest first."""
    perhaps = _perhaps_unfinished(connection)
    sweeps = read_runs(connection, perhaps) if perhaps else []
    return [sweep.name for sweep in sweeps if any(_is_open(run.verdict) for run in sweep.runs)]


def _is_open(verdict: RunVerdict) -> bool:
    return not verdict.state.final or verdict.awaits_scheduler


def _perhaps_unfinished(connection: Connection) -> list[str]:
    """Names of the sweeps with a run whose folder alone does not settle it: the others need no second look."""
    fresh = select(ATTEMPT.c.id).where(ATTEMPT.c.run_id == RUN.c.id, ATTEMPT.c.attempt > RUN.c.known_attempts)
    # A crash too: the scheduler may report that the job was over its memory limit.
    again = [outcome.value for outcome in (*PERHAPS_AGAIN, OutcomeKind.CRASHED)]
    ended = fresh.where(ATTEMPT.c.outcome.not_in(again)).exists()
    goes_on = fresh.where(ATTEMPT.c.outcome.is_(None)).exists()
    query = select(SWEEP.c.name).join(RUN, RUN.c.sweep_id == SWEEP.c.id).where(~RUN.c.not_submitted, ~ended | goes_on)
    return list(connection.scalars(query.distinct()))


def _news(known: RowMapping, status: JobStatus, at: float) -> bool:
    if status.state is JobState.UNKNOWN or at < known["at"] <= at + _ANSWER_S:
        return False
    state = JobState(known["state"])
    if status.is_stale_against(state):
        return False
    restarted = (status.restarts or 0) > (known["restarts"] or 0)
    if not state.final or restarted or state is JobState.GONE:
        return True
    return status.state.final and status.state is not JobState.GONE

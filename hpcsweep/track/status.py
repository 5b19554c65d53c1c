"""The schedulers' last report about each array task, as rows of the store."""

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
"""A report that is older by less than this was queried earlier and arrived late; by more: the clock was set back."""

_REPORTED = ("native", "reason", "hint", "exit_code", "signal", "node", "restarts")


def highest_number(connection: Connection, experiment: str, home_id: str | None) -> int:
    """Return the highest NNNN of the sweeps EXPERIMENT-NNNN of other homes than this one; 0: there is none."""
    rows = connection.execute(select(SWEEP.c.name, SWEEP.c.home_id).where(SWEEP.c.name.startswith(f"{experiment}-")))
    numbers = [
        row.name.removeprefix(f"{experiment}-") for row in rows if row.home_id is not None and row.home_id != home_id
    ]
    return max((int(number) for number in numbers if number.isascii() and number.isdigit()), default=0)


def record_status(connection: Connection, sweep: str, job: int, index: int, status: JobStatus, at: float) -> bool:
    """Store the scheduler's report at Unix time `at` about array task `index` of a job; return whether it was new.

    The stored state stays if the new state is `unknown`, if the report is up to a few minutes older, or if it comes
    from a source that lags: while slurmctld is down, the accounting may report a job as pending that squeue showed
    running. A final state also stays, unless the scheduler has started the array task again. `gone` is not
    final in this sense: a later report of the array task replaces it.
    """
    submission_id, known = _known(connection, sweep, job, index)
    if submission_id is None or (known is not None and not _news(known, status, at)):
        return False
    _write(connection, submission_id, index, status, at)
    return True


def record_absence(connection: Connection, sweep: str, job: int, index: int, at: float) -> None:
    """Store that a scheduler without history did not have this array task at Unix time `at`.

    The state is first `unknown`, because the agent's end record may be delayed by a shared file system, and `gone`
    `ABSENCE_GRACE_S` after the first such report. A known end stays.
    """
    submission_id, known = _known(connection, sweep, job, index)
    if submission_id is None:
        return
    status = JobStatus("", index, JobState.UNKNOWN, ABSENT, "the scheduler no longer lists the job")
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
    """Return (job, array index) of the array tasks of a sweep whose end a scheduler reported."""
    table = SCHEDULER_STATUS
    query = select(SUBMISSION.c.job, table.c.array_index, table.c.state)
    query = query.join(SUBMISSION, SUBMISSION.c.id == table.c.submission_id)
    rows = connection.execute(query.join(SWEEP, SWEEP.c.id == SUBMISSION.c.sweep_id).where(SWEEP.c.name == sweep))
    return {(job, index) for job, index, state in rows if JobState(state).final and state != JobState.GONE.value}


def _known(connection: Connection, sweep: str, job: int, index: int) -> tuple[int | None, RowMapping | None]:
    """Return the id of a submission (None: not in the store), and the stored state of one of its array tasks."""
    query = select(SUBMISSION.c.id).join(SWEEP, SWEEP.c.id == SUBMISSION.c.sweep_id)
    submission_id = connection.execute(query.where(SWEEP.c.name == sweep, SUBMISSION.c.job == job)).scalar_one_or_none()
    if submission_id is None:
        return None, None
    table = SCHEDULER_STATUS
    where = (table.c.submission_id == submission_id, table.c.array_index == index)
    return submission_id, connection.execute(select(table).where(*where)).mappings().one_or_none()


def _write(connection: Connection, submission_id: int, index: int, status: JobStatus, at: float) -> None:
    table = SCHEDULER_STATUS
    row = {name: getattr(status, name) for name in _REPORTED} | {
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
    """Return the Unix time of the last report about these sweeps; None: there is none."""
    table = SCHEDULER_STATUS
    query = select(func.max(table.c.at)).join(SUBMISSION, SUBMISSION.c.id == table.c.submission_id)
    query = query.join(SWEEP, SWEEP.c.id == SUBMISSION.c.sweep_id).where(SWEEP.c.name.in_(sweeps))
    at = connection.execute(query).scalar_one()
    return None if at is None else float(at)


def unfinished_sweeps(connection: Connection) -> list[str]:
    """Return the names of the sweeps with a run that has not ended, the oldest first."""
    perhaps = _perhaps_unfinished(connection)
    sweeps = read_runs(connection, perhaps) if perhaps else []
    return [sweep.name for sweep in sweeps if any(_is_open(run.verdict) for run in sweep.runs)]


def _is_open(verdict: RunVerdict) -> bool:
    return not verdict.state.final or verdict.awaits_scheduler


def _perhaps_unfinished(connection: Connection) -> list[str]:
    """Return the names of the sweeps with a run whose folder alone does not determine its state."""
    fresh = select(ATTEMPT.c.id).where(ATTEMPT.c.run_id == RUN.c.id, ATTEMPT.c.attempt > RUN.c.known_attempts)
    # A crash too: the scheduler may report that the job was over its memory limit.
    again = [outcome.value for outcome in (*PERHAPS_AGAIN, OutcomeKind.CRASHED)]
    ended = fresh.where(ATTEMPT.c.outcome.not_in(again)).exists()
    continues = fresh.where(ATTEMPT.c.outcome.is_(None)).exists()
    query = select(SWEEP.c.name).join(RUN, RUN.c.sweep_id == SWEEP.c.id).where(~RUN.c.not_submitted, ~ended | continues)
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

"""The schedulers' last word about each element: written by whoever asked, read with every status."""

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, delete, func, select

from hpcsweep.schedulers.base import JobState, JobStatus
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.store.runs import read_runs
from hpcsweep.store.schema import ATTEMPT, RUN, SCHEDULER_STATUS, SUBMISSION, SWEEP
from hpcsweep.store.statements import insert_new

_PERHAPS_AGAIN = [kind.value for kind in (OutcomeKind.PREEMPTED, OutcomeKind.LOST, OutcomeKind.CANCELLED)]
"""Outcomes of an attempt after which a scheduler may start the job again."""

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
    query = select(SUBMISSION.c.id).join(SWEEP, SWEEP.c.id == SUBMISSION.c.sweep_id)
    submission_id = connection.execute(query.where(SWEEP.c.name == sweep, SUBMISSION.c.job == job)).scalar_one_or_none()
    if submission_id is None:
        return False
    table = SCHEDULER_STATUS
    where = (table.c.submission_id == submission_id, table.c.array_index == index)
    known = connection.execute(select(table).where(*where)).mappings().one_or_none()
    if known is not None and not _news(known, status, at):
        return False
    row = {name: getattr(status, name) for name in _SAID} | {
        "submission_id": submission_id,
        "array_index": index,
        "at": at,
        "state": status.state.value,
        "outcome": status.outcome.value if status.outcome else None,
    }
    connection.execute(delete(table).where(*where))
    insert_new(connection, table, [row])
    return True


def last_told_at(connection: Connection, sweeps: Sequence[str]) -> float | None:
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
    return [sweep.name for sweep in sweeps if any(not run.verdict.state.final for run in sweep.runs)]


def _perhaps_unfinished(connection: Connection) -> list[str]:
    """Names of the sweeps with a run whose folder alone does not settle it: the others need no second look."""
    fresh = select(ATTEMPT.c.id).where(ATTEMPT.c.run_id == RUN.c.id, ATTEMPT.c.attempt > RUN.c.known_attempts)
    ended = fresh.where(ATTEMPT.c.outcome.not_in(_PERHAPS_AGAIN)).exists()
    goes_on = fresh.where(ATTEMPT.c.outcome.is_(None)).exists()
    query = select(SWEEP.c.name).join(RUN, RUN.c.sweep_id == SWEEP.c.id).where(~RUN.c.planned_only, ~ended | goes_on)
    return list(connection.scalars(query.distinct()))


def _news(known: RowMapping, status: JobStatus, at: float) -> bool:
    if status.state is JobState.UNKNOWN or at < known["at"] <= at + _ANSWER_S:
        return False
    state = JobState(known["state"])
    if status.takes_back(state):
        return False
    restarted = (status.restarts or 0) > (known["restarts"] or 0)
    if not state.final or restarted or state is JobState.GONE:
        return True
    return status.state.final and status.state is not JobState.GONE

"""What a live view shows besides the states: models and engines of sweeps, phases and warnings of current attempts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, func, select

from hpcsweep.store.schema import ATTEMPT, PHASE, RUN, SWEEP, WARNING


@dataclass(frozen=True)
class PhaseStart:
    """A phase of an attempt and the second at which it started, on the attempt's clock."""

    phase: str
    start_s: float


@dataclass(frozen=True)
class AttemptRows:
    """Rows of the latest attempt of a run, in their order."""

    phases: list[PhaseStart] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def latest_attempt_rows(connection: Connection, sweep_id: int) -> dict[int, AttemptRows]:
    """Return run id -> phases and warnings of its latest attempt, for the runs of a sweep that have one."""
    by_run: dict[int, AttemptRows] = {}
    latest = _latest(sweep_id)
    phases = select(ATTEMPT.c.run_id, PHASE.c.phase, PHASE.c.start_s)
    phases = phases.join(ATTEMPT, ATTEMPT.c.id == PHASE.c.attempt_id).where(latest)
    for row in connection.execute(phases.order_by(PHASE.c.attempt_id, PHASE.c.seq)):
        by_run.setdefault(row.run_id, AttemptRows()).phases.append(PhaseStart(row.phase, row.start_s))
    warnings = select(ATTEMPT.c.run_id, WARNING.c.message, WARNING.c.detail)
    warnings = warnings.join(ATTEMPT, ATTEMPT.c.id == WARNING.c.attempt_id).where(latest)
    for row in connection.execute(warnings.order_by(WARNING.c.attempt_id, WARNING.c.seq)):
        text = f"{row.message}: {row.detail}" if row.detail else row.message
        by_run.setdefault(row.run_id, AttemptRows()).warnings.append(text)
    return by_run


def _latest(sweep_id: int) -> ColumnElement[bool]:
    newer = ATTEMPT.alias("newer")
    superseded = select(newer.c.id).where(newer.c.run_id == ATTEMPT.c.run_id, newer.c.attempt > ATTEMPT.c.attempt)
    return ATTEMPT.c.run_id.in_(select(RUN.c.id).where(RUN.c.sweep_id == sweep_id)) & ~superseded.exists()


def names_of_sweeps(connection: Connection) -> list[str]:
    """Return the names of all sweeps, the latest first."""
    return list(connection.scalars(select(SWEEP.c.name).order_by(SWEEP.c.submitted_at.desc(), SWEEP.c.id.desc())))


def models_and_engines(connection: Connection) -> Mapping[int, tuple[list[str], list[str]]]:
    """Return sweep id -> the models and the engines of its runs, each once, in the order of the plan."""
    query = select(RUN.c.sweep_id, RUN.c.model, RUN.c.engine).where(~RUN.c.documented_only)
    query = query.group_by(RUN.c.sweep_id, RUN.c.model, RUN.c.engine).order_by(func.min(RUN.c.position))
    by_sweep: dict[int, tuple[list[str], list[str]]] = {}
    for row in connection.execute(query):
        models, engines = by_sweep.setdefault(row.sweep_id, ([], []))
        for value, values in ((row.model, models), (row.engine, engines)):
            if value and value not in values:
                values.append(value)
    return by_sweep


def runs_of_variant(connection: Connection, variant_id: str) -> dict[str, list[str]]:
    """Return sweep -> labels of the runs that measured this variant, the oldest sweep first."""
    query = select(SWEEP.c.name, RUN.c.label).join(RUN, RUN.c.sweep_id == SWEEP.c.id)
    query = query.where(RUN.c.variant_id == variant_id, ~RUN.c.not_submitted)
    by_sweep: dict[str, list[str]] = {}
    for row in connection.execute(query.order_by(SWEEP.c.submitted_at, SWEEP.c.id, RUN.c.position)):
        by_sweep.setdefault(row.name, []).append(row.label)
    return by_sweep

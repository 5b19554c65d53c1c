"""Read a sweep from the store as the typed rows of the analysis, with a constant number of queries."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, select

from hpcsweep.analysis.rows import (
    AttemptRow,
    FactRow,
    NodePart,
    PhaseRow,
    PreparationRow,
    RunRow,
    SweepRow,
    WorkloadRow,
)
from hpcsweep.engines.versions import same_version
from hpcsweep.errors import StoreError, nearest
from hpcsweep.events.records import ENGINE_VERSION
from hpcsweep.plan.bound.deploy import BoundModel, bound_model
from hpcsweep.plan.known_models import known_model
from hpcsweep.spec.phases import OutcomeKind, Phase, StallCause
from hpcsweep.store.ingest.blocks import columns
from hpcsweep.store.schema import (
    ATTEMPT,
    FACT,
    INGEST_TROUBLE,
    PHASE,
    RANK_FACT,
    RANK_PHASE,
    RUN,
    SAMPLE_BLOCK,
    SUBMISSION,
    SWEEP,
    TELEMETRY,
    WARNING,
    WORKLOAD_RESULT,
)
from hpcsweep.track.preparations import PreparationStatus
from hpcsweep.track.runs import RunStatus, read_runs

Row = Mapping[str, Any]
Grouped = dict[int, list[Any]]


def load_sweep(
    connection: Connection,
    name: str,
    *,
    runs: Sequence[str] | None = None,
    samples: bool = True,
    itl: bool = False,
    telemetry: bool = False,
) -> SweepRow:
    """Return the sweep of this name with its runs and all their attempts.

    `runs`: labels, None: all. `samples`: fill `WorkloadRow.columns`; `itl`: with the gaps between chunks; otherwise
    they stay empty. Raises StoreError when the store has no such sweep.
    """
    statuses = read_runs(connection, [name])
    if not statuses:
        known = list(connection.scalars(select(SWEEP.c.name).order_by(SWEEP.c.submitted_at.desc()).limit(20)))
        raise StoreError(f"the store has no sweep {name!r}", code="unknown_sweep", hint=nearest(name, known))
    status = statuses[0]
    sweep = connection.execute(select(SWEEP).where(SWEEP.c.id == status.sweep_id)).mappings().one()
    chosen = [run for run in (*status.runs, *status.documented) if runs is None or run.run in runs]
    mine = RUN.c.sweep_id == status.sweep_id
    if runs is not None:
        mine &= RUN.c.id.in_([run.run_id for run in chosen])
    parts = _Parts(connection, mine, samples=samples, itl=itl, telemetry=telemetry)
    submissions = connection.execute(
        select(SUBMISSION.c.job, SUBMISSION.c.script).where(SUBMISSION.c.sweep_id == status.sweep_id)
    )
    definition = sweep["definition"]
    rows = tuple(_run(status.name, run, parts) for run in chosen)
    return SweepRow(
        sweep=status.name,
        experiment=status.experiment,
        title=status.title,
        submitted_at=status.submitted_at,
        cluster=status.cluster,
        scheduler=status.scheduler,
        axes={axis: tuple(levels) for axis, levels in sweep["axes"].items()},
        baseline=sweep["baseline"],
        objective=definition.get("objective") or {},
        notes=tuple(definition.get("notes") or ()),
        provenance={key: str(value) for key, value in sweep["provenance"].items()}
        | {f"{key}_version": value for key, value in sweep["versions"].items()},
        simulated=status.simulated or any(run.simulated for run in status.runs),
        runs=rows,
        scripts={f"jobs/{row.job}/job.sh": row.script for row in submissions if row.script},
        sweep_dir=status.sweep_dir,
        preparations=tuple(_preparation(step) for step in status.preparations),
        models=_models(sweep["models"] or {}, rows),
    )


def _preparation(step: PreparationStatus) -> PreparationRow:
    timed = step.started_at is not None and step.ended_at is not None
    duration_s = max(0.0, (step.ended_at or 0.0) - (step.started_at or 0.0)) if timed else None
    return PreparationRow(step.name, step.verdict.outcome, step.gpus, duration_s, step.verdict.reason)


def _models(stored: Mapping[str, Any], runs: Sequence[RunRow]) -> dict[str, BoundModel]:
    """Return the models of a sweep whose bound can be computed, those of an older sweep by their well-known names."""
    names = {str(run.server.get("model")) for run in runs if run.server}
    known = {name: bound_model(facts) for name in names if (facts := known_model(name)) is not None}
    read = known | {name: BoundModel.from_json(value) for name, value in stored.items()}
    return {name: model for name, model in read.items() if model is not None}


def file_troubles(connection: Connection, sweep: str, run: str) -> list[str]:
    """Return a sentence for each line of a run's event files that could not be read."""
    query = (
        select(ATTEMPT.c.attempt, INGEST_TROUBLE.c.offset, INGEST_TROUBLE.c.message)
        .join(ATTEMPT, ATTEMPT.c.id == INGEST_TROUBLE.c.attempt_id)
        .join(RUN, RUN.c.id == ATTEMPT.c.run_id)
        .join(SWEEP, SWEEP.c.id == RUN.c.sweep_id)
        .where(SWEEP.c.name == sweep, RUN.c.label == run)
        .order_by(ATTEMPT.c.attempt, INGEST_TROUBLE.c.offset)
    )
    return [f"attempt-{row.attempt}, byte {row.offset}: {row.message}" for row in connection.execute(query)]


class _Parts:
    """All rows of the attempts of some runs, grouped by the row that they belong to."""

    def __init__(
        self, connection: Connection, mine: ColumnElement[bool], *, samples: bool, itl: bool, telemetry: bool
    ) -> None:
        self._connection, self._mine = connection, mine
        self.itl = itl
        self.runs = {row.id: row for row in connection.execute(select(RUN).where(mine)).all()}
        attempts = select(ATTEMPT).join(RUN, RUN.c.id == ATTEMPT.c.run_id)
        self.attempts = self._grouped(attempts, "run_id", ATTEMPT.c.attempt)
        self.phases = self._of_attempts(PHASE)
        self.facts = self._of_attempts(FACT)
        self.rank_phases = self._of_attempts(RANK_PHASE)
        self.rank_facts = self._of_attempts(RANK_FACT)
        self.warnings = self._of_attempts(WARNING)
        self.telemetry = self._of_attempts(TELEMETRY) if telemetry else {}
        results = WORKLOAD_RESULT.c
        self.results = self._grouped(_below_runs(WORKLOAD_RESULT), "attempt_id", results.started_s, results.id)
        self.blocks: Grouped = {}
        if samples:
            wanted = [column for column in SAMPLE_BLOCK.c if itl or column.name not in ("itl_s", "itl_count")]
            blocks = _below_runs(SAMPLE_BLOCK, wanted)
            self.blocks = self._grouped(blocks, "result_id")  # in any order: sorting them here would copy every array

    def _of_attempts(self, table: Table) -> Grouped:
        return self._grouped(_below_runs(table), "attempt_id", table.c.attempt_id, table.c.seq)

    def _grouped(self, query: Select[Any], key: str, *order: Any) -> Grouped:
        grouped: Grouped = {}
        for row in self._connection.execute(query.where(self._mine).order_by(*order)).all():
            grouped.setdefault(getattr(row, key), []).append(row)
        return grouped


def _below_runs(table: Table, wanted: Sequence[Any] = ()) -> Select[Any]:
    """Return a query of the rows of a table that belong to attempts."""
    query = select(*(wanted or table.c)).join(ATTEMPT, ATTEMPT.c.id == table.c.attempt_id)
    return query.join(RUN, RUN.c.id == ATTEMPT.c.run_id)


def _run(sweep: str, run: RunStatus, parts: _Parts) -> RunRow:
    row = parts.runs[run.run_id]
    return RunRow(
        run=run.run,
        sweep=sweep,
        variant_id=row.variant_id,
        repeat=run.repeat,
        axes=dict(run.axes),
        engine=row.engine,
        model=row.model,
        gpus=run.gpus,
        state=run.verdict.state,
        outcome=run.verdict.outcome,
        reason=run.verdict.reason,
        simulated=run.simulated,
        not_submitted=row.not_submitted,
        job=run.job,
        node=run.node,
        gpu_type=row.gpu_type,
        nodes=row.nodes,
        source=run.verdict.source,
        queued_s=run.queued_s,
        server=row.server,
        attempts=tuple(_attempt(row, attempt, parts) for attempt in parts.attempts.get(run.run_id, ())),
    )


def _attempt(run: Any, attempt: Any, parts: _Parts) -> AttemptRow:
    return AttemptRow(
        attempt=attempt.attempt,
        host=attempt.host,
        job_id=attempt.job_id,
        engine=attempt.engine or run.engine,
        simulated=bool(run.simulated if attempt.simulated is None else attempt.simulated),
        time_scale=attempt.time_scale or 1.0,
        outcome=OutcomeKind(attempt.outcome) if attempt.outcome else None,
        phase=Phase(attempt.phase) if attempt.phase else None,
        reason=attempt.reason or "",
        cause=StallCause(attempt.cause) if attempt.cause else None,
        decided_by=attempt.decided_by or "",
        evidence=tuple(attempt.evidence or ()),
        hint=attempt.hint or "",
        exit_code=attempt.exit_code,
        startup_s=attempt.startup_s,
        duration_s=attempt.duration_s,
        argv=tuple(attempt.argv or ()),
        env=attempt.env or {},
        versions=_versions(run, attempt, parts),
        gpus=tuple(attempt.gpus or ()),
        gpu_name=attempt.gpu_name,
        started_at=attempt.started_at,
        phases=_phases(parts.phases.get(attempt.id, []), attempt.duration_s),
        facts=tuple(
            FactRow(fact.name, _fact_value(fact), fact.unit, fact.source) for fact in parts.facts.get(attempt.id, ())
        ),
        workloads=_workloads(run.workloads, attempt.id, parts),
        warnings=tuple(_sentence(warning) for warning in parts.warnings.get(attempt.id, ())),
        killed=tuple(attempt.killed or ()),
        attempt_dir=f"runs/{run.label}/attempt-{attempt.attempt}",
        nodes=tuple(attempt.nodes or ()),
        node=attempt.node,
        parts=_parts(attempt, parts),
    )


def _versions(run: Any, attempt: Any, parts: _Parts) -> dict[str, str]:
    """Return the versions of an attempt. That in the server's log counts, if it differs from the one known before."""
    versions = dict(attempt.versions or {})
    engine = attempt.engine or run.engine
    logged = [fact.word for fact in parts.facts.get(attempt.id, ()) if fact.name == ENGINE_VERSION and fact.word]
    if logged and not attempt.simulated and not same_version(versions.get(engine, ""), logged[-1]):
        versions[engine] = logged[-1]
    return versions


def _parts(attempt: Any, parts: _Parts) -> tuple[NodePart, ...]:
    """Return the parts of a server on other nodes, by rank."""
    phases, facts = parts.rank_phases.get(attempt.id, []), parts.rank_facts.get(attempt.id, [])
    names = {rank: node for rank, node in enumerate(attempt.nodes or ()) if rank > 0}
    return tuple(
        NodePart(
            rank,
            node,
            _phases([row for row in phases if row.rank == rank], attempt.duration_s, budgets=False),
            tuple(FactRow(row.name, _fact_value(row), row.unit, "log") for row in facts if row.rank == rank),
        )
        for rank, node in names.items()
    )


def _phases(rows: Sequence[Any], duration_s: float | None, *, budgets: bool = True) -> tuple[PhaseRow, ...]:
    """Return the phases; each ends when the next one starts, the last one with the attempt."""
    ends = [row.start_s for row in rows[1:]] + [duration_s]
    return tuple(
        PhaseRow(Phase(row.phase), row.start_s, end, row.budget_s if budgets else None, row.evidence)
        for row, end in zip(rows, ends, strict=False)
    )


def _fact_value(fact: Any) -> float | str | bool:
    if fact.switch is not None:
        return bool(fact.switch)
    return float(fact.number) if fact.number is not None else str(fact.word)


def _sentence(warning: Any) -> str:
    return f"{warning.message}: {warning.detail}" if warning.detail else str(warning.message)


def _workloads(planned: Sequence[Row], attempt_id: int, parts: _Parts) -> tuple[WorkloadRow, ...]:
    """Return the workloads in the order of the experiment: those that started, and those that are left out."""
    results: dict[str, list[Any]] = {}
    for result in parts.results.get(attempt_id, ()):
        results.setdefault(result.workload, []).append(result)
    stated = {workload["settings"]["name"]: workload for workload in planned}
    rows = []
    for name in [*stated, *(name for name in results if name not in stated)]:
        workload = stated.get(name, {"settings": {}, "left_out": None, "sha256": None})
        if name in results:
            rows.append(_workload(name, workload, results[name], attempt_id, parts))
        elif workload["left_out"] is not None:
            rows.append(WorkloadRow(name, left_out=workload["left_out"], settings=workload["settings"]))
    return tuple(rows)


def _workload(name: str, stated: Row, results: Sequence[Any], attempt_id: int, parts: _Parts) -> WorkloadRow:
    results = sorted(results, key=lambda result: result.repeat)
    blocks = [(result.repeat, block) for result in results for block in parts.blocks.get(result.id, ())]
    points = parts.telemetry.get(attempt_id, ())
    return WorkloadRow(
        workload=name,
        client=results[-1].client,
        left_out=next((result.left_out for result in results if result.left_out is not None), stated["left_out"]),
        samples_total=sum(result.samples_total for result in results),
        durations_s=tuple(result.duration_s for result in results if result.duration_s is not None),
        warnings=tuple(dict.fromkeys(warning for result in results for warning in result.warnings or ())),
        client_figures=_merged(results, "client_figures"),
        server_figures=_merged(results, "server_figures"),
        energy_j=_energy_j(results),
        telemetry=tuple((point.t_s, point.figures) for point in points if point.workload == name),
        dataset_sha256=stated["sha256"],
        columns=columns(blocks, itl=parts.itl) if blocks else None,
        settings=stated["settings"],
    )


def _energy_j(results: Sequence[Any]) -> tuple[float, ...]:
    counted = [figures["gpu_energy_j"] for r in results if "gpu_energy_j" in (figures := r.server_figures or {})]
    return tuple(map(float, counted)) if len(counted) == len(results) else ()


def _merged(results: Sequence[Any], column: str) -> dict[str, float]:
    """Return each figure from the last repeat that has it."""
    merged: dict[str, float] = {}
    for result in results:
        merged |= getattr(result, column) or {}
    return merged

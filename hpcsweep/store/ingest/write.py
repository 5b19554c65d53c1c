"""Write the parsed events of several attempts into the store, in one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BindParameter, Connection, Float, Table, bindparam, func, select

from hpcsweep.events.records import (
    AttemptEnded,
    AttemptStarted,
    Event,
    Fact,
    PhaseEntered,
    RankFact,
    RankPhase,
    ServerReady,
    Telemetry,
    Warned,
    WorkloadEnded,
    WorkloadLeftOut,
    WorkloadStarted,
)
from hpcsweep.store.ingest.blocks import Samples
from hpcsweep.store.ingest.parse_events import Parsed
from hpcsweep.store.schema import (
    ATTEMPT,
    FACT,
    INGEST_TROUBLE,
    PHASE,
    RANK_FACT,
    RANK_PHASE,
    SAMPLE_BLOCK,
    TELEMETRY,
    WARNING,
    WORKLOAD_RESULT,
)
from hpcsweep.store.statements import batched, insert_new, pairs, update_rows

Rows = list[dict[str, Any]]


@dataclass
class _Rows:
    """Rows of all attempts, by table; updates by kind, since all rows of one statement set the same columns."""

    phase: Rows = field(default_factory=list)
    fact: Rows = field(default_factory=list)
    rank_phase: Rows = field(default_factory=list)
    rank_fact: Rows = field(default_factory=list)
    warning: Rows = field(default_factory=list)
    telemetry: Rows = field(default_factory=list)
    trouble: Rows = field(default_factory=list)
    started: Rows = field(default_factory=list)
    ready: Rows = field(default_factory=list)
    ended: Rows = field(default_factory=list)
    newest: Rows = field(default_factory=list)
    idle: Rows = field(default_factory=list)
    workload_started: Rows = field(default_factory=list)
    workload_ended: Rows = field(default_factory=list)
    workload_left_out: Rows = field(default_factory=list)


def write_events(connection: Connection, parsed: Mapping[int, Parsed]) -> int:
    """Write parsed events (attempt id -> events); return the number of new samples.

    Idempotent: an event whose (attempt, seq) is stored changes nothing.
    """
    rows = _Rows()
    last_seqs = _last_seqs(connection, list(parsed))
    for attempt_id, lines in parsed.items():
        for event in lines.events:
            _take(rows, attempt_id, event)
        if lines.last is not None:
            newest_seq = max(lines.largest_seq, last_seqs[attempt_id])
            newest = {"last_at": lines.last.at, "last_t_s": lines.last.t_s, "last_seq": newest_seq}
            rows.newest.append({"id": attempt_id, **newest})
        if lines.progress is not None:
            rows.idle.append({"id": attempt_id, "idle_s": lines.progress.idle_s})
        rows.trouble += [{"attempt_id": attempt_id, "offset": at, "message": why} for at, why in lines.troubles]
    samples = _new_samples(connection, parsed, last_seqs)
    insert_new(connection, PHASE, rows.phase)
    insert_new(connection, FACT, rows.fact)
    insert_new(connection, RANK_PHASE, rows.rank_phase)
    insert_new(connection, RANK_FACT, rows.rank_fact)
    insert_new(connection, WARNING, rows.warning)
    insert_new(connection, TELEMETRY, rows.telemetry)
    insert_new(connection, INGEST_TROUBLE, rows.trouble)
    for updates in (rows.started, rows.ready, rows.ended, rows.newest, rows.idle):
        update_rows(connection, ATTEMPT, "id", updates)
    return _write_workloads(connection, rows, samples)


def _take(rows: _Rows, attempt_id: int, event: Event) -> None:
    key = {"attempt_id": attempt_id, "seq": event.seq}
    if isinstance(event, AttemptStarted):
        rows.started.append(
            {
                "id": attempt_id,
                "started_at": event.at - event.t_s / (event.time_scale or 1.0),
                **_fields(event, ATTEMPT),
            }
        )
    elif isinstance(event, PhaseEntered):
        rows.phase.append(key | {"start_s": event.t_s} | _fields(event, PHASE))
    elif isinstance(event, Fact):
        rows.fact.append(key | _fact_value(event.value) | _fields(event, FACT))
    elif isinstance(event, RankPhase):
        rows.rank_phase.append(key | {"start_s": event.t_s} | _fields(event, RANK_PHASE))
    elif isinstance(event, RankFact):
        rows.rank_fact.append(key | _fact_value(event.value) | _fields(event, RANK_FACT))
    elif isinstance(event, ServerReady):
        rows.ready.append({"id": attempt_id, **_fields(event, ATTEMPT)})
    elif isinstance(event, Warned):
        rows.warning.append(key | {"t_s": event.t_s} | _fields(event, WARNING))
    elif isinstance(event, Telemetry):
        rows.telemetry.append(key | {"t_s": event.t_s} | _fields(event, TELEMETRY))
    elif isinstance(event, AttemptEnded):
        end = {"id": attempt_id, "ended_at": event.at, "duration_s": event.t_s}
        rows.ended.append(end | _fields(event, ATTEMPT))
    elif isinstance(event, WorkloadStarted):
        rows.workload_started.append(
            {"attempt_id": attempt_id, "started_s": event.t_s} | _fields(event, WORKLOAD_RESULT)
        )
    elif isinstance(event, WorkloadEnded):
        rows.workload_ended.append({"attempt_id": attempt_id} | _fields(event, WORKLOAD_RESULT))
    elif isinstance(event, WorkloadLeftOut):
        left_out = {"attempt_id": attempt_id, "workload": event.workload, "repeat": 1, "left_out": event.reason}
        rows.workload_left_out.append(left_out)


_STAMP = {"run_id", "attempt", "seq", "at", "t_s"}


def _fields(event: Event, table: Table) -> dict[str, Any]:
    """Return the event's fields that the table has columns for; enums as their values."""
    return event.model_dump(mode="json", include=set(table.c.keys()) - _STAMP)


def _fact_value(value: float | str | bool) -> dict[str, float | str | bool | None]:
    switch, number = isinstance(value, bool), isinstance(value, (int, float))
    return {
        "switch": value if switch else None,
        "number": value if number and not switch else None,
        "word": value if isinstance(value, str) else None,
    }


def _last_seqs(connection: Connection, attempt_ids: Sequence[int]) -> dict[int, int]:
    last_seqs: dict[int, int] = {}
    for some in batched(attempt_ids):
        query = select(ATTEMPT.c.id, ATTEMPT.c.last_seq).where(ATTEMPT.c.id.in_(some))
        last_seqs |= pairs(connection, query)
    return last_seqs


def _new_samples(
    connection: Connection, parsed: Mapping[int, Parsed], last_seqs: Mapping[int, int]
) -> dict[tuple[int, str, int], Samples]:
    new: dict[tuple[int, str, int], Samples] = {}
    for attempt_id, lines in parsed.items():
        for (workload, repeat), samples in lines.samples.items():
            if int(samples.columns["seq"].min()) <= last_seqs[attempt_id]:
                samples = samples.without(_stored_seqs(connection, attempt_id))
            if samples:
                new[attempt_id, workload, repeat] = samples
    return new


def _stored_seqs(connection: Connection, attempt_id: int) -> set[int]:
    query = select(SAMPLE_BLOCK.c.seq).where(SAMPLE_BLOCK.c.attempt_id == attempt_id)
    return {int(seq) for seqs in connection.scalars(query) for seq in seqs}


def _write_workloads(connection: Connection, rows: _Rows, samples: Mapping[tuple[int, str, int], Samples]) -> int:
    stated = [*rows.workload_started, *rows.workload_ended, *rows.workload_left_out]
    keys = {(row["attempt_id"], row["workload"], row["repeat"]) for row in stated} | samples.keys()
    ids = _result_ids(connection, keys)
    for updates in (rows.workload_started, rows.workload_ended, rows.workload_left_out):
        with_ids = [{"id": ids[row["attempt_id"], row["workload"], row["repeat"]], **row} for row in updates]
        update_rows(connection, WORKLOAD_RESULT, "id", with_ids)
    if not samples:
        return 0
    blocks, increments = [], []
    for key, some in samples.items():
        blocks.append(some.block() | {"attempt_id": key[0], "result_id": ids[key]})
        increments.append({f"_{name}": value for name, value in some.sums().items()} | {"_id": ids[key]})
    insert_new(connection, SAMPLE_BLOCK, blocks)
    _add_sums(connection, increments)
    return sum(map(len, samples.values()))


def _result_ids(connection: Connection, keys: Iterable[tuple[int, str, int]]) -> dict[tuple[int, str, int], int]:
    wanted = sorted(keys)
    empty = {"client": "builtin", "samples_total": 0, "samples_done": 0, "samples_failed": 0, "completion_tokens": 0}
    new = [{"attempt_id": a, "workload": w, "repeat": r, **empty} for a, w, r in wanted]
    insert_new(connection, WORKLOAD_RESULT, new)
    ids: dict[tuple[int, str, int], int] = {}
    attempts = sorted({attempt_id for attempt_id, _, _ in wanted})
    table = WORKLOAD_RESULT.c
    for some in batched(attempts):
        query = select(table.attempt_id, table.workload, table.repeat, table.id)
        for row in connection.execute(query.where(table.attempt_id.in_(some))):
            ids[row.attempt_id, row.workload, row.repeat] = row.id
    return ids


def _add_sums(connection: Connection, increments: Rows) -> None:
    table = WORKLOAD_RESULT
    least = func.least if connection.dialect.name == "postgresql" else func.min
    greatest = func.greatest if connection.dialect.name == "postgresql" else func.max
    first: BindParameter[float] = bindparam("_first_sent_s", type_=Float)
    last: BindParameter[float] = bindparam("_last_end_s", type_=Float)
    statement = (
        table.update()
        .where(table.c.id == bindparam("_id"))
        .values(
            samples_done=table.c.samples_done + bindparam("_done"),
            samples_failed=table.c.samples_failed + bindparam("_failed"),
            completion_tokens=table.c.completion_tokens + bindparam("_completion_tokens"),
            first_sent_s=func.coalesce(least(table.c.first_sent_s, first), table.c.first_sent_s, first),
            last_end_s=func.coalesce(greatest(table.c.last_end_s, last), table.c.last_end_s, last),
        )
    )
    connection.execute(statement, increments)

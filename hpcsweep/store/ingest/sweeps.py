"""Run folders into the store: only what is new, in any number of processes at once, as often as one likes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, select

from hpcsweep.errors import StoreError
from hpcsweep.store.ingest.attempts import AttemptFolder, StoredAttempt, find_attempts, known_attempts
from hpcsweep.store.ingest.counts import IngestCount
from hpcsweep.store.ingest.preparations import ingest_preparations
from hpcsweep.store.open import Store
from hpcsweep.store.schema import ATTEMPT, INGEST_CURSOR, RUN, SWEEP
from hpcsweep.store.scope import home_id_of
from hpcsweep.store.statements import insert_new, pairs, update_rows
from hpcsweep.sweep.layout import SWEEP_FILE, Home, SweepFolder


def ingest_home(store: Store, home: Path, sweeps: Sequence[str] | None = None) -> IngestCount:
    """Ingest these sweeps of a home, or all of them; one that cannot be read is reported in `troubles`."""
    count = IngestCount()
    folder = Home(home)
    for name in folder.sweep_names():
        if sweeps is not None and name not in sweeps:
            continue
        try:
            ingest_sweep(store, folder.sweeps_dir / name, count)
        except StoreError as exc:
            count.troubles.append(str(exc.message))
    return count


def ingest_sweep(store: Store, sweep_dir: Path, count: IngestCount | None = None) -> IngestCount:
    """Ingest one sweep's folder; adds to `count` when given. A read-only store is left as it is. Raises StoreError.

    Files are read and parsed without a lock. A cursor moves only from where this process found it, in the transaction
    that writes the rows: of two processes that read the same lines one writes them.
    """
    count = IngestCount() if count is None else count
    if store.read_only:
        return count
    folder = SweepFolder(sweep_dir)
    sweep_id = _definition(store, folder)
    count.sweeps += 1
    ingest_preparations(store, folder, sweep_id, count.troubles)
    with store.reading() as connection:
        query = select(RUN.c.label, RUN.c.id, RUN.c.not_run).where(RUN.c.sweep_id == sweep_id, ~RUN.c.not_submitted)
        runs = {label: (run_id, not_run) for label, run_id, not_run in connection.execute(query)}
        known = known_attempts(connection, sweep_id)
    attempts: list[AttemptFolder] = []
    not_run: list[dict[str, Any]] = []
    remembered = dict(runs.values())
    for attempt in find_attempts(sweep_dir, {label: run_id for label, (run_id, _) in runs.items()}, known, count):
        if isinstance(attempt, AttemptFolder):
            attempts.append(attempt)
        elif remembered[attempt[0]] != attempt[1]:
            not_run.append({"id": attempt[0], "not_run": attempt[1]})
    new = [attempt for attempt in attempts if attempt.known is None or attempt.shrank]
    if new or not_run:
        with store.writing() as connection:
            update_rows(connection, RUN, "id", not_run)
            _begin_attempts(connection, sweep_id, new, count.troubles)
        with store.reading() as connection:
            known = known_attempts(connection, sweep_id)
    changed = [attempt for attempt in attempts if attempt.grew or attempt.shrank]
    if changed:
        from hpcsweep.store.ingest.ingest_events import (
            ingest_events,  # and with it numpy: not for a status without news
        )

        ingest_events(store, sweep_id, changed, known, count)
    open_ones = [attempt for attempt in attempts if attempt.known is None or not attempt.known.ended]
    _close_attempts(store, open_ones, known, count.troubles)
    return count


def _definition(store: Store, folder: SweepFolder) -> int:
    stamps = folder.definition_stamps()
    if SWEEP_FILE not in stamps:
        raise StoreError(
            f"{folder.path} has no {SWEEP_FILE}: it is not a sweep, or its submission was interrupted",
            code="not_a_sweep",
        )
    with store.reading() as connection:
        row = connection.execute(
            select(SWEEP.c.id, SWEEP.c.sweep_dir, SWEEP.c.home_id).where(SWEEP.c.name == folder.name)
        ).one_or_none()
        home_id = home_id_of(folder)
        if row is not None and home_id in (None, row.home_id) and row.sweep_dir == str(folder.path.absolute()):
            query = select(INGEST_CURSOR.c.path, INGEST_CURSOR.c.stamp).where(INGEST_CURSOR.c.sweep_id == row.id)
            known = pairs(connection, query)
            if all(known.get(path) == stamp for path, stamp in stamps.items()):
                return int(row.id)
    from hpcsweep.store.ingest.definition import (
        ingest_definition,  # and with it pydantic: not for a status without news
    )

    with store.writing() as connection:
        return ingest_definition(connection, folder, stamps, home_id)


def _begin_attempts(
    connection: Connection, sweep_id: int, attempts: Sequence[AttemptFolder], troubles: list[str]
) -> None:
    for attempt in attempts:
        if attempt.shrank and attempt.known is not None:  # the folder was deleted and created again
            connection.execute(delete(ATTEMPT).where(ATTEMPT.c.id == attempt.known.attempt_id))
            where = (INGEST_CURSOR.c.sweep_id == sweep_id, INGEST_CURSOR.c.path == attempt.cursor)
            connection.execute(delete(INGEST_CURSOR).where(*where))
    rows = [
        {"run_id": attempt.run_id, "attempt": attempt.attempt, "last_seq": -1, **attempt.owner(troubles)}
        for attempt in attempts
    ]
    insert_new(connection, ATTEMPT, rows)
    cursors = [{"sweep_id": sweep_id, "path": attempt.cursor, "offset": 0, "stamp": ""} for attempt in attempts]
    insert_new(connection, INGEST_CURSOR, cursors)


def _close_attempts(
    store: Store, attempts: Sequence[AttemptFolder], known: Mapping[tuple[int, int], StoredAttempt], troubles: list[str]
) -> None:
    """Use exit.json as the end of attempts whose events have none, because of a killed agent or a full disk."""
    ends: list[dict[str, Any]] = []
    for attempt in attempts:
        end = attempt.ended(troubles)
        if end is not None:
            ends.append({"id": known[attempt.run_id, attempt.attempt].attempt_id} | end)
    if not ends:
        return
    with store.writing() as connection:
        open_ids = set(connection.scalars(select(ATTEMPT.c.id).where(ATTEMPT.c.outcome.is_(None))))
        update_rows(connection, ATTEMPT, "id", [end for end in ends if end["id"] in open_ids])

"""What a sweep's run folders hold that the store does not have yet."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from hpcsweep.events.log import EVENTS_FILE
from hpcsweep.node.record.records import EXIT_FILE, NOT_RUN_FILE, OWNER_FILE
from hpcsweep.store.ingest.counts import IngestCount
from hpcsweep.store.records import read_end, read_not_run, read_owner
from hpcsweep.store.schema import ATTEMPT, INGEST_CURSOR, RUN
from hpcsweep.store.statements import pairs

_ATTEMPT = re.compile(r"attempt-([1-9]\d{0,8})")


@dataclass(frozen=True)
class Known:
    """An attempt as the store has it. `offset`: bytes of its events that are read."""

    attempt_id: int
    last_seq: int
    ended: bool
    offset: int


@dataclass(frozen=True)
class Found:
    """An attempt's folder. `known` None: the store has none of it. `size_bytes`: of its events, 0: none yet."""

    run_id: int
    attempt: int
    folder: str
    cursor: str
    size_bytes: int
    known: Known | None

    @property
    def path(self) -> Path:
        """The attempt's folder."""
        return Path(self.folder)

    @property
    def grew(self) -> bool:
        """There are events that were not read."""
        return self.size_bytes > (self.known.offset if self.known else 0)

    @property
    def shrank(self) -> bool:
        """The file is not the one that was read before."""
        return self.known is not None and self.size_bytes < self.known.offset

    def ended(self, troubles: list[str]) -> dict[str, Any] | None:
        """exit.json, the agent's or its guardian's last word; None: there is none that can be used."""
        return read_end(self.path / EXIT_FILE, troubles)

    def owner(self, troubles: list[str]) -> dict[str, Any]:
        """owner.json; all None: the agent died before it wrote it."""
        return read_owner(self.path / OWNER_FILE, troubles)


def known_attempts(connection: Connection, sweep_id: int) -> dict[tuple[int, int], Known]:
    """(run id, attempt number) -> what the store has."""
    offsets = cursor_offsets(connection, sweep_id)
    rows = connection.execute(
        select(ATTEMPT.c.id, ATTEMPT.c.run_id, ATTEMPT.c.attempt, ATTEMPT.c.last_seq, ATTEMPT.c.outcome, RUN.c.label)
        .join(RUN, RUN.c.id == ATTEMPT.c.run_id)
        .where(RUN.c.sweep_id == sweep_id)
    )
    return {
        (row.run_id, row.attempt): Known(
            row.id, row.last_seq, row.outcome is not None, offsets.get(cursor_path(row.label, row.attempt), 0)
        )
        for row in rows
    }


def cursor_offsets(connection: Connection, sweep_id: int) -> dict[str, int]:
    """Path below the sweep's folder -> bytes that are read."""
    query = select(INGEST_CURSOR.c.path, INGEST_CURSOR.c.offset).where(INGEST_CURSOR.c.sweep_id == sweep_id)
    return pairs(connection, query)


def cursor_path(label: str, attempt: int) -> str:
    """Where the events of an attempt lie below the sweep's folder."""
    return f"runs/{label}/attempt-{attempt}/{EVENTS_FILE}"


def find_attempts(
    sweep_dir: Path, runs: Mapping[str, int], known: Mapping[tuple[int, int], Known], count: IngestCount
) -> Iterator[Found | tuple[int, str | None]]:
    """Every attempt folder of the runs (label -> id), and (run id, reason or None) for the not_run.json of each run.

    A folder that is not there counts as empty: it may be on its way from another host. One that is there and cannot be
    read is added to `count.unreadable`.
    """
    runs_dir = str(sweep_dir / "runs")  # plain text: a Path for each of a thousand runs would be felt in a status
    for label, run_id in runs.items():
        run_dir = f"{runs_dir}/{label}"
        not_run: str | None = None
        try:
            names = [entry.name for entry in os.scandir(run_dir)]
        except FileNotFoundError:
            continue
        except OSError as exc:
            count.unreadable.append(f"{run_dir} cannot be read: {exc.strerror}")
            continue
        for name in names:
            match = _ATTEMPT.fullmatch(name)
            if match:
                number = int(match[1])
                folder = f"{run_dir}/{name}"
                size_bytes = _size(Path(folder, EVENTS_FILE), count)
                cursor = cursor_path(label, number)
                yield Found(run_id, number, folder, cursor, size_bytes, known.get((run_id, number)))
            elif name == NOT_RUN_FILE:
                not_run = read_not_run(Path(run_dir, name), count.troubles)
        yield run_id, not_run


def _size(path: Path, count: IngestCount) -> int:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0
    except OSError as exc:
        count.unreadable.append(f"{path} cannot be read: {exc.strerror}")
        return 0
    if not stat.S_ISREG(found.st_mode):
        count.unreadable.append(f"{path} is not a regular file")
        return 0
    return found.st_size

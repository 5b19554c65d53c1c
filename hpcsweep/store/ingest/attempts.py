"""Find the attempts in a sweep's run folders, and compare them with the store."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from hpcsweep.events.log import EVENTS_FILE
from hpcsweep.node.records import EXIT_FILE, NOT_RUN_FILE, OWNER_FILE
from hpcsweep.store.ingest.counts import IngestCount
from hpcsweep.store.records import read_end, read_not_run, read_owner
from hpcsweep.store.schema import ATTEMPT, INGEST_CURSOR, RUN
from hpcsweep.store.statements import pairs

_ATTEMPT = re.compile(r"attempt-([1-9]\d{0,8})")


@dataclass(frozen=True)
class StoredAttempt:
    """An attempt in the store. `offset`: bytes of its events that were read."""

    attempt_id: int
    last_seq: int
    ended: bool
    offset: int


@dataclass(frozen=True)
class AttemptFolder:
    """The folder of an attempt. `known` None: the store does not have it. `size_bytes`: of its events."""

    run_id: int
    attempt: int
    folder: str
    cursor: str
    size_bytes: int
    known: StoredAttempt | None

    @property
    def path(self) -> Path:
        """The attempt's folder."""
        return Path(self.folder)

    @property
    def grew(self) -> bool:
        """Whether there are events that were not read."""
        return self.size_bytes > (self.known.offset if self.known else 0)

    @property
    def shrank(self) -> bool:
        """Whether the file is shorter than what was read: it is another file."""
        return self.known is not None and self.size_bytes < self.known.offset

    def ended(self, troubles: list[str]) -> dict[str, Any] | None:
        """Return the columns from exit.json, the end record; None: it is missing or not usable."""
        return read_end(self.path / EXIT_FILE, troubles)

    def owner(self, troubles: list[str]) -> dict[str, Any]:
        """Return the columns from owner.json; all None: the agent was killed before it wrote the file."""
        return read_owner(self.path / OWNER_FILE, troubles)


def known_attempts(connection: Connection, sweep_id: int) -> dict[tuple[int, int], StoredAttempt]:
    """Return (run id, attempt number) -> the attempt in the store."""
    offsets = cursor_offsets(connection, sweep_id)
    rows = connection.execute(
        select(ATTEMPT.c.id, ATTEMPT.c.run_id, ATTEMPT.c.attempt, ATTEMPT.c.last_seq, ATTEMPT.c.outcome, RUN.c.label)
        .join(RUN, RUN.c.id == ATTEMPT.c.run_id)
        .where(RUN.c.sweep_id == sweep_id)
    )
    return {
        (row.run_id, row.attempt): StoredAttempt(
            row.id, row.last_seq, row.outcome is not None, offsets.get(cursor_path(row.label, row.attempt), 0)
        )
        for row in rows
    }


def cursor_offsets(connection: Connection, sweep_id: int) -> dict[str, int]:
    """Return path below the sweep's folder -> number of bytes that were read."""
    query = select(INGEST_CURSOR.c.path, INGEST_CURSOR.c.offset).where(INGEST_CURSOR.c.sweep_id == sweep_id)
    return pairs(connection, query)


def cursor_path(label: str, attempt: int) -> str:
    """Return the path of an attempt's events below the sweep's folder."""
    return f"runs/{label}/attempt-{attempt}/{EVENTS_FILE}"


def find_attempts(
    sweep_dir: Path, runs: Mapping[str, int], known: Mapping[tuple[int, int], StoredAttempt], count: IngestCount
) -> Iterator[AttemptFolder | tuple[int, str | None]]:
    """Yield every attempt folder of the runs (label -> id), and (run id, reason in not_run.json or None) of each run.

    A missing folder counts as empty: another host may not have written it yet. A folder that cannot be read is added to
    `count.unreadable`.
    """
    runs_dir = str(sweep_dir / "runs")  # a string: a Path for each of a thousand runs is slow
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
                yield AttemptFolder(run_id, number, folder, cursor, size_bytes, known.get((run_id, number)))
            elif name == NOT_RUN_FILE:
                not_run = read_not_run(Path(run_dir, name), count.troubles)
        yield run_id, not_run


def _size(path: Path, count: IngestCount) -> int:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0
    except OSError as exc:
        count.unreadable.append(f"{path} cannot be read: {exc.strerror}")
        return 0
    if not stat.S_ISREG(status.st_mode):
        count.unreadable.append(f"{path} is not a regular file")
        return 0
    return status.st_size

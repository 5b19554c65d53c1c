"""Read new lines of event files into the store: parse without a lock, write in batches of files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hpcsweep.events.log import EVENTS_FILE
from hpcsweep.foreign_files import open_regular
from hpcsweep.store.ingest.attempts import AttemptFolder, StoredAttempt
from hpcsweep.store.ingest.counts import IngestCount
from hpcsweep.store.ingest.parse_events import Parsed, parse
from hpcsweep.store.ingest.write import write_events
from hpcsweep.store.open import Store
from hpcsweep.store.schema import INGEST_CURSOR
from hpcsweep.store.scope import run_id_of

_PIECE_BYTES = 8 << 20
_BATCH_LINES = 30_000
_LONGEST_LINE_BYTES = 32 << 20
"""Three times the length of a sample with a million chunks. Longer lines are zeros after a crash, not events."""
_TOO_LONG = f"a line of more than {_LONGEST_LINE_BYTES} bytes is not an event, and was skipped"


@dataclass(frozen=True)
class _Piece:
    """Parsed lines of stored file that begin at byte `start`."""

    attempt_id: int
    cursor: str
    start: int
    parsed: Parsed


def ingest_events(
    store: Store,
    sweep_id: int,
    attempts: Sequence[AttemptFolder],
    known: Mapping[tuple[int, int], StoredAttempt],
    count: IngestCount,
) -> None:
    """Read the new lines of these files into the store, and add to `count`. Raises StoreError."""
    waiting: list[_Piece] = []
    lines = 0
    for attempt in attempts:
        stored = known[attempt.run_id, attempt.attempt]
        for piece in _pieces(attempt, stored.attempt_id, stored.offset, count):
            if waiting and (lines >= _BATCH_LINES or waiting[-1].attempt_id == piece.attempt_id):
                _write(store, sweep_id, waiting, count)
                waiting, lines = [], 0
            waiting.append(piece)
            lines += piece.parsed.lines
        count.files += 1
    if waiting:
        _write(store, sweep_id, waiting, count)


def _pieces(attempt: AttemptFolder, attempt_id: int, start: int, count: IngestCount) -> Iterator[_Piece]:
    """Yield the new lines of a file, some megabytes at a time; a line that is too long is skipped and reported once."""
    piece_bytes = _PIECE_BYTES
    path = attempt.path / EVENTS_FILE
    skipped_from: int | None = None
    run_id = run_id_of(attempt.path)
    try:
        with open_regular(path) as file:
            while True:
                file.seek(start)
                data = file.read(piece_bytes)
                if skipped_from is not None and (newline := data.find(b"\n")) >= 0:  # the rest of the long line
                    parsed = Parsed(start + newline + 1, troubles=[(skipped_from, _TOO_LONG)])
                    skipped_from = None
                elif skipped_from is not None and data:
                    parsed = Parsed(start + len(data))
                elif skipped_from is not None:
                    yield _Piece(attempt_id, attempt.cursor, start, Parsed(start, troubles=[(skipped_from, _TOO_LONG)]))
                    return
                else:
                    parsed = parse(data, start, run_id, attempt.attempt)
                if parsed.end == start:
                    if len(data) < piece_bytes:
                        return
                    if piece_bytes >= _LONGEST_LINE_BYTES:
                        skipped_from, piece_bytes = start, _PIECE_BYTES
                    else:
                        piece_bytes *= 2  # stored line is longer than a piece
                    continue
                piece_bytes = _PIECE_BYTES
                yield _Piece(attempt_id, attempt.cursor, start, parsed)
                start = parsed.end
    except OSError as exc:
        count.unreadable.append(f"{path} cannot be read: {exc.strerror}")


def _write(store: Store, sweep_id: int, pieces: Sequence[_Piece], count: IngestCount) -> None:
    with store.writing() as connection:
        ours: dict[int, Parsed] = {}
        for piece in pieces:
            where = (INGEST_CURSOR.c.sweep_id == sweep_id, INGEST_CURSOR.c.path == piece.cursor)
            move = INGEST_CURSOR.update().where(*where, INGEST_CURSOR.c.offset == piece.start)
            if connection.execute(move.values(offset=piece.parsed.end)).rowcount == 1:
                ours[piece.attempt_id] = piece.parsed
                count.size_bytes += piece.parsed.end - piece.start
                count.events += piece.parsed.lines
        if ours:
            count.samples += write_events(connection, ours)

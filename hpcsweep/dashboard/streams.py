"""Server-sent events: what changed since the last event, about once a second, until the browser leaves."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool

from hpcsweep.dashboard.status_view import LiveView, Row
from hpcsweep.dashboard.tails import LOGS, log_path, read_piece
from hpcsweep.errors import HpcsweepError
from hpcsweep.sweep.layout import SweepFolder

TICK_S = 1.0
_HEARTBEAT_TICKS = 15
_LONGEST_ID = 200


def event(kind: str, data: object, event_id: str = "") -> bytes:
    """Return one event in the format of server-sent events."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data, allow_nan=False)}\n\n".encode()


def row_json(row: Row) -> dict[str, Any]:
    """Return a row as JSON values; a segment of its bar as [phase, start, seconds, failed, title]."""
    bar = [[part.phase, part.start_s, part.took_s, part.failed, part.title] for part in row.bar]
    return {**dataclasses.asdict(dataclasses.replace(row, bar=())), "bar": bar}


class Changes:
    """Compares each view with the one that was sent before."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._rest: dict[str, Any] = {}

    def since_last(self, view: LiveView) -> dict[str, Any] | None:
        """Return what a page must change as JSON values; None: nothing."""
        rows = {row.key: row for row in view.rows}
        changed = [row_json(row) for key, row in rows.items() if self._rows.get(key) != row]
        rest: dict[str, Any] = {
            "fields": dict(view.fields),
            "lists": {name: [dataclasses.asdict(item) for item in items] for name, items in view.lists.items()},
            "span_s": view.span_s,
        }
        ignored = {"clock"}
        same = all(
            self._rest.get("fields", {}).get(name) == text
            for name, text in rest["fields"].items()
            if name not in ignored
        )
        same = same and self._rest.get("lists") == rest["lists"] and self._rest.get("span_s") == rest["span_s"]
        if same and not changed:
            return None
        order = list(rows) if list(rows) != list(self._rows) else None
        self._rows, self._rest = rows, rest
        return {**rest, "rows": changed, "order": order}


ATTEMPT = "attempt"


class LogFollower:
    """The logs of one run: where each was read to. `positions`: log -> byte, from the page or the last event.

    Its key `ATTEMPT` is the number of the attempt that they belong to.
    """

    def __init__(self, folder: SweepFolder, label: str, positions: Mapping[str, int]) -> None:
        self._folder, self._label = folder, label
        self._positions = dict(positions)

    def read(self) -> list[bytes]:
        """Return an event for each log that grew, or that is new."""
        attempt = self._folder.attempts(self._label)
        if attempt != self._positions.get(ATTEMPT):
            self._positions = {ATTEMPT: attempt}
        events = []
        for which in LOGS:
            try:
                path = log_path(self._folder, self._label, None, which)
                piece = None if path is None else read_piece(path, self._positions.get(which))
            except OSError:
                continue
            if piece is None or piece.end == self._positions.get(which):
                continue
            self._positions[which] = piece.end
            data = {"log": which, "text": piece.text, "fresh": piece.fresh}
            events.append(event("log", data, positions_text(self._positions)))
        return events


def positions_text(positions: Mapping[str, int]) -> str:
    """Return positions as the id of an event: `attempt:1,server:120`."""
    return ",".join(f"{name}:{end}" for name, end in positions.items())


def positions_of(text: str) -> dict[str, int]:
    """Return the positions that an event's id has; what is not of its form is ignored."""
    known = (*LOGS, ATTEMPT)
    pairs = (part.partition(":") for part in text[:_LONGEST_ID].split(","))
    return {name: int(end) for name, _, end in pairs if name in known and end.isascii() and end.isdigit()}


async def ticks(closing: asyncio.Event, read: Callable[[], list[bytes]]) -> AsyncIterator[bytes]:
    """Yield the events that `read`, called in a worker thread, returns at each tick, until the server stops."""
    silent = 0
    while not closing.is_set():
        try:
            events = await run_in_threadpool(read)
        except HpcsweepError as exc:  # such as a store that is locked for a moment
            events = [event("trouble", exc.message)]
        silent = 0 if events else silent + 1
        if silent == _HEARTBEAT_TICKS:
            silent = 0
            events = [b": still here\n\n"]  # so that a proxy does not close the connection
        for data in events:
            yield data
        try:
            await asyncio.wait_for(closing.wait(), TICK_S)
        except asyncio.TimeoutError:
            continue

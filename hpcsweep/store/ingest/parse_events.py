"""Parse the bytes of events.jsonl to events and columns of samples. Pure.

For speed, lines of samples become tuples, the tuples become columns, and the columns are checked as a whole. Any other
line is validated with the records of `hpcsweep.events`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from hpcsweep.events.records import EVENT, Event, ProgressSeen, SampleDone
from hpcsweep.spec.base import validation_text
from hpcsweep.store.ingest.blocks import Samples, gather, mend, take, take_record

try:
    import orjson
except ImportError:  # the extra `fast` is not installed
    orjson = None  # type: ignore[assignment]

_loads: Callable[[bytes], Any] = from_json if orjson is None else orjson.loads
_LARGEST = 2**63 - 1  # of SQLite and PostgreSQL
_LATEST_S = 1e11  # Unix seconds of the year 5138: later times are invalid


@dataclass
class Parsed:
    """The events in some whole lines of one file.

    `end`: offset of the first byte that was not read. `samples`: by workload and repeat. `last`: the last event of
    any kind. `troubles`: offset and reason of each line that is not an event.
    """

    end: int
    events: list[Event] = field(default_factory=list)
    samples: dict[tuple[str, int], Samples] = field(default_factory=dict)
    progress: ProgressSeen | None = None
    last: Event | None = None
    largest_seq: int = -1
    troubles: list[tuple[int, str]] = field(default_factory=list)
    lines: int = 0


@dataclass
class _Rows:
    """Rows of one workload, and where their lines begin."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)


def parse(data: bytes, start: int, run_id: str, attempt: int) -> Parsed:
    """Parse the events in `data`, which starts at byte `start` of its file; a torn last line is left for the next time.

    An event of another run or attempt is rejected, with a trouble. An event whose seq occurred before in `data` is
    skipped: after a full disk the agent writes lines again.
    """
    end = data.rfind(b"\n") + 1
    parsed = Parsed(start + end)
    groups: dict[tuple[str, int], _Rows] = {}
    seen: set[int] = set()
    offset = start
    lines = data[:end].split(b"\n")
    for line in lines:
        here, offset = offset, offset + len(line) + 1
        if not line:
            continue
        try:
            document = _loads(line)
            if document["kind"] != "sample" or document["run_id"] != run_id or document["attempt"] != attempt:
                raise KeyError("kind")
            row, workload, repeat = take(document), document["workload"], document["repeat"]
            if type(workload) is not str or type(repeat) is not int:
                raise TypeError(workload)
        except (ValueError, KeyError, TypeError):
            event = _validate(line, here, parsed, run_id, attempt)
            if event is None:
                continue
            if not isinstance(event, SampleDone):
                if event.seq not in seen:
                    seen.add(event.seq)
                    _keep(event, parsed)
                continue
            row, workload, repeat = take_record(event), event.workload, event.repeat
        if type(row[0]) is not int or row[0] not in seen:
            seen.add(row[0])
            group = groups.setdefault((workload, repeat), _Rows())
            group.rows.append(row)
            group.offsets.append(here)
    for key, group in groups.items():
        _gather(key, group, parsed)
    parsed.last = _last(lines, run_id, attempt)
    return parsed


def _keep(event: Event, parsed: Parsed) -> None:
    parsed.lines += 1
    parsed.largest_seq = max(parsed.largest_seq, event.seq)
    if isinstance(event, ProgressSeen):
        parsed.progress = event
    else:
        parsed.events.append(event)


def _gather(key: tuple[str, int], group: _Rows, parsed: Parsed) -> None:
    try:
        samples = gather(group.rows)
    except ValueError:
        mended = [mend(row, key[0]) for row in group.rows]
        parsed.troubles += [(at, f"sample: {why}") for at, (_, why) in zip(group.offsets, mended, strict=True) if why]
        rows = [row for row, _ in mended if row is not None]
        if not rows:
            return
        samples = gather(rows)
    parsed.samples[key] = samples
    parsed.lines += len(samples)
    parsed.largest_seq = max(parsed.largest_seq, int(samples.columns["seq"].max()))


def _last(lines: list[bytes], run_id: str, attempt: int) -> Event | None:
    """Return the last event with a valid time in these lines."""
    for line in reversed(lines):
        try:
            event = EVENT.validate_json(line)
        except ValidationError:
            continue
        if math.isfinite(event.at) and math.isfinite(event.t_s) and (event.run_id, event.attempt) == (run_id, attempt):
            return event
    return None


def _validate(line: bytes, offset: int, parsed: Parsed, run_id: str, attempt: int) -> Event | None:
    """Return the event in a line; None: it cannot be stored, and the reason is in `parsed.troubles`."""
    try:
        event = EVENT.validate_json(line)
    except ValidationError as exc:
        parsed.troubles.append((offset, _why(line, exc)))
        return None
    if (event.run_id, event.attempt) != (run_id, attempt):
        owner = f"{event.run_id} attempt {event.attempt}"
        parsed.troubles.append(
            (offset, f"{event.kind}: an event of {owner[:200]!r}, not of {run_id} attempt {attempt}")
        )
        return None
    wrong = _unstorable(event)
    if wrong:
        parsed.troubles.append((offset, f"{event.kind}: {wrong}"))
        return None
    return _finite_figures(event, offset, parsed)


def _unstorable(event: Event) -> str:
    """Return why a field of an event cannot be stored; empty: all can."""
    for name, value in vars(event).items():
        if isinstance(value, int) and abs(value) > _LARGEST:
            return f"{name}: a number does not fit into 64 bits"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{name} is not finite"
        if name in ("at", "t_s") and abs(value) > _LATEST_S:
            return f"{name} is not a valid time: {value}"
    return ""


def _finite_figures(event: Event, offset: int, parsed: Parsed) -> Event:
    """Return the event without figures that are not finite."""
    changes: dict[str, dict[str, float]] = {}
    for name, value in vars(event).items():
        if isinstance(value, dict):
            kept = {key: item for key, item in value.items() if not isinstance(item, float) or math.isfinite(item)}
            if len(kept) != len(value):
                changes[name] = kept
                left_out = ", ".join(sorted(value.keys() - kept.keys()))
                parsed.troubles.append((offset, f"{event.kind}: {name} without {left_out}, which is not finite"))
    return event.model_copy(update=changes) if changes else event


def _why(line: bytes, exc: ValidationError) -> str:
    try:
        _loads(line)
    except ValueError:
        return f"not a whole line (was the disk full?): {line[:80]!r}"
    return f"an event of unknown form: {validation_text(exc)}: {line[:80]!r}"

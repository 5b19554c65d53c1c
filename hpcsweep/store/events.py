"""Bytes of events.jsonl to events, sorted by what becomes of them. Pure."""

import json
import math
from dataclasses import dataclass, field

from pydantic import ValidationError

from hpcsweep.events.records import EVENT, Event, Progress, SampleDone

_LARGEST = 2**63 - 1  # of SQLite and PostgreSQL


@dataclass
class Parsed:
    """The events in some whole lines of one file.

    `end`: offset of the first byte that was not read. `troubles`: offset and reason of each line that is no event.
    `last`: the last event of all, whatever its kind.
    """

    end: int
    events: list[Event] = field(default_factory=list)
    samples: dict[tuple[str, int], list[SampleDone]] = field(default_factory=dict)
    progress: Progress | None = None
    last: Event | None = None
    largest_seq: int = -1
    troubles: list[tuple[int, str]] = field(default_factory=list)
    lines: int = 0

    @property
    def sample_count(self) -> int:
        """Samples of all workloads."""
        return sum(map(len, self.samples.values()))


def parse(data: bytes, start: int) -> Parsed:
    """The events in `data`, which begins at byte `start` of its file; a torn last line is left for the next time.

    An event whose seq stood before in `data` is left out: after a full disk the agent writes lines again.
    """
    end = data.rfind(b"\n") + 1
    parsed = Parsed(start + end)
    seen: set[int] = set()
    offset = start
    for line in data[:end].split(b"\n"):
        here, offset = offset, offset + len(line) + 1
        if not line:
            continue
        try:
            event = EVENT.validate_json(line)
            fault = _fault(event)
        except ValidationError as exc:
            fault = _why(line, exc)
        if fault:
            parsed.troubles.append((here, fault))
            continue
        if event.seq in seen:
            continue
        seen.add(event.seq)
        parsed.lines += 1
        parsed.last = event
        parsed.largest_seq = max(parsed.largest_seq, event.seq)
        if isinstance(event, SampleDone):
            parsed.samples.setdefault((event.workload, event.repeat), []).append(event)
        elif isinstance(event, Progress):
            parsed.progress = event
        else:
            parsed.events.append(event)
    return parsed


def _fault(event: Event) -> str:
    """Why a well-formed event cannot be stored; empty: it can."""
    if isinstance(event, SampleDone):
        whole: tuple[object, ...] = (event.seq, event.index, event.repeat, event.completion_tokens)
        times: tuple[float, ...] = (event.at, event.t_s, event.sent_s)
    else:
        whole = tuple(value for value in vars(event).values() if isinstance(value, int))
        times = (event.at, event.t_s)
    for number in whole:
        if isinstance(number, int) and abs(number) > _LARGEST:
            return f"{event.kind}: {number:.3g} does not fit into 64 bits"
    return "" if all(map(math.isfinite, times)) else f"{event.kind}: a time is not finite"


def _why(line: bytes, exc: ValidationError) -> str:
    try:
        json.loads(line)
    except ValueError:
        return f"not a whole line (was the disk full?): {line[:80]!r}"
    first = exc.errors()[0]
    return f"an event of unknown form: {first['msg']}: {line[:80]!r}"

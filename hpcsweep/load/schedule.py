"""The schedule of a workload: settings and all requests ready to be sent, in one anonymous file in memory.

The sending processes inherit its descriptor. The file has the length of a JSON header, the header, and the bodies of
the requests. It does not contain the API key.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

API_KEY_VARIABLE = "HPCSWEEP_API_KEY"
_PREFIX_BYTES = 16


@dataclass(frozen=True, slots=True)
class ScheduledRequest:
    """One request. `due_s`: real seconds after the start. `body_at`, `body_bytes`: offset and size of its JSON."""

    sample: str
    index: int
    due_s: float
    max_tokens: int | None
    prompt_tokens: int | None  # as stated by the dataset; None: unknown
    body_at: int
    body_bytes: int
    warmup: bool = False
    cold: str | None = None


@dataclass(frozen=True)
class Schedule:
    """One workload, ready to be sent. Timeouts are real seconds; `scale`: see `Clock`."""

    workload: str
    repeat: int
    host: str
    port: int
    path: str
    max_concurrency: int | None
    ignore_eos: bool
    scale: float
    origin_s: float
    request_timeout_s: float
    token_timeout_s: float
    processes: int
    items: list[ScheduledRequest] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    socket_path: str | None = None
    """Unix socket of the server; None: it listens on `host` and `port`."""

    @property
    def closed_loop(self) -> bool:
        """Return whether every request waits for a free slot, and none has a due time of its own."""
        return self.max_concurrency is not None and not any(item.due_s for item in self.items)


def write_schedule(schedule: Schedule, bodies: Iterable[bytes]) -> int:
    """Write the file and return its open, inheritable descriptor. `bodies`: in the order of `body_at`."""
    values = {each.name: getattr(schedule, each.name) for each in fields(schedule)}
    names = [each.name for each in fields(ScheduledRequest)]
    rows = [[getattr(item, name) for name in names] for item in schedule.items]
    header = json.dumps(values | {"items": rows}).encode()
    fd = os.memfd_create("hpcsweep-load", 0)
    os.set_inheritable(fd, True)
    with open(fd, "wb", closefd=False) as file:
        file.write(b"%0*d" % (_PREFIX_BYTES, len(header)))
        file.write(header)
        for body in bodies:
            file.write(body)
    return fd


class ScheduleFile:
    """A schedule and its bodies, read from a descriptor."""

    def __init__(self, fd: int) -> None:
        header_bytes = int(os.pread(fd, _PREFIX_BYTES, 0))
        values: dict[str, Any] = json.loads(os.pread(fd, header_bytes, _PREFIX_BYTES))
        self.schedule = Schedule(**values | {"items": [ScheduledRequest(*row) for row in values["items"]]})
        self._fd, self._bodies_at = fd, _PREFIX_BYTES + header_bytes

    def body(self, item: ScheduledRequest) -> bytes:
        """Return the JSON of one request."""
        return os.pread(self._fd, item.body_bytes, self._bodies_at + item.body_at)

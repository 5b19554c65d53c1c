"""What is reported of one request: the record `sample`, and the count of what has ended."""

import os
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hpcsweep.load.client.clock import Clock
from hpcsweep.load.client.schedule import Schedule, ScheduledRequest
from hpcsweep.load.wire.answer import Failure
from hpcsweep.load.wire.connection import ServerConnection

TRAFFIC = "traffic"
"""Kind of the record of what is in flight."""


@dataclass
class Tally:
    """What has ended so far. Times are monotonic nanoseconds; None: nothing was sent, nothing has ended."""

    completed: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    first_sent_ns: int | None = None
    last_end_ns: int | None = None

    def count(self, failure: Failure | None, end_ns: int) -> None:
        """One request has ended."""
        if failure is None:
            self.completed += 1
        else:
            self.failures[failure.cause] = self.failures.get(failure.cause, 0) + 1
        self.last_end_ns = max(self.last_end_ns or 0, end_ns)


class Recorder:
    """Writes records on the clock of the attempt, to the microsecond."""

    def __init__(self, schedule: Schedule) -> None:
        self._workload, self._repeat = schedule.workload, schedule.repeat
        self._clock = Clock(schedule.scale, schedule.origin_s)
        self._scale = schedule.scale

    def sample(
        self, item: ScheduledRequest, connection: ServerConnection | None, failure: Failure | None
    ) -> dict[str, Any]:
        """The record of a request that has ended. `connection` None: there was none to send it on."""
        record: dict[str, Any] = {
            "kind": "sample",
            "workload": self._workload,
            "repeat": self._repeat,
            "sample": item.sample,
            "index": item.index,
            "prompt_tokens": item.prompt_tokens,
            "warmup": item.warmup,
            "cold": item.cold,
            "error": failure.cause if failure else None,
            "error_detail": failure.detail if failure else "",
        }
        if connection is None or not connection.sent_ns:
            record |= {"sent_s": round(self._clock.t_s(), 6), "tokens_from": "none"}
        else:
            record |= self._measured(connection)
        return record

    @staticmethod
    def traffic(requests: int, without_token: int, received_ns: int) -> dict[str, Any]:
        """Return the record of what one sending process has in flight now. Not an event: only the agent reads it.

        `without_token`: requests that have no first token yet. `received_ns`: monotonic, of the latest answer bytes.
        """
        return {
            "kind": TRAFFIC,
            "process": os.getpid(),
            "requests": requests,
            "without_token": without_token,
            "received_ns": received_ns,
        }

    def _measured(self, connection: ServerConnection) -> dict[str, Any]:
        answer, stamps, sent_ns = connection.answer, connection.answer.stamps, connection.sent_ns
        if stamps and stamps[0] < sent_ns:
            sent_ns = connection.send_called_ns  # this process lost its core between the call and the call's return
        prompt, completion, cached, whence = answer.tokens()
        measured: dict[str, Any] = {
            "sent_s": round(self._clock.t_s(sent_ns * 1e-9), 6),
            "completion_tokens": completion,
            "cached_tokens": cached,
            "tokens_from": whence,
            "lateness_s": self._seconds(sent_ns - connection.eligible_ns),
            "finish_reason": answer.finish_reason,
        }
        if prompt is not None:
            measured["prompt_tokens"] = prompt
        if stamps:
            measured["ttft_s"] = self._seconds(stamps[0] - sent_ns)
            measured["e2e_s"] = self._seconds(stamps[-1] - sent_ns)
            if self._scale == 1.0:  # one expression a gap: this runs between the chunks of other streams
                measured["itl_s"] = [(after - before + 500) // 1000 / 1e6 for before, after in pairwise(stamps)]
            else:
                measured["itl_s"] = [self._seconds(after - before) for before, after in pairwise(stamps)]
        return measured

    def _seconds(self, duration_ns: int) -> float:
        return round(duration_ns * 1e-9 * self._scale, 6)

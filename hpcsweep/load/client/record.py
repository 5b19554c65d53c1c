"""The records of requests: the line `sample`, and the counts of a workload."""

import os
from dataclasses import dataclass, field
from itertools import pairwise

from hpcsweep.events.load_lines import TRAFFIC as TRAFFIC
from hpcsweep.events.load_lines import MeasuredFields, SampleLine, TrafficLine
from hpcsweep.load.client.clock import Clock
from hpcsweep.load.schedule import Schedule, ScheduledRequest
from hpcsweep.load.wire.answer import Failure
from hpcsweep.load.wire.connection import ServerConnection


@dataclass
class Tally:
    """Counts of ended requests. Times are monotonic nanoseconds; None: nothing sent, nothing ended."""

    completed: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    first_sent_ns: int | None = None
    last_end_ns: int | None = None

    def count(self, failure: Failure | None, end_ns: int) -> None:
        """Count one request that has ended."""
        if failure is None:
            self.completed += 1
        else:
            cause = failure.cause.value
            self.failures[cause] = self.failures.get(cause, 0) + 1
        self.last_end_ns = max(self.last_end_ns or 0, end_ns)


class Recorder:
    """Makes records with times on the clock of the attempt, rounded to the microsecond."""

    def __init__(self, schedule: Schedule) -> None:
        self._workload, self._repeat = schedule.workload, schedule.repeat
        self._clock = Clock(schedule.scale, schedule.origin_s)
        self._scale = schedule.scale

    def sample(
        self, item: ScheduledRequest, connection: ServerConnection | None, failure: Failure | None
    ) -> SampleLine:
        """Return the record of a request that has ended. `connection` None: no connection could be opened."""
        record: SampleLine = {
            "kind": "sample",
            "workload": self._workload,
            "repeat": self._repeat,
            "sample": item.sample,
            "index": item.index,
            "prompt_tokens": item.prompt_tokens,
            "warmup": item.warmup,
            "cold": item.cold,
            "error": failure.cause.value if failure else None,
            "error_detail": failure.detail if failure else "",
        }
        if connection is None or not connection.sent_ns:
            record["sent_s"] = round(self._clock.t_s(), 6)
            record["tokens_from"] = "none"
            return record
        return {**record, **self._measured(connection)}

    @staticmethod
    def traffic(requests: int, without_token: int, received_ns: int) -> TrafficLine:
        """Return the record of the requests that this sending process has in flight.

        `without_token`: requests without a first token yet. `received_ns`: monotonic, of the latest response bytes.
        """
        return {
            "kind": "traffic",
            "process": os.getpid(),
            "requests": requests,
            "without_token": without_token,
            "received_ns": received_ns,
        }

    def _measured(self, connection: ServerConnection) -> MeasuredFields:
        answer, stamps, sent_ns = connection.answer, connection.answer.stamps, connection.sent_ns
        if stamps and stamps[0] < sent_ns:
            sent_ns = connection.send_called_ns  # this process was descheduled between the call and its return
        counts = answer.tokens()
        measured: MeasuredFields = {
            "sent_s": round(self._clock.t_s(sent_ns * 1e-9), 6),
            "completion_tokens": counts.completion,
            "cached_tokens": counts.cached,
            "tokens_from": counts.source.value,
            "lateness_s": self._seconds(sent_ns - connection.eligible_ns),
            "finish_reason": answer.finish_reason,
        }
        if counts.prompt is not None:
            measured["prompt_tokens"] = counts.prompt
        if stamps:
            measured["ttft_s"] = self._seconds(stamps[0] - sent_ns)
            measured["e2e_s"] = self._seconds(stamps[-1] - sent_ns)
            if self._scale == 1.0:  # one expression per gap: this runs between the chunks of other streams
                measured["itl_s"] = [(after - before + 500) // 1000 / 1e6 for before, after in pairwise(stamps)]
            else:
                measured["itl_s"] = [self._seconds(after - before) for before, after in pairwise(stamps)]
        return measured

    def _seconds(self, duration_ns: int) -> float:
        return round(duration_ns * 1e-9 * self._scale, 6)

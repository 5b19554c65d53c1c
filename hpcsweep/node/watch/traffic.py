"""Determine whether a ready server has requests in flight, from its client or from its own gauges. Pure."""

from collections.abc import Mapping
from typing import Any

from hpcsweep.node.watch.stall import Situation


class Traffic:
    """Follows the requests of one workload.

    The built-in client reports its requests in flight. For other clients the server's gauges are used, which do not
    show whether a request is waiting for its first token. `closed_loop`: of the client's schedule: each request is
    sent as soon as a slot is free, so that the server is never left without a request; None: not reported.
    """

    def __init__(self) -> None:
        self._sending = False
        self._in_flight: dict[int, tuple[int, int]] = {}
        self._gauge: float | None = None
        self.closed_loop: bool | None = None
        self.received = 0
        """When the client last received bytes of an answer, monotonic nanoseconds; 0: never, or not reported."""

    def begin(self) -> None:
        """Note that a load process has been started."""
        self._sending, self._gauge, self.closed_loop = True, None, None
        self._in_flight.clear()

    def end(self) -> None:
        """Note that the load process has ended: it has no request in flight."""
        self._sending = False
        self._in_flight.clear()

    def client(self, record: Mapping[str, Any]) -> None:
        """Take a record of `load.client.record.Recorder.traffic`."""
        self._in_flight[int(record["process"])] = (int(record["requests"]), int(record["without_token"]))
        self.received = max(self.received, int(record["received_ns"]))

    def gauges(self, figures: Mapping[str, float]) -> None:
        """Take a sample of /metrics."""
        if "running" in figures or "waiting" in figures:
            self._gauge = figures.get("running", 0.0) + figures.get("waiting", 0.0)

    def situation(self) -> Situation:
        """Return what a ready server has to do now.

        In an open loop the time between two arrivals may be longer than the stall budget. So a server of whose
        requests nothing is known has nothing to do then; in a closed loop it has.
        """
        if not self._sending:
            return Situation.NOTHING_TO_DO
        if self._in_flight:
            requests, without_token = (sum(column) for column in zip(*self._in_flight.values(), strict=True))
            if not requests:
                return Situation.NOTHING_TO_DO
            return Situation.PREFILL if without_token else Situation.SERVING
        if self._gauge is None:
            return Situation.NOTHING_TO_DO if self.closed_loop is False else Situation.PREFILL
        return Situation.PREFILL if self._gauge > 0 else Situation.NOTHING_TO_DO

"""What a ready server has to do: requests in flight, as its client counts them, or as its own gauges say. Pure."""

from collections.abc import Mapping
from typing import Any

from hpcsweep.node.watch.stall import Situation


class Traffic:
    """Follows the requests of one workload.

    The built-in client reports what it has in flight. Other clients do not: then the server's gauges are believed,
    and whether a request waits for its first token is not known.
    """

    def __init__(self) -> None:
        self._sending = False
        self._of_process: dict[int, tuple[int, int]] = {}
        self._gauge: float | None = None
        self.received = 0
        """When the client last received bytes of an answer, monotonic nanoseconds; 0: never, or not reported."""

    def begin(self) -> None:
        """A load process has been started."""
        self._sending, self._gauge = True, None
        self._of_process.clear()

    def end(self) -> None:
        """The load process has ended: no request of ours is in flight."""
        self._sending = False
        self._of_process.clear()

    def client(self, record: Mapping[str, Any]) -> None:
        """Take a record of `load.record.Recorder.traffic`."""
        self._of_process[int(record["process"])] = (int(record["requests"]), int(record["without_token"]))
        self.received = max(self.received, int(record["received_ns"]))

    def gauges(self, figures: Mapping[str, float]) -> None:
        """Take a look at /metrics."""
        if "running" in figures or "waiting" in figures:
            self._gauge = figures.get("running", 0.0) + figures.get("waiting", 0.0)

    def situation(self) -> Situation:
        """What a ready server has to do now."""
        if not self._sending:
            return Situation.NOTHING_TO_DO
        if self._of_process:
            requests, without_token = (sum(column) for column in zip(*self._of_process.values(), strict=True))
            if not requests:
                return Situation.NOTHING_TO_DO
            return Situation.PREFILL if without_token else Situation.SERVING
        return Situation.PREFILL if self._gauge is None or self._gauge > 0 else Situation.NOTHING_TO_DO

    def requests(self) -> int | None:
        """Requests in flight; None: not known."""
        if self._of_process:
            return sum(requests for requests, _ in self._of_process.values())
        return int(self._gauge) if self._gauge is not None else None

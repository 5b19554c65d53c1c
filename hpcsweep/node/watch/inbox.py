"""What reaches the agent's one loop: lines of the server, lines of the load process, looks at HTTP, signals.

Threads only put; the main thread alone takes, decides and writes events. A SimpleQueue may be put to from a signal
handler.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue

_MOST_WAITING_CHARACTERS = 32 << 20
_LINE_OVERHEAD = 200
"""What a line costs in memory beside its text."""


@dataclass(frozen=True)
class ServerLine:
    """A line of the server's output, and when it arrived (monotonic)."""

    text: str
    at_s: float


@dataclass(frozen=True)
class LoadLine:
    """A JSON line of the load process."""

    text: str


@dataclass(frozen=True)
class LoadClosed:
    """The load process has closed its output."""


@dataclass(frozen=True)
class ProbeResult:
    """The result of one readiness check. `ready_at_s`: monotonic; None: not ready yet, `problem` says why.

    `healthy_at_s`: when our server answered that it is healthy (monotonic). None: it did not, or a later request of
    the check got no answer. `hint`: what usually causes the problem.
    """

    ready_at_s: float | None
    problem: str
    first_token_s: float | None = None
    healthy_at_s: float | None = None
    hint: str = ""


@dataclass(frozen=True)
class MetricsSample:
    """One look at the server's metrics and the GPUs. `figures` None: the server did not answer."""

    at_s: float
    figures: Mapping[str, float] | None


@dataclass(frozen=True)
class SignalReceived:
    """A signal came to the agent."""

    signum: int


Message = ServerLine | LoadLine | LoadClosed | ProbeResult | MetricsSample | SignalReceived


class Inbox:
    """The queue of the loop."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Message] = SimpleQueue()
        self._lines = threading.Lock()
        self._waiting_characters = 0
        self.lost_lines = 0

    def put(self, message: Message) -> None:
        """From any thread, or a signal handler."""
        self._queue.put(message)

    def put_line(self, line: ServerLine) -> None:
        """From one thread, never from a signal handler. While too much waits to be read, a line is counted and lost."""
        with self._lines:
            if self._waiting_characters > _MOST_WAITING_CHARACTERS:
                self.lost_lines += 1
                return
            self._waiting_characters += len(line.text) + _LINE_OVERHEAD
        self._queue.put(line)

    def take(self, timeout_s: float, limit: int = 2000) -> list[Message]:
        """Wait up to `timeout_s` real seconds for the first message; then everything that is there."""
        found: list[Message] = []
        try:
            found.append(self._queue.get(timeout=max(timeout_s, 0.0)))
            while len(found) < limit:
                found.append(self._queue.get_nowait())
        except Empty:
            pass
        read = sum(len(one.text) + _LINE_OVERHEAD for one in found if isinstance(one, ServerLine))
        with self._lines:
            self._waiting_characters -= read
        return found

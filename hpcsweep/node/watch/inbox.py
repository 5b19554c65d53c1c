"""Messages to the agent's main loop: lines of the server and of the load process, HTTP results, signals.

Threads put messages; only the main thread takes them, decides and writes events. A signal handler may put to a
SimpleQueue.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from hpcsweep.node.process.roles import ProcessRole

_MOST_WAITING_CHARACTERS = 32 << 20
_LINE_OVERHEAD = 200
"""Memory that a line needs in addition to its text."""


@dataclass(frozen=True)
class ServerLine:
    """A line of the server's output, and the monotonic time of its arrival."""

    text: str
    at_s: float


@dataclass(frozen=True)
class LoadLine:
    """A JSON line of the load process."""

    text: str


@dataclass(frozen=True)
class LoadClosed:
    """The load process closed its output."""


@dataclass(frozen=True)
class ProbeResult:
    """The result of one readiness check. `ready_at_s`: monotonic; None: not ready yet, because of `problem`.

    `healthy_at_s`: when our server reported that it is healthy (monotonic). None: it did not, or a later request of
    the check was not answered. `hint`: the usual cause of the problem.
    """

    ready_at_s: float | None
    problem: str
    first_token_s: float | None = None
    healthy_at_s: float | None = None
    hint: str = ""


@dataclass(frozen=True)
class MetricsSample:
    """Figures of the server and its GPUs at one moment (monotonic). `figures` None: the server did not answer."""

    at_s: float
    figures: Mapping[str, float] | None


@dataclass(frozen=True)
class SignalReceived:
    """The agent received a signal."""

    signum: int


@dataclass(frozen=True)
class RankMessage:
    """A message of the agent of another node, which has the part `rank` of the server. `at_s`: arrival (monotonic)."""

    rank: int
    body: Mapping[str, Any]
    at_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class ProcessEnded:
    """A process that serves has ended on this node, at `at_s` (monotonic)."""

    pid: int
    role: ProcessRole
    at_s: float = field(default_factory=time.monotonic)


Message = ServerLine | LoadLine | LoadClosed | ProbeResult | MetricsSample | SignalReceived | RankMessage | ProcessEnded


class Inbox:
    """The queue of the main loop. `lost_lines`: lines of the server that were dropped."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Message] = SimpleQueue()
        self._lines = threading.Lock()
        self._waiting_characters = 0
        self.lost_lines = 0

    def put(self, message: Message) -> None:
        """Put a message, from any thread or a signal handler."""
        self._queue.put(message)

    def put_line(self, line: ServerLine) -> None:
        """Put a line, from one thread and never from a signal handler. It is dropped while too much is unread."""
        with self._lines:
            if self._waiting_characters > _MOST_WAITING_CHARACTERS:
                self.lost_lines += 1
                return
            self._waiting_characters += len(line.text) + _LINE_OVERHEAD
        self._queue.put(line)

    def take(self, timeout_s: float, limit: int = 2000) -> list[Message]:
        """Wait up to `timeout_s` real seconds for a message; return all messages that have arrived."""
        messages: list[Message] = []
        try:
            messages.append(self._queue.get(timeout=max(timeout_s, 0.0)))
            while len(messages) < limit:
                messages.append(self._queue.get_nowait())
        except Empty:
            pass
        read = sum(len(line.text) + _LINE_OVERHEAD for line in messages if isinstance(line, ServerLine))
        with self._lines:
            self._waiting_characters -= read
        return messages

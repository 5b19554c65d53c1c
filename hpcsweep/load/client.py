"""The sending loop of one process: connections, requests when they are due, answers as they come, budgets.

It waits on epoll itself: asyncio's transports hide both the moment at which the kernel takes the last byte of a
request and the kernel's own stamp of what it received, and a reader that is called per event costs more than the
loop here. All times are monotonic seconds, real ones; `_line` turns them into the attempt's.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hpcsweep.load.answer import Failure
from hpcsweep.load.clock import Clock
from hpcsweep.load.connection import Connection
from hpcsweep.load.figures import SelfMeasurement
from hpcsweep.load.http1 import request_head
from hpcsweep.load.schedule import Item, ScheduleFile

_OPENING_AT_ONCE = 64  # below the listen backlog of any server
_CONNECT_S = 30.0
_SENDS_IN_A_ROW = 16  # then what has come is read, so that a burst of requests does not delay it
_TICK_S = 0.1
_FINE_S = 0.02  # a wait shorter than this is timed to the microsecond; epoll alone rounds up to a millisecond
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


@dataclass
class Tally:
    """What has ended so far. Times are monotonic; None: nothing was sent, nothing has ended."""

    completed: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    first_sent_s: float | None = None
    last_end_s: float | None = None


class Client:
    """Sends `items` of a schedule and reports each with `report`, a line of the kind `sample`.

    `flush` is called about ten times a second, and never keeps the loop waiting.
    """

    def __init__(
        self,
        file: ScheduleFile,
        report: Callable[[dict[str, Any]], None],
        flush: Callable[[], None],
        *,
        api_key: str | None,
        max_concurrency: int | None,
    ) -> None:
        self._file, self._report, self._flush = file, report, flush
        self._schedule = file.schedule
        self._clock = Clock(self._schedule.scale, self._schedule.origin_s)
        self._api_key = api_key
        self._limit = max_concurrency
        self._epoll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        self._slots: deque[float] | None = None
        self._offset_ns = 0
        self._busy = 0
        self._stopped = False
        info = socket.getaddrinfo(self._schedule.host, self._schedule.port, type=socket.SOCK_STREAM)[0]
        self._address: tuple[str, int] = (str(info[4][0]), int(info[4][1]))
        self.measured = SelfMeasurement(kernel_stamps=True)
        self.tally = Tally()

    def stop(self) -> None:
        """Send nothing more and give up what is under way; `run` then returns soon. May be called by a signal."""
        self._stopped = True

    def connect(self, count: int) -> None:
        """Open `count` connections before any clock starts. Those that fail are tried again when they are needed."""
        deadline_s = time.monotonic() + _CONNECT_S
        wanted = count
        while (wanted or any(c.connecting for c in self._open.values())) and not self._stopped:
            opening = sum(c.connecting for c in self._open.values())
            try:
                for _ in range(min(wanted, _OPENING_AT_ONCE - opening)):
                    wanted -= 1
                    connection = self._new()
                    if not connection.connecting:
                        self._rest(connection)
            except OSError:
                return
            for fd, _ in self._epoll.poll(0.1):
                self._event(self._open[fd], _OUT)
            if time.monotonic() > deadline_s:
                return

    def run(self, items: Iterable[Item], start_s: float) -> None:
        """Send all items, each `due_s` after `start_s` at the earliest, and return when every one has ended."""
        waiting = deque(items)
        slots = self._slots = None if self._limit is None else deque([start_s] * self._limit)
        next_tick_s = time.monotonic()
        while (waiting or self._busy) and not self._stopped:
            now = time.monotonic()
            sent = 0
            while waiting and sent < _SENDS_IN_A_ROW and (slots is None or slots):
                due_s = start_s + waiting[0].due_s
                if due_s > now:
                    break
                ready_s = max(due_s, slots.popleft()) if slots is not None else due_s
                self._start(waiting.popleft(), ready_s)
                sent += 1
            if now >= next_tick_s:
                self._tick(now)
                next_tick_s = now + _TICK_S
            wait_s = next_tick_s - now
            if sent == _SENDS_IN_A_ROW:
                wait_s = 0.0
            elif waiting and (slots is None or slots):
                wait_s = min(wait_s, start_s + waiting[0].due_s - now)
            self._poll(max(0.0, wait_s))
        if self._stopped:
            for connection in list(self._open.values()):
                if connection.item is not None:
                    self._fail(connection, Failure("aborted", "told to stop"), time.monotonic())

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()
        self._idle.clear()
        self._epoll.close()

    def _poll(self, wait_s: float) -> None:
        if 0.0 < wait_s < _FINE_S:
            select.select([self._epoll], [], [], wait_s)
            wait_s = 0.0
        events = self._epoll.poll(wait_s)
        if not events:
            return
        begun = time.monotonic()
        self._offset_ns = time.monotonic_ns() - time.time_ns()
        for fd, mask in events:
            connection = self._open.get(fd)
            if connection is not None:
                self._event(connection, mask)
        self.measured.loop_lag.add(time.monotonic() - begun)

    def _event(self, connection: Connection, mask: int) -> None:
        try:
            if connection.connecting:
                connection.connected()
                self._epoll.modify(connection.fd, _IN)
                if connection.item is None:
                    self._rest(connection)
                    return
                self._send(connection)
            elif mask & _OUT and connection.out:
                self._send(connection)
            if mask & ~_OUT and not connection.connecting:
                self._receive(connection)
        except BlockingIOError:
            return
        except OSError as exc:
            self._broken(connection, exc)

    def _receive(self, connection: Connection) -> None:
        if self.measured.kernel_stamps:
            data, stamp_ns = connection.receive_stamped()
        else:
            data, stamp_ns = connection.receive(), 0
        at = now = time.monotonic()
        if stamp_ns:
            at = (stamp_ns + self._offset_ns) / 1e9
            lag_s = now - at
            if 0.0 <= lag_s < 5.0:
                self.measured.read_lag.add(lag_s)
            else:  # the wall clock was set in between
                at = now
        if connection.item is None:  # idle: closed by the server, or noise that nobody asked for
            self._drop(connection)
            return
        if not data and not connection.reader.begun:
            self._broken(connection, None)
            return
        try:
            if connection.take(data, at):
                connection.answer.check(connection.item.max_tokens, self._schedule.ignore_eos)
                self._succeed(connection, connection.item, at)
        except Failure as failure:
            self._fail(connection, failure, at)

    def _start(self, item: Item, ready_s: float) -> None:
        body = self._file.body(item)
        host = f"{self._schedule.host}:{self._schedule.port}"
        self._busy += 1
        self._put(item, request_head(host, self._schedule.path, len(body), self._api_key) + body, ready_s)

    def _put(self, item: Item, request: bytes, ready_s: float) -> None:
        """Send on an idle connection, or on a new one."""
        try:
            connection = self._idle.pop() if self._idle else self._new()
        except OSError as exc:
            self._count(item, self._line(item, ready_s), Failure("connect", str(exc)))
            return
        connection.begin(item, request, ready_s)
        if connection.connecting:
            return
        try:
            self._send(connection)
        except OSError as exc:
            self._broken(connection, exc)

    def _send(self, connection: Connection) -> None:
        if connection.send():
            connection.sent_s = time.monotonic()
            if self.tally.first_sent_s is None:
                self.tally.first_sent_s = connection.sent_s
            self._epoll.modify(connection.fd, _IN)
        else:
            self._epoll.modify(connection.fd, _IN | _OUT)

    def _new(self) -> Connection:
        connection = Connection(self._address, self.measured.kernel_stamps)
        self._open[connection.fd] = connection
        self._epoll.register(connection.fd, _OUT if connection.connecting else _IN)
        return connection

    def _rest(self, connection: Connection) -> None:
        connection.rested = True
        connection.item = None
        self._idle.append(connection)

    def _drop(self, connection: Connection) -> None:
        del self._open[connection.fd]
        if connection.item is None and connection in self._idle:
            self._idle.remove(connection)
        connection.close()

    def _broken(self, connection: Connection, exc: OSError | None) -> None:
        """The connection ended without an answer."""
        item, request, ready_s = connection.item, connection.request, connection.ready_s
        if item is None:
            self._drop(connection)
        elif connection.rested and not connection.reader.begun:
            # the server may close an idle connection at any time; what was sent just then it never saw
            self._drop(connection)
            self.measured.reconnects += 1
            self._put(item, request, ready_s)
        else:
            cause = "connect" if connection.connecting else "cut"
            self._fail(connection, Failure(cause, str(exc or "closed before the answer began")), time.monotonic())

    def _tick(self, now: float) -> None:
        """Budgets, and what has been reported goes out."""
        request_s, token_s = self._schedule.request_timeout_s, self._schedule.token_timeout_s
        for connection in list(self._open.values()):
            if connection.item is None:
                continue
            if connection.connecting and now - connection.begun_s > _CONNECT_S:
                self._fail(connection, Failure("connect", f"no connection within {_CONNECT_S:.0f} s"), now)
            elif connection.answer.stamps and now - connection.last_s > token_s:
                silent_s = self._clock.scaled(now - connection.last_s)
                chunks = len(connection.answer.stamps)
                detail = f"nothing for {silent_s:.1f} s after {chunks} chunks"
                self._fail(connection, Failure("token_timeout", detail), now)
            elif now - (connection.sent_s or connection.begun_s) > request_s:
                chunks = len(connection.answer.stamps)
                limit_s = self._clock.scaled(request_s)
                self._fail(connection, Failure("request_timeout", f"{chunks} chunks in {limit_s:.1f} s"), now)
        self._flush()

    def _fail(self, connection: Connection, failure: Failure, at: float) -> None:
        item = connection.item
        if item is None:
            return
        line = self._line(item, connection.ready_s, connection)
        self._drop(connection)
        self._count(item, line, failure, at)

    def _succeed(self, connection: Connection, item: Item, at: float) -> None:
        line = self._line(item, connection.ready_s, connection)
        if connection.reader.keep_alive:
            self._rest(connection)
        else:
            self._drop(connection)
        self._count(item, line, None, at)

    def _count(self, item: Item, line: dict[str, Any], failure: Failure | None, at: float | None = None) -> None:
        """The request has ended: its slot is free, its line is written."""
        now = time.monotonic()
        self._busy -= 1
        if self._slots is not None:
            self._slots.append(now)
        if failure is not None:
            line["error"], line["error_detail"] = failure.cause, failure.detail
            self.tally.failures[failure.cause] = self.tally.failures.get(failure.cause, 0) + 1
        else:
            self.tally.completed += 1
        self.tally.last_end_s = max(self.tally.last_end_s or 0.0, now if at is None else at)
        self._report(line)

    def _line(self, item: Item, ready_s: float, connection: Connection | None = None) -> dict[str, Any]:
        """The record `sample` of a request, on the attempt's clock, without its verdict."""
        scale = self._schedule.scale
        line: dict[str, Any] = {
            "kind": "sample",
            "workload": self._schedule.workload,
            "repeat": self._schedule.repeat,
            "sample": item.sample,
            "index": item.index,
            "warmup": item.warmup,
            "cold": item.cold,
        }
        if connection is None or not connection.sent_s:
            return line | {"sent_s": self._clock.t_s(), "prompt_tokens": item.prompt_tokens, "tokens_from": "none"}
        answer, sent_s = connection.answer, connection.sent_s
        prompt, completion, cached, whence = answer.tokens()
        stamps = answer.stamps
        late_s = sent_s - ready_s
        self.measured.lateness.add(late_s)
        line |= {
            "sent_s": round(self._clock.t_s(sent_s), 6),
            "prompt_tokens": item.prompt_tokens if prompt is None else prompt,
            "completion_tokens": completion,
            "cached_tokens": cached,
            "tokens_from": whence,
            "lateness_s": round(late_s * scale, 6),
            "finish_reason": answer.finish_reason,
        }
        if stamps:
            ttft_s = max(0.0, stamps[0] - sent_s)
            gaps = [round((b - a) * scale, 6) for a, b in pairwise(stamps)]
            line |= {
                "ttft_s": round(ttft_s * scale, 6),
                "e2e_s": round(max(0.0, stamps[-1] - sent_s) * scale, 6),
                "itl_s": gaps,
            }
            self.measured.ttft.add(ttft_s)
            if len(stamps) > 1:
                self.measured.itl.add((stamps[-1] - stamps[0]) / (len(stamps) - 1))
        return line

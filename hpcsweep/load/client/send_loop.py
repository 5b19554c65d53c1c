"""The sending loop of one process: connections, requests when they are due, answers as they come, budgets.

It waits on epoll itself: asyncio's transports hide both the moment at which the kernel takes the last byte of a
request and the kernel's own stamp of what it received, and calling a reader for every event costs more than the loop
here. Times are monotonic nanoseconds, real ones; `Recorder` turns them into the attempt's.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from hpcsweep.load.client.figures import SelfMeasurement
from hpcsweep.load.client.record import Recorder, Tally
from hpcsweep.load.client.schedule import Schedule, ScheduledRequest, ScheduleFile
from hpcsweep.load.wire.answer import Failure
from hpcsweep.load.wire.connection import CONTROL_BYTES, READ_BYTES, Address, ServerConnection
from hpcsweep.load.wire.http1 import request_head
from hpcsweep.load.wire.pool import IN, OUT, Pool

_OPENING_AT_ONCE = 64  # below the listen backlog of any server
_CONNECT_S = 30.0
_SENDSIN_A_ROW = 16  # then what has come is read, so that a burst of requests does not delay it
_EVENTS = 64  # dealt with in one go
_MUCH_BYTES = 4096
_READS_KEPT = 5  # of one answer, until they are looked at: more makes longer bursts, in which others wait for a core
_TICK_S, _TICK_LEAST_S = 0.1, 0.001  # a tenth of the shortest budget, within these
_FINE_S = 0.02  # a wait shorter than this is timed to the microsecond; epoll alone rounds up to a millisecond
_NS = 1_000_000_000
_TRAFFIC_NS = _NS // 4  # between two records of what is in flight
_RACE_NS = 1 * _NS
"""A server that closed an idle connection had done so when the request went out, or soon after: its FIN was on the way.
Whoever closes later than this has had the request, and dropped it."""


def _address(schedule: Schedule) -> Address:
    if schedule.socket_path is not None:
        return schedule.socket_path
    info = socket.getaddrinfo(schedule.host, schedule.port, type=socket.SOCK_STREAM)[0]
    return str(info[4][0]), int(info[4][1])


class Client:
    """Sends `items` of a schedule and reports each with `report`, a record of the kind `sample`.

    `flush` is called at least ten times a second, and never keeps the loop waiting.
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
        self._schedule, self._recorder = file.schedule, Recorder(file.schedule)
        self._api_key = api_key
        self._limit = max_concurrency
        self._slots: deque[int] | None = None  # when each free one became free; None: no limit
        self._offset_ns = 0
        self._busy = 0
        self._stopped = False
        self._pool = Pool(_address(self._schedule))
        name = f"[{self._schedule.host}]" if ":" in self._schedule.host else self._schedule.host
        self._host = f"{name}:{self._schedule.port}"
        shortest_s = min(self._schedule.request_timeout_s, self._schedule.token_timeout_s)
        self._tick_ns = int(min(_TICK_S, max(_TICK_LEAST_S, shortest_s / 10)) * _NS)
        self._traffic: tuple[int, int, int] | None = None
        self._traffic_at_ns = 0
        self.measured = SelfMeasurement()
        self.tally = Tally()

    def stop(self) -> None:
        """Send nothing more and give up what is under way; `run` then returns soon. May be called by a signal."""
        self._stopped = True

    def connect(self, count: int) -> None:
        """Open `count` connections before any clock starts. Those that fail are tried again when they are needed."""
        deadline_ns = time.monotonic_ns() + int(_CONNECT_S * _NS)
        wanted = count
        while (wanted or self._pool.connecting()) and not self._stopped and time.monotonic_ns() < deadline_ns:
            try:
                for _ in range(min(wanted, _OPENING_AT_ONCE - self._pool.connecting())):
                    wanted -= 1
                    connection = self._pool.new()
                    if not connection.connecting:
                        self._pool.release(connection)
            except OSError:
                return
            self._poll(0.1, fine=False)

    def run(self, items: Iterable[ScheduledRequest], start_ns: int) -> None:
        """Send all items, each `due_s` after `start_ns` at the earliest, and return when every one has ended."""
        waiting = deque((start_ns + int(item.due_s * _NS), item) for item in items)
        slots = self._slots = None if self._limit is None else deque([start_ns] * self._limit)
        next_tick_ns = start_ns
        while (waiting or self._busy) and not self._stopped:
            now_ns = time.monotonic_ns()
            sent = 0
            while waiting and sent < _SENDSIN_A_ROW and (slots is None or slots) and waiting[0][0] <= now_ns:
                due_ns, item = waiting.popleft()
                self._start(item, due_ns if slots is None else max(due_ns, slots.popleft()))
                sent += 1
            if now_ns >= next_tick_ns:
                self._tick(now_ns)
                next_tick_ns = now_ns + self._tick_ns
            until_ns, fine = next_tick_ns, False
            if waiting and (slots is None or slots):
                fine = waiting[0][0] < until_ns
                until_ns = min(until_ns, waiting[0][0])
            wait_ns = 0 if sent == _SENDSIN_A_ROW else until_ns - time.monotonic_ns()
            self._poll(max(0, wait_ns) / _NS, fine=fine)
        if self._stopped:
            for connection in self._pool.busy():
                self._give_up(connection, "aborted", "told to stop")

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def _poll(self, wait_s: float, *, fine: bool) -> None:
        """Wait for at most `wait_s`, and deal with what has come. `fine`: time a short wait to the microsecond."""
        if fine and 0.0 < wait_s < _FINE_S:
            select.select([self._pool.epoll], [], [], wait_s)
            wait_s = 0.0
        events = self._pool.epoll.poll(wait_s, _EVENTS)
        if not events:
            return
        begun_ns = time.monotonic_ns()
        self._offset_ns = begun_ns - time.time_ns()
        of = self._pool.open.get
        for fd, mask in events:
            connection = of(fd)
            if connection is None:
                continue
            try:
                if mask == IN and connection.streaming:
                    got = connection.recvmsg(READ_BYTES, CONTROL_BYTES)
                    connection.last_ns = begun_ns
                    reads = connection.reads
                    reads.append(got)
                    data = got[0]
                    size = len(data)
                    # the end of a chunked body, a piece of such an end, the end of the connection; or much to keep
                    if data[-4:] == b"\r\n\r\n" or size < 5 or size > _MUCH_BYTES or len(reads) == _READS_KEPT:
                        self._look(connection)
                    continue
                if mask != IN or connection.connecting:
                    self._writable(connection)
                if mask & ~OUT and not connection.connecting:
                    self._readable(connection)
            except BlockingIOError:
                continue
            except OSError as exc:
                self._broken(connection, exc)
        self.measured.loop_lag.add((time.monotonic_ns() - begun_ns) * 1e-9)

    def _writable(self, connection: ServerConnection) -> None:
        if connection.connecting:
            connection.connected()
            if connection.item is None:
                self._pool.watch_output(connection, False)
                self._pool.release(connection)
                return
        if connection.out:
            self._send(connection)

    def _readable(self, connection: ServerConnection) -> None:
        got = connection.recvmsg(READ_BYTES, CONTROL_BYTES)
        connection.last_ns = time.monotonic_ns()
        if connection.item is None:  # idle: closed by the server, or noise that nobody asked for
            self._pool.drop(connection)
        elif not got[0] and not connection.reader.begun:
            self._broken(connection, None)
        else:
            connection.reads.append(got)
            self._look(connection)

    def _look(self, connection: ServerConnection) -> None:
        try:
            if connection.process_reads(self._offset_ns):
                self._succeed(connection)
        except Failure as failure:
            self._fail(connection, failure)

    def _start(self, item: ScheduledRequest, eligible_ns: int) -> None:
        body = self._file.body(item)
        self._busy += 1
        self._put(item, request_head(self._host, self._schedule.path, len(body), self._api_key) + body, eligible_ns)

    def _put(self, item: ScheduledRequest, request: bytes, eligible_ns: int, *, again: bool = False) -> None:
        """Send on an idle connection, or on a new one. `again`: on a new one, since an idle one was closed."""
        try:
            connection = self._pool.new() if again else self._pool.take()
        except OSError as exc:
            self._ended(item, None, Failure("connect", str(exc)))
            return
        connection.begin(item, request, eligible_ns)
        if connection.connecting:
            return
        try:
            self._send(connection)
        except OSError as exc:
            self._broken(connection, exc)

    def _send(self, connection: ServerConnection) -> None:
        whole = connection.send()
        self._pool.watch_output(connection, not whole)
        if whole and self.tally.first_sent_ns is None:
            self.tally.first_sent_ns = connection.sent_ns

    def _broken(self, connection: ServerConnection, exc: OSError | None) -> None:
        """The connection ended without an answer, or within one."""
        item = connection.item
        if item is not None and exc is not None and not connection.connecting:
            if connection.keep_last_words():
                self._look(connection)
            if connection.item is None:
                return
        race = connection.rested and time.monotonic_ns() - connection.send_called_ns < _RACE_NS
        if item is None:
            self._pool.drop(connection)
        elif race and not connection.reader.begun:
            # the server may close an idle connection at any time; what was sent just then it never saw
            self._pool.drop(connection)
            self.measured.reconnects += 1
            self._put(item, connection.request, connection.eligible_ns, again=True)
        else:
            cause = "connect" if connection.connecting else "cut"
            self._give_up(connection, cause, str(exc or "closed before the answer began"))

    def _tick(self, now_ns: int) -> None:
        """Budgets, and what has been reported goes out."""
        request_ns = int(self._schedule.request_timeout_s * _NS)
        token_ns = int(self._schedule.token_timeout_s * _NS)
        for connection in self._pool.busy():
            if connection.connecting and now_ns - connection.begun_ns > _CONNECT_S * _NS:
                self._give_up(connection, "connect", f"no connection within {_CONNECT_S:.0f} s")
            elif now_ns - (connection.sent_ns or connection.begun_ns) > request_ns:
                self._give_up(connection, "request_timeout", f"not whole after {self._told(request_ns)}")
            elif connection.last_ns and now_ns - connection.last_ns > token_ns:
                if connection.reads:
                    self._look(connection)
                if connection.item is not None and connection.answer.stamps:
                    silent_ns = now_ns - connection.last_ns
                    self._give_up(connection, "token_timeout", f"nothing for {self._told(silent_ns)}")
        self._report_traffic(now_ns)
        self._flush()

    def _report_traffic(self, now_ns: int) -> None:
        """Report what is in flight, where it has changed: the agent's evidence that the server works on something."""
        if now_ns - self._traffic_at_ns < _TRAFFIC_NS:
            return
        busy = list(self._pool.busy())
        first = sum(not connection.answer.stamps and not connection.reads for connection in busy)
        last_ns = max((connection.last_ns for connection in busy), default=0)
        traffic = (len(busy), first, max(last_ns, self.tally.last_end_ns or 0))
        if traffic != self._traffic:
            self._traffic, self._traffic_at_ns = traffic, now_ns
            self._report(self._recorder.traffic(*traffic))

    def _told(self, duration_ns: int) -> str:
        return f"{duration_ns / _NS * self._schedule.scale:.1f} s"

    def _give_up(self, connection: ServerConnection, cause: str, detail: str) -> None:
        """End a request that the server has not ended, unless what came so far ends it."""
        if connection.reads:
            self._look(connection)
        if connection.item is None:
            return
        if connection.answer.done:  # only the end of HTTP's framing is missing
            connection.reader.keep_alive = False
            self._succeed(connection)
        else:
            self._fail(connection, Failure(cause, f"{detail}, {len(connection.answer.stamps)} chunks"))

    def _succeed(self, connection: ServerConnection) -> None:
        """The answer has ended: it is a success when it is a good one."""
        item = connection.item
        if item is None:
            return
        try:
            connection.answer.check(item.max_tokens, self._schedule.ignore_eos)
        except Failure as failure:
            self._fail(connection, failure)
            return
        self._ended(item, connection, None)
        if connection.reader.keep_alive:
            self._pool.release(connection)
        else:
            connection.item = None
            self._pool.drop(connection)

    def _fail(self, connection: ServerConnection, failure: Failure) -> None:
        item = connection.item
        if item is not None:
            self._ended(item, connection, failure)
            self._pool.drop(connection)
            connection.item = None

    def _ended(self, item: ScheduledRequest, connection: ServerConnection | None, failure: Failure | None) -> None:
        """The request has ended: its slot is free, its record goes out."""
        now_ns = time.monotonic_ns()
        self._busy -= 1
        if self._slots is not None:
            self._slots.append(now_ns)
        last_ns = connection.last_ns if connection is not None else 0
        self.tally.count(failure, last_ns or now_ns)
        self._report(self._recorder.sample(item, connection, failure))
        if connection is not None and connection.sent_ns:
            self.measured.add(connection)

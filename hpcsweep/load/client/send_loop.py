"""The send loop of one process: connections, due requests, responses and budgets.

It uses epoll directly: asyncio's transports hide when the kernel takes the last byte of a request and the kernel's
timestamps of received data, and a callback per event costs more than this loop. Times are real monotonic nanoseconds;
`Recorder` converts them to the attempt's clock.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable

from hpcsweep.events.load_lines import SampleLine, TrafficLine
from hpcsweep.load.client.figures import SelfMeasurement
from hpcsweep.load.client.record import Recorder, Tally
from hpcsweep.load.schedule import Schedule, ScheduledRequest, ScheduleFile
from hpcsweep.load.wire.answer import Failure
from hpcsweep.load.wire.connection import CONTROL_BYTES, READ_BYTES, Address, ServerConnection
from hpcsweep.load.wire.http1 import request_head
from hpcsweep.load.wire.pool import IN, OUT, ConnectionPool
from hpcsweep.spec.phases import ErrorCause

_OPENING_AT_ONCE = 64  # below the listen backlog of any server
_CONNECT_S = 30.0
_SENDS_IN_A_ROW = 16  # then responses are read, so that a burst of requests does not delay them
_EVENTS = 64  # per call of epoll
_MUCH_BYTES = 4096
_PENDING_READS = 5  # of one response before they are parsed; more makes longer bursts that delay other processes
_TICK_S, _TICK_LEAST_S = 0.1, 0.001  # a tenth of the shortest budget, within these
_FINE_S = 0.02  # shorter waits are timed to the microsecond; epoll rounds up to a millisecond
_NS = 1_000_000_000
_TRAFFIC_NS = _NS // 4  # between two traffic records
_RACE_NS = 1 * _NS
"""A server that closes an idle connection does so before the request is sent, or at most this long after. A server that
closes later has received the request and dropped it."""


def _address(schedule: Schedule) -> Address:
    if schedule.socket_path is not None:
        return schedule.socket_path
    info = socket.getaddrinfo(schedule.host, schedule.port, type=socket.SOCK_STREAM)[0]
    return str(info[4][0]), int(info[4][1])


class Client:
    """Sends items of a schedule and calls `report` with a record of the kind `sample` for each, and of the traffic.

    `flush` is called at least ten times per second and must not block.
    """

    def __init__(
        self,
        file: ScheduleFile,
        report: Callable[[SampleLine | TrafficLine], None],
        flush: Callable[[], None],
        *,
        api_key: str | None,
        max_concurrency: int | None,
    ) -> None:
        self._file, self._report, self._flush = file, report, flush
        self._schedule, self._recorder = file.schedule, Recorder(file.schedule)
        self._api_key = api_key
        self._limit = max_concurrency
        self._slots: deque[int] | None = None  # when each free slot became free; None: no limit
        self._offset_ns = 0
        self._busy = 0
        self._stopped = False
        self._pool = ConnectionPool(_address(self._schedule))
        name = f"[{self._schedule.host}]" if ":" in self._schedule.host else self._schedule.host
        self._host = f"{name}:{self._schedule.port}"
        shortest_s = min(self._schedule.request_timeout_s, self._schedule.token_timeout_s)
        self._tick_ns = int(min(_TICK_S, max(_TICK_LEAST_S, shortest_s / 10)) * _NS)
        self._traffic: tuple[int, int, int] | None = None
        self._traffic_at_ns = 0
        self.measured = SelfMeasurement()
        self.tally = Tally()

    def stop(self) -> None:
        """Send nothing more and abort the requests in flight, so that `run` returns soon. Safe in a signal handler."""
        self._stopped = True

    def connect(self, count: int) -> None:
        """Open `count` connections before the clock starts. Failed ones are retried when they are needed."""
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
        """Send all items, each at the earliest `due_s` after `start_ns`, and return when all have ended."""
        waiting = deque((start_ns + int(item.due_s * _NS), item) for item in items)
        slots = self._slots = None if self._limit is None else deque([start_ns] * self._limit)
        next_tick_ns = start_ns
        while (waiting or self._busy) and not self._stopped:
            now_ns = time.monotonic_ns()
            sent = 0
            while waiting and sent < _SENDS_IN_A_ROW and (slots is None or slots) and waiting[0][0] <= now_ns:
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
            wait_ns = 0 if sent == _SENDS_IN_A_ROW else until_ns - time.monotonic_ns()
            self._poll(max(0, wait_ns) / _NS, fine=fine)
        if self._stopped:
            for connection in self._pool.busy():
                self._give_up(connection, ErrorCause.ABORTED, "the load was stopped")

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def _poll(self, wait_s: float, *, fine: bool) -> None:
        """Wait at most `wait_s` and process what has arrived. `fine`: time a short wait to the microsecond."""
        if fine and 0.0 < wait_s < _FINE_S:
            select.select([self._pool.epoll], [], [], wait_s)
            wait_s = 0.0
        events = self._pool.epoll.poll(wait_s, _EVENTS)
        if not events:
            return
        begun_ns = time.monotonic_ns()
        self._offset_ns = begun_ns - time.time_ns()
        connection_of = self._pool.open.get
        for fd, mask in events:
            connection = connection_of(fd)
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
                    # perhaps the end of a chunked body, or of the connection; or many pending bytes
                    if data[-4:] == b"\r\n\r\n" or size < 5 or size > _MUCH_BYTES or len(reads) == _PENDING_READS:
                        self._process(connection)
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
        if connection.item is None:  # idle: closed by the server, or unexpected data
            self._pool.drop(connection)
        elif not got[0] and not connection.reader.begun:
            self._broken(connection, None)
        else:
            connection.reads.append(got)
            self._process(connection)

    def _process(self, connection: ServerConnection) -> None:
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
        """Send on an idle or new connection. `again`: on a new one, because the server closed an idle one."""
        try:
            connection = self._pool.new() if again else self._pool.take()
        except OSError as exc:
            self._ended(item, None, Failure(ErrorCause.CONNECT, str(exc)))
            return
        connection.begin(item, request, eligible_ns)
        if connection.connecting:
            return
        try:
            self._send(connection)
        except OSError as exc:
            self._broken(connection, exc)

    def _send(self, connection: ServerConnection) -> None:
        complete = connection.send()
        self._pool.watch_output(connection, not complete)
        if complete and self.tally.first_sent_ns is None:
            self.tally.first_sent_ns = connection.sent_ns

    def _broken(self, connection: ServerConnection, exc: OSError | None) -> None:
        """Handle a connection that ended before its response was complete."""
        item = connection.item
        if item is not None and exc is not None and not connection.connecting:
            if connection.read_rest():
                self._process(connection)
            if connection.item is None:
                return
        race = connection.was_idle and time.monotonic_ns() - connection.send_called_ns < _RACE_NS
        if item is None:
            self._pool.drop(connection)
        elif race and not connection.reader.begun:
            # the server closed an idle connection and never received the request
            self._pool.drop(connection)
            self.measured.reconnects += 1
            self._put(item, connection.request, connection.eligible_ns, again=True)
        else:
            cause = ErrorCause.CONNECT if connection.connecting else ErrorCause.CUT
            self._give_up(connection, cause, str(exc or "closed before the response started"))

    def _tick(self, now_ns: int) -> None:
        """Enforce the budgets, report the traffic and flush."""
        request_ns = int(self._schedule.request_timeout_s * _NS)
        token_ns = int(self._schedule.token_timeout_s * _NS)
        for connection in self._pool.busy():
            if connection.connecting and now_ns - connection.begun_ns > _CONNECT_S * _NS:
                self._give_up(connection, ErrorCause.CONNECT, f"no connection within {_CONNECT_S:.0f} s")
            elif now_ns - (connection.sent_ns or connection.begun_ns) > request_ns:
                self._give_up(
                    connection, ErrorCause.REQUEST_TIMEOUT, f"not complete after {self._attempt_time(request_ns)}"
                )
            elif connection.last_ns and now_ns - connection.last_ns > token_ns:
                if connection.reads:
                    self._process(connection)
                if connection.item is not None and connection.answer.stamps:
                    silent_ns = now_ns - connection.last_ns
                    self._give_up(connection, ErrorCause.TOKEN_TIMEOUT, f"no data for {self._attempt_time(silent_ns)}")
        self._report_traffic(now_ns)
        self._flush()

    def _report_traffic(self, now_ns: int) -> None:
        """Report the requests in flight if they changed. The agent uses this to detect progress."""
        if now_ns - self._traffic_at_ns < _TRAFFIC_NS:
            return
        busy = list(self._pool.busy())
        first = sum(not connection.answer.stamps and not connection.reads for connection in busy)
        last_ns = max((connection.last_ns for connection in busy), default=0)
        traffic = (len(busy), first, max(last_ns, self.tally.last_end_ns or 0))
        if traffic != self._traffic:
            self._traffic, self._traffic_at_ns = traffic, now_ns
            self._report(self._recorder.traffic(*traffic))

    def _attempt_time(self, duration_ns: int) -> str:
        return f"{duration_ns / _NS * self._schedule.scale:.1f} s"

    def _give_up(self, connection: ServerConnection, cause: ErrorCause, detail: str) -> None:
        """End a request that the server has not ended, unless the pending reads complete it."""
        if connection.reads:
            self._process(connection)
        if connection.item is None:
            return
        if connection.answer.done:  # only the end of the HTTP framing is missing
            connection.reader.keep_alive = False
            self._succeed(connection)
        else:
            self._fail(connection, Failure(cause, f"{detail}, {len(connection.answer.stamps)} chunks"))

    def _succeed(self, connection: ServerConnection) -> None:
        """Record a response that has ended as a success, or as a failure if it is not valid."""
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
        """Free the slot of a request that has ended, and report its record."""
        now_ns = time.monotonic_ns()
        self._busy -= 1
        if self._slots is not None:
            self._slots.append(now_ns)
        last_ns = connection.last_ns if connection is not None else 0
        self.tally.count(failure, last_ns or now_ns)
        self._report(self._recorder.sample(item, connection, failure))
        if connection is not None and connection.sent_ns:
            self.measured.add(connection)

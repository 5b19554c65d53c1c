"""One connection to the server and its current request. Times are monotonic nanoseconds."""

import errno
import socket
import struct
import time

from hpcsweep.load.schedule import ScheduledRequest
from hpcsweep.load.wire.answer import Failure, StreamedResponse, plain_end
from hpcsweep.load.wire.http1 import HttpError, ResponseReader
from hpcsweep.spec.phases import ErrorCause

READ_BYTES = 1 << 13  # four times as much needs a sixth more memory at 1,000 streams, and the same CPU
CONTROL_BYTES = socket.CMSG_SPACE(16)
SO_TIMESTAMPNS = 35  # linux/asm-generic/socket.h; the socket module does not define it
_EARLY_NS = 10_000_000  # a timestamp may be later than the start of the batch in which it was read
_STAMP = struct.Struct("qq")

_ROOM_S = 2
"""How long a new connection to a Unix socket waits while the listen backlog is full. TCP retries in the kernel; on a
Unix socket a non-blocking connect fails immediately."""

Address = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""

Received = tuple[bytes, list[tuple[int, int, bytes]], int, object]
"""Result of `recvmsg`: data, control messages, flags, address."""


class ServerConnection:
    """A non-blocking socket. `item`: the request on it; None: idle.

    While `streaming`, the send loop only appends the result of `recvmsg` to `reads`. It calls `process_reads` when the
    response may have ended or when many bytes are waiting, so that parsing does not delay other connections.
    """

    __slots__ = (
        "answer",
        "begun_ns",
        "connecting",
        "eligible_ns",
        "fd",
        "has_kernel_timestamps",
        "item",
        "last_ns",
        "out",
        "reader",
        "reads",
        "recvmsg",
        "request",
        "send_called_ns",
        "sent_ns",
        "sock",
        "streaming",
        "wants_out",
        "was_idle",
    )

    def __init__(self, address: Address) -> None:
        """Start to connect. Raises OSError when that fails immediately."""
        if isinstance(address, str):
            family = socket.AF_UNIX
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if family != socket.AF_UNIX:
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)  # Unix stream sockets have no such stamps
            code = self.sock.connect_ex(address)
            if code == errno.EAGAIN and family == socket.AF_UNIX:
                code = self._wait_for_room(address)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, errno.errorcode.get(code, str(code)))
        except OSError:
            self.sock.close()
            raise
        self.fd = self.sock.fileno()
        self.recvmsg = self.sock.recvmsg
        self.connecting = self.wants_out = code != 0
        self.was_idle = False  # it was idle, so the server may have closed it
        self.reader = ResponseReader()
        self.item: ScheduledRequest | None = None
        self.begin(None, b"", 0)

    def _wait_for_room(self, address: Address) -> int:
        """Connect to a Unix socket whose backlog is full. Return the error code."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _ROOM_S, 0))
        self.sock.setblocking(True)
        code = self.sock.connect_ex(address)
        self.sock.setblocking(False)
        return code

    def connected(self) -> None:
        """Complete connecting when the socket has become writable. Raises OSError."""
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, errno.errorcode.get(code, str(code)))
        self.connecting = False

    def begin(self, item: ScheduledRequest | None, request: bytes, eligible_ns: int) -> None:
        """Assign a request that could have been sent from `eligible_ns` on; None: no request."""
        self.item, self.eligible_ns = item, eligible_ns
        self.begun_ns = time.monotonic_ns()
        self.send_called_ns = self.sent_ns = 0  # before and after the call that sent the last byte
        self.last_ns = 0  # when data was last received
        self.request, self.out = request, memoryview(request)
        self.reads: list[Received] = []
        self.streaming = self.has_kernel_timestamps = False
        self.answer = StreamedResponse()
        self.reader.reset()

    def send(self) -> bool:
        """Send the rest of the request. Return whether the kernel has taken all of it. Raises OSError."""
        self.send_called_ns = time.monotonic_ns()
        try:
            self.out = self.out[self.sock.send(self.out) :]
        except BlockingIOError:
            return False
        if self.out:
            return False
        self.sent_ns = time.monotonic_ns()
        return True

    def process_reads(self, offset_ns: int) -> bool:
        """Parse the pending reads. Return whether the response has ended, complete as HTTP. Raises Failure.

        `offset_ns`: monotonic minus Unix time, for the kernel's timestamps.
        """
        reads, self.reads = self.reads, []
        answer = self.answer
        ended = False
        for data, control, _, _ in reads:
            at_ns = self._stamp_ns(control, offset_ns)
            if answer.head and self.reader.between_chunks:
                # nearly every chunk is one event that differs from the one before only in its text
                chunks, read_bytes = _match_repeated_chunks(data, answer.head, answer.tail)
                answer.add_plain(chunks, at_ns)
                data = data[read_bytes:] if read_bytes else data
                if chunks and not data:
                    continue
            ended = self._take(data, at_ns)
        self.streaming = self.reader.streaming
        return ended

    def _stamp_ns(self, control: list[tuple[int, int, bytes]], offset_ns: int) -> int:
        """Return when the kernel received the data, or when it was read, without a plausible timestamp."""
        if control and control[0][1] == SO_TIMESTAMPNS:
            seconds, nanoseconds = _STAMP.unpack(control[0][2])
            at_ns: int = seconds * 1_000_000_000 + nanoseconds + offset_ns
            if self.send_called_ns <= at_ns <= self.last_ns + _EARLY_NS:
                self.has_kernel_timestamps = True
                return at_ns
        return self.last_ns

    def _take(self, data: bytes, at_ns: int) -> bool:
        reader, answer = self.reader, self.answer
        try:
            if data:
                body = reader.feed(data)
            else:
                body = b""
                reader.eof()
        except HttpError as exc:
            raise Failure(ErrorCause.BAD_ANSWER, str(exc)) from None
        if reader.status is not None and (reader.status != 200 or "event-stream" not in reader.content_type):
            self._refused(body, at_end=reader.complete or not data)
            return False
        if body:
            answer.feed(body, at_ns)
        if reader.complete:
            return True
        if not data:
            if answer.done:  # complete but for the last frame of the chunked encoding
                return True
            raise Failure(ErrorCause.CUT, f"the server closed the connection after {len(answer.stamps)} chunks")
        return False

    def _refused(self, body: bytes, *, at_end: bool) -> None:
        """Collect the text of a response that is not a stream. Raises Failure with it at its end."""
        self.answer.plain += body[: 300 - len(self.answer.plain)]
        if not at_end:
            return
        text = self.answer.plain.decode("utf-8", "replace")
        if self.reader.status != 200:
            raise Failure(ErrorCause.HTTP_ERROR, f"status {self.reader.status}: {text}")
        raise Failure(ErrorCause.NOT_STREAMED, f"content type {self.reader.content_type!r}: {text}")

    def read_rest(self) -> bool:
        """Read what arrived before the connection broke. Return whether there was any data.

        A server that rejects a long request may respond and close before it has read the whole request.
        """
        try:
            got = self.recvmsg(READ_BYTES, CONTROL_BYTES)
        except OSError:
            return False
        if got[0]:
            self.last_ns = time.monotonic_ns()
            self.reads += [got, (b"", [], 0, None)]
        return bool(got[0])

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


def _match_repeated_chunks(data: bytes, head: bytes, tail: bytes) -> tuple[int, int]:
    """Return (number, bytes) of the chunks at the start of `data` that consist of `head`, a text and `tail`."""
    chunks = at = 0
    while at < len(data):
        start = data.find(b"\r", at) + 2  # after the line with the chunk's size
        after = plain_end(data, start, head, tail)
        if not after:
            break
        try:
            if int(data[at : start - 2], 16) != after - start - 2:
                break
        except ValueError:
            break
        chunks, at = chunks + 1, after
    return chunks, at

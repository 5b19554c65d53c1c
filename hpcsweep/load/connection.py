"""One connection to the server, and the request that is on it."""

import errno
import socket
import struct
import time

from hpcsweep.load.answer import Answer, Failure
from hpcsweep.load.http1 import HttpError, ResponseReader
from hpcsweep.load.schedule import Item

READ_BYTES = 1 << 16
SO_TIMESTAMPNS = 35  # linux/asm-generic/socket.h; the socket module does not name it
_STAMP_BYTES = socket.CMSG_SPACE(16)
_STAMP = struct.Struct("qq")


class Connection:
    """A non-blocking socket. `item` None: idle. Times are monotonic seconds."""

    __slots__ = (
        "answer",
        "begun_s",
        "connecting",
        "fd",
        "item",
        "last_s",
        "out",
        "reader",
        "ready_s",
        "request",
        "rested",
        "sent_s",
        "sock",
    )

    def __init__(self, address: tuple[str, int], kernel_stamps: bool) -> None:
        """Begin to connect. Raises OSError when that fails at once."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if kernel_stamps:
                self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            code = self.sock.connect_ex(address)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, errno.errorcode.get(code, str(code)))
        except OSError:
            self.sock.close()
            raise
        self.fd = self.sock.fileno()
        self.connecting = code != 0
        self.reader = ResponseReader()
        self.rested = False  # has been idle: the server may have closed it meanwhile
        self.item: Item | None = None
        self.request = b""
        self.out = memoryview(b"")
        self.answer = Answer()
        self.ready_s = self.begun_s = self.sent_s = self.last_s = 0.0

    def connected(self) -> None:
        """The socket has become writable: connected, or not. Raises OSError."""
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, errno.errorcode.get(code, str(code)))
        self.connecting = False

    def begin(self, item: Item, request: bytes, ready_s: float) -> None:
        """Take a request that could have been sent at `ready_s`."""
        self.item, self.ready_s, self.begun_s = item, ready_s, time.monotonic()
        self.sent_s = self.last_s = 0.0
        self.request, self.out = request, memoryview(request)
        self.answer = Answer()
        self.reader.reset()

    def send(self) -> bool:
        """Hand over what is left of the request; True: the kernel has all of it. Raises OSError."""
        try:
            self.out = self.out[self.sock.send(self.out) :]
        except BlockingIOError:
            return False
        return not self.out

    def receive(self) -> bytes:
        """What has come; empty: the peer has closed. Raises OSError, BlockingIOError when nothing is there."""
        return self.sock.recv(READ_BYTES)

    def receive_stamped(self) -> tuple[bytes, int]:
        """What has come, and when the kernel got the last of it: Unix nanoseconds; 0: it does not say."""
        data, control, _, _ = self.sock.recvmsg(READ_BYTES, _STAMP_BYTES)
        if control and control[0][1] == SO_TIMESTAMPNS:
            seconds, nanoseconds = _STAMP.unpack(control[0][2])
            return data, seconds * 1_000_000_000 + nanoseconds
        return data, 0

    def take(self, data: bytes, at: float) -> bool:
        """Read `data`, which came at `at`; True: the answer has ended and is a success. Raises Failure."""
        reader, answer = self.reader, self.answer
        self.last_s = at
        try:
            if data:
                body = reader.feed(data)
            else:
                body = b""
                reader.eof()
        except HttpError as exc:
            raise Failure("bad_answer", str(exc)) from None
        if reader.status is not None and (reader.status != 200 or "event-stream" not in reader.content_type):
            self._refused(body, at_end=reader.complete or not data)
            return False
        if body:
            answer.feed(body, at)
        if reader.complete:
            return True
        if not data:
            if answer.done:  # all of it came; only the last chunk's frame is missing
                return True
            raise Failure("cut", f"the server closed the connection after {len(answer.stamps)} chunks")
        return False

    def _refused(self, body: bytes, *, at_end: bool) -> None:
        """Keep the text of an answer that is no stream, and fail with it when it has ended."""
        self.answer.plain += body[: 300 - len(self.answer.plain)]
        if not at_end:
            return
        text = self.answer.plain.decode("utf-8", "replace")
        if self.reader.status != 200:
            raise Failure("http_error", f"status {self.reader.status}: {text}")
        raise Failure("not_streamed", f"content type {self.reader.content_type!r}: {text}")

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

"""A small HTTP/1.1 server on asyncio protocols: keep-alive, bodies with a length, chunked responses."""

import asyncio
import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

_HEAD_LIMIT = 64 << 10
_BODY_LIMIT = 64 << 20


@dataclass(frozen=True)
class HttpRequest:
    """One request, with header names in lower case. `received_s`: monotonic time at which it was complete."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    received_s: float


class HttpConnection(asyncio.Protocol):
    """One connection of a client. Requests are handled one after another, in order of arrival.

    `on_lost` is called once when the client disconnects before its answer is complete.
    """

    def __init__(
        self,
        handle: Callable[[HttpRequest, "HttpConnection"], None],
        access: Callable[[str, str, str], None],
    ) -> None:
        self._handle, self._access = handle, access
        self._buffer = bytearray()
        self._received_s = 0.0
        self._answering = False
        self._request: HttpRequest | None = None
        self._close_after = False
        self._transport: asyncio.Transport | None = None
        self.on_lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Handle a new connection of a client."""
        self._transport = cast(asyncio.Transport, transport)
        raw = transport.get_extra_info("socket")
        if raw.family == socket.AF_UNIX:
            self._peer = "unix:"
            return
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host, port = transport.get_extra_info("peername")[:2]
        self._peer = f"{host}:{port}"

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of the connection."""
        lost, self.on_lost = self.on_lost, None
        self._transport = None
        if lost is not None:
            lost()

    def data_received(self, data: bytes) -> None:
        """Handle bytes of a request."""
        self._buffer += data
        self._received_s = time.monotonic()
        self._next()

    def _next(self) -> None:
        """Handle the next complete request in the buffer, unless an answer is not complete yet."""
        while not self._answering and self._transport is not None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _HEAD_LIMIT:
                    self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return
            first, *rows = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
            headers = {name.strip().lower(): value.strip() for name, _, value in (row.partition(":") for row in rows)}
            words = first.split(" ")
            length = headers.get("content-length", "0")
            if len(words) != 3 or not length.isdigit():
                self._refuse(HTTPStatus.BAD_REQUEST)
                return
            if "transfer-encoding" in headers:
                self._refuse(HTTPStatus.LENGTH_REQUIRED)
                return
            if int(length) > _BODY_LIMIT:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                return
            begin, size = end + 4, int(length)
            if len(self._buffer) < begin + size:
                if headers.get("expect", "").lower() == "100-continue" and len(self._buffer) == begin:
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            body = bytes(self._buffer[begin : begin + size])
            del self._buffer[: begin + size]
            self._answering = True
            self._close_after = headers.get("connection", "").lower() == "close"
            self._request = HttpRequest(words[0], words[1], headers, body, self._received_s)
            self._handle(self._request, self)

    def respond(self, status: int, body: Any, content_type: str = "application/json") -> None:
        """Send a complete response: a string as it is, anything else as JSON."""
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self._head(status, f"content-type: {content_type}\r\ncontent-length: {len(data)}\r\n", data)
        self._done()

    def start_stream(self) -> None:
        """Begin a stream of server-sent events."""
        self._head(200, "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n")

    def send(self, event: bytes) -> None:
        """Send one chunk of the stream."""
        if self._transport is not None:
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))

    def end_stream(self) -> None:
        """End the stream. The connection can be used again."""
        if self._transport is not None:
            self._transport.write(b"0\r\n\r\n")
        self._done()

    def reset(self) -> None:
        """Reset the connection."""
        transport, self.on_lost = self._transport, None
        if transport is not None and transport.get_extra_info("socket").family == socket.AF_UNIX:
            transport.abort()  # a Unix socket has no reset: the client reads an end of file
        elif transport is not None:
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()

    def _head(self, status: int, headers: str, body: bytes = b"") -> None:
        reason = HTTPStatus(status).phrase
        if self._request is not None:
            self._access(self._peer, f"{self._request.method} {self._request.path}", f"{status} {reason}")
        if self._transport is not None:
            close = "connection: close\r\n" if self._close_after else ""
            self._transport.write(
                f"HTTP/1.1 {status} {reason}\r\nserver: uvicorn\r\n{headers}{close}\r\n".encode() + body
            )

    def _done(self) -> None:
        self._answering = False
        self._request = self.on_lost = None
        if self._transport is not None and self._close_after:
            self._transport.close()
        elif self._buffer:
            asyncio.get_running_loop().call_soon(self._next)

    def _refuse(self, status: HTTPStatus) -> None:
        self._close_after = True
        self._buffer.clear()
        self.respond(status, status.phrase, "text/plain; charset=utf-8")

"""HTTP/1.1 as a load client needs it: the head of a request, and the body of a response as it comes in pieces."""

_HEAD_LIMIT_BYTES = 1 << 16


class HttpError(Exception):
    """The bytes are no HTTP/1.1 response."""


def request_head(host: str, path: str, body_bytes: int, api_key: str | None) -> bytes:
    """Request line and headers of a POST of JSON, up to and with the empty line."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",  # with the port; an IPv6 address in brackets
        "Content-Type: application/json",
        "Accept: text/event-stream",
        f"Content-Length: {body_bytes}",
    ]
    if api_key:
        lines.append(f"Authorization: Bearer {api_key}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class ResponseReader:
    """Reads one response after the other from one connection; `reset` begins the next.

    `status` is None until the head is there; `complete` says that the body has ended by HTTP's own rules;
    `keep_alive` whether the connection may carry another request.
    """

    __slots__ = ("_buffer", "_chunked", "_left", "_state", "complete", "content_type", "keep_alive", "status")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the response read so far."""
        self._buffer = b""
        self._state = "head"
        self._chunked = False
        self._left: int | None = None  # bytes of the body, or of the chunk, still to come; None: until the end of file
        self.status: int | None = None
        self.content_type = ""
        self.keep_alive = True
        self.complete = False

    @property
    def streaming(self) -> bool:
        """A chunked body with status 200 is under way."""
        return self._chunked and self.status == 200

    @property
    def between_chunks(self) -> bool:
        """What comes next begins with the size of a chunk."""
        return self._state == "size" and not self._buffer

    @property
    def begun(self) -> bool:
        """A byte of the response has come."""
        return bool(self._buffer) or self.status is not None

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body in `data`, without HTTP's framing. Raises HttpError."""
        self._buffer += data
        if self._state == "head" and not self._read_head():
            return b""
        return self._read_chunks() if self._chunked else self._read_plain()

    def eof(self) -> None:
        """The peer has closed: ends a body that has no stated length."""
        if self._state == "plain" and self._left is None:
            self.complete = True
        self.keep_alive = False

    def _read_head(self) -> bool:
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _HEAD_LIMIT_BYTES:
                    raise HttpError(f"no end of the headers in {len(self._buffer)} bytes")
                if not b"HTTP/1.".startswith(self._buffer[:7]):
                    raise HttpError(f"not an HTTP/1 response: {self._buffer[:60]!r}")
                return False
            head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            status = self._parse_head(head)
            if status >= 200:
                self.status = status
                return True

    def _parse_head(self, head: bytes) -> int:
        first, *lines = head.decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit()):
            raise HttpError(f"not an HTTP/1 response: {first[:60]!r}")
        if code.startswith("1"):  # the real one follows
            return int(code)
        headers: dict[str, str] = {}
        for line in lines:
            name, sep, value = line.partition(":")
            if not sep:
                raise HttpError(f"a header without a colon: {line[:60]!r}")
            headers[name.strip().lower()] = value.strip()
        connection = headers.get("connection", "").lower()
        self.keep_alive = connection != "close" and (version != "HTTP/1.0" or connection == "keep-alive")
        self.content_type = headers.get("content-type", "").lower()
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = headers.get("content-length", "")
        if self._chunked:
            self._state = "size"
        elif length:
            if not (length.isascii() and length.isdigit()):
                raise HttpError(f"content-length {length!r}")
            self._state, self._left = "plain", int(length)
        elif code in ("204", "304"):
            self._state, self._left = "plain", 0
        else:
            self._state, self._left = "plain", None
        return int(code)

    def _read_plain(self) -> bytes:
        body, self._buffer = self._buffer, b""
        if self._left is not None:
            if len(body) > self._left:
                raise HttpError(f"{len(body) - self._left} bytes after the end of the body")
            self._left -= len(body)
            self.complete = self._left == 0
        return body

    def _read_chunks(self) -> bytes:
        parts = []
        buffer, at = self._buffer, 0
        while not self.complete:
            if self._state == "data":
                left = self._left or 0
                part = buffer[at : at + left]
                parts.append(part)
                at += len(part)
                self._left = left - len(part)
                if self._left:
                    break
                self._state = "data end"
            end = buffer.find(b"\r\n", at)
            if end < 0:
                if len(buffer) - at > _HEAD_LIMIT_BYTES:
                    raise HttpError("the size of a chunk does not end")
                break
            line, at = buffer[at:end], end + 2
            if self._state == "data end":
                if line:
                    raise HttpError(f"a chunk is longer than its size says: {line[:20]!r}")
                self._state = "size"
            elif self._state == "size":
                self._left = _chunk_size(line)
                self._state = "data" if self._left else "trailer"
            elif not line:  # the empty line after the trailers
                self.complete = True
        self._buffer = buffer[at:]
        if self.complete and self._buffer:
            raise HttpError(f"{len(self._buffer)} bytes after the end of the body")
        return b"".join(parts)


def _chunk_size(line: bytes) -> int:
    digits = line.split(b";", 1)[0].strip()
    if not digits.isalnum():
        raise HttpError(f"size of a chunk: {line[:20]!r}")
    try:
        return int(digits, 16)
    except ValueError:
        raise HttpError(f"size of a chunk: {line[:20]!r}") from None

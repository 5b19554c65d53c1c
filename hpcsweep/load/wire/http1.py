"""HTTP/1.1 for the load client: the head of a request, and a parser of responses that arrive in pieces."""

_HEAD_LIMIT_BYTES = 1 << 16


class HttpError(Exception):
    """The bytes are not an HTTP/1.1 response."""


def request_head(host: str, path: str, body_bytes: int, api_key: str | None) -> bytes:
    """Return request line and headers of a POST of JSON, including the empty line. `host`: with the port."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",  # an IPv6 address in brackets
        "Content-Type: application/json",
        "Accept: text/event-stream",
        f"Content-Length: {body_bytes}",
    ]
    if api_key:
        lines.append(f"Authorization: Bearer {api_key}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class ResponseReader:
    """Parses the responses of one connection, one after the other; `reset` starts the next.

    `status`: None until the head is complete. `complete`: the body has ended by the rules of HTTP. `keep_alive`: the
    connection may be used for another request.
    """

    __slots__ = ("_buffer", "_chunked", "_left", "_state", "complete", "content_type", "keep_alive", "status")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Discard the response read so far."""
        self._buffer = b""
        self._state = "head"
        self._chunked = False
        self._left: int | None = None  # missing bytes of the body or chunk; None: until end of file
        self.status: int | None = None
        self.content_type = ""
        self.keep_alive = True
        self.complete = False

    @property
    def streaming(self) -> bool:
        """Return whether a chunked body with status 200 is being read."""
        return self._chunked and self.status == 200

    @property
    def between_chunks(self) -> bool:
        """Return whether the next byte starts the size of a chunk."""
        return self._state == "size" and not self._buffer

    @property
    def begun(self) -> bool:
        """Return whether any byte of the response has arrived."""
        return bool(self._buffer) or self.status is not None

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the body in `data`, without the framing of HTTP. Raises HttpError."""
        self._buffer += data
        if self._state == "head" and not self._read_head():
            return b""
        return self._read_chunks() if self._chunked else self._read_plain()

    def eof(self) -> None:
        """Handle the end of the connection, which ends a body without a stated length."""
        if self._state == "plain" and self._left is None:
            self.complete = True
        self.keep_alive = False

    def _read_head(self) -> bool:
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _HEAD_LIMIT_BYTES:
                    raise HttpError(f"headers are longer than {len(self._buffer)} bytes")
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
        if code.startswith("1"):  # informational; the final response follows
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
                raise HttpError(f"invalid content-length {length!r}")
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
                    raise HttpError("the line with the size of a chunk does not end")
                break
            line, at = buffer[at:end], end + 2
            if self._state == "data end":
                if line:
                    raise HttpError(f"a chunk is longer than its stated size: {line[:20]!r}")
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
        raise HttpError(f"invalid chunk size {line[:20]!r}")
    try:
        return int(digits, 16)
    except ValueError:
        raise HttpError(f"invalid chunk size {line[:20]!r}") from None

"""Server-sent events: split bytes that arrive in pieces of any length into complete events."""


class EventSplitter:
    """Splits a stream into events by the HTML standard: CRLF, LF or CR ends a line, an empty line ends an event.

    It works on bytes, so that a character split between two packets is decoded as a whole.
    """

    __slots__ = ("_data", "_line", "_name", "_skip_lf", "pending")

    def __init__(self) -> None:
        self._line = b""
        self._data: list[bytes] = []
        self._name = b""
        self._skip_lf = False
        self.pending = False  # there are bytes of an incomplete event

    def feed(self, body: bytes) -> list[tuple[bytes, bytes]]:
        """Return (name, data) of every event that ends in `body`; the name may be empty."""
        events: list[tuple[bytes, bytes]] = []
        if self._skip_lf and body[:1] == b"\n":
            body = body[1:]
        self._skip_lf = False
        if not body:
            return events
        text = self._line + body
        self._skip_lf = text.endswith(b"\r")
        lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._line = lines.pop()
        for line in lines:
            if line:
                self._take_line(line)
            elif self._data or self._name:
                events.append((self._name, b"\n".join(self._data)))
                self._data, self._name = [], b""
        self.pending = bool(self._line or self._data or self._name)
        return events

    def _take_line(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value

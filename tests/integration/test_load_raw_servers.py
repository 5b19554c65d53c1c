"""The load process against servers that break a connection in ways that need a bare socket."""

import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest
from load_process import config, load

REFUSED = b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large"
GOOD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 101\r\n\r\n"
    b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n: a comment    \n\n"
)


class Raw:
    """Calls `serve` with every connection, in a thread of its own each. `requests`: heads that came."""

    def __init__(self, serve: Callable[["Raw", socket.socket], None]) -> None:
        self._serve = serve
        self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(self, connection), daemon=True).start()

    def request(self, connection: socket.socket) -> bool:
        """Read one request, head and body; whether there was one."""
        data = b""
        while b"\r\n\r\n" not in data:
            got = connection.recv(65536)
            if not got:
                return False
            data += got
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)
        self.requests += 1
        return True

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def raw():
    made: list[Raw] = []

    def make(serve):
        made.append(Raw(serve))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_refusal_in_the_middle_of_a_long_request_is_told(raw, tmp_path):
    def serve(server, connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.recv(1024)
        connection.sendall(REFUSED)
        time.sleep(0.2)
        connection.close()  # with unread bytes: the kernel resets it

    result = load(config(tmp_path, raw(serve).url, ["x" * 8_000_000]))
    assert result.ended.failures == {"http_error": 1}
    assert "too large" in result.samples[0].error_detail


def _first_good_then(how):
    def serve(server, connection):
        if server.request(connection):
            connection.sendall(GOOD)
        if server.request(connection):
            how(connection)
        connection.close()

    return serve


def test_a_request_that_the_server_dropped_after_a_while_is_not_sent_again(raw, tmp_path):
    server = raw(_first_good_then(lambda connection: time.sleep(1.5)))
    result = load(config(tmp_path, server.url, ["x", "y"], arrival={"max_concurrency": 1}))
    assert (result.ended.completed, result.ended.failures) == (1, {"cut": 1})
    assert server.requests == 2


def test_an_idle_connection_that_was_closed_costs_one_more_try_on_a_new_one(raw, tmp_path):
    def reset(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    server = raw(_first_good_then(reset))
    result = load(config(tmp_path, server.url, ["x", "y"], arrival={"max_concurrency": 1}))
    assert (result.ended.completed, result.ended.failures) == (2, {})
    assert server.requests == 3

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsweep.load.wire.http1 import HttpError, ResponseReader, request_head
from hpcsweep.load.wire.sse import EventSplitter

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def read(reader: ResponseReader, *pieces: bytes) -> bytes:
    return b"".join(reader.feed(piece) for piece in pieces)


@pytest.mark.parametrize(
    ("response", "body"),
    [
        pytest.param(CHUNKED + b"3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\n\r\n", b"abc0123456789", id="chunks"),
        pytest.param(CHUNKED + b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n", b"abc", id="a trailer"),
        pytest.param(b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nabc", b"abc", id="content-length"),
        pytest.param(b"HTTP/1.1 204 No\r\n\r\n", b"", id="no body by its status"),
        pytest.param(b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x", id="100 first"),
    ],
)
@given(cuts=st.lists(st.integers(0, 120), max_size=6))
def test_a_response_is_the_same_however_it_is_cut(response, body, cuts):
    reader = ResponseReader()
    edges = sorted({0, len(response), *(cut for cut in cuts if cut < len(response))})
    assert read(reader, *(response[a:b] for a, b in pairwise(edges))) == body
    assert reader.complete and reader.keep_alive
    reader.reset()
    assert read(reader, response) == body


@pytest.mark.parametrize(
    ("response", "told"),
    [
        (b"220 ready\r\n\r\n", "not an HTTP/1 response"),
        (b"HTTP/1.1 abc\r\n\r\n", "not an HTTP/1 response"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "without a colon"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", "content-length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", "1 bytes after the end"),
        (CHUNKED + b"xyz\r\n", "invalid chunk size"),
        (CHUNKED + b"\r\n", "invalid chunk size"),
        (CHUNKED + b"1\r\nab\r\n", "longer than its stated size"),
        (CHUNKED + b"0\r\n\r\nmore", "4 bytes after the end"),
        (b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000, "headers are longer than"),
        (CHUNKED + b"1" * 70_000, "does not end"),
    ],
)
def test_what_is_no_response_is_told(response, told):
    with pytest.raises(HttpError, match=told):
        read(ResponseReader(), response)


def test_a_body_without_length_ends_with_the_connection():
    reader = ResponseReader()
    assert read(reader, b"HTTP/1.0 200 OK\r\n\r\n", b"ab", b"c") == b"abc"
    assert not reader.complete
    reader.eof()
    assert reader.complete and not reader.keep_alive


@pytest.mark.parametrize(
    ("head", "keep"),
    [
        ("HTTP/1.1 200 OK", True),
        ("HTTP/1.1 200 OK\r\nConnection: close", False),
        ("HTTP/1.0 200 OK", False),
        ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive", True),
    ],
)
def test_keep_alive(head, keep):
    reader = ResponseReader()
    reader.feed(f"{head}\r\nContent-Length: 0\r\n\r\n".encode())
    assert (reader.complete, reader.keep_alive) == (True, keep)


def test_a_request_head_has_the_key_only_when_there_is_one():
    assert b"Authorization: Bearer k\r\n" in request_head("h:1", "/v1/x", 7, "k")
    assert request_head("h:1", "/v1/x", 7, None) == (
        b"POST /v1/x HTTP/1.1\r\nHost: h:1\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n"
        b"Content-Length: 7\r\n\r\n"
    )


STREAM = (
    'data: {"a": "\u00e9\U0001f600"}\n\n: ping\n\n'
    "event: error\ndata: one\ndata: two\n\ndata:x\n\nid: 7\n\ndata: [DONE]\n\n"
)
EVENTS = [
    (b"", '{"a": "\u00e9\U0001f600"}'.encode()),
    (b"error", b"one\ntwo"),
    (b"", b"x"),
    (b"", b"[DONE]"),
]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@given(cuts=st.lists(st.integers(0, 150), max_size=8))
def test_events_are_the_same_however_they_are_cut(newline, cuts):
    stream = STREAM.encode().replace(b"\n", newline)
    splitter = EventSplitter()
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    events = [event for a, b in pairwise(edges) for event in splitter.feed(stream[a:b])]
    assert events == EVENTS
    assert not splitter.pending


def test_half_an_event_is_pending():
    splitter = EventSplitter()
    assert splitter.feed(b"data: {") == []
    assert splitter.pending

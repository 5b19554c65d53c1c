import json
import socket
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpcsweep.load.wire.answer import Failure, StreamedResponse
from hpcsweep.load.wire.connection import ServerConnection

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def connection():
    """A connection whose reads are given by hand."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = ServerConnection(server.getsockname())
        yield found
        found.close()


def event(text: str, *, chat: bool, compact: bool, finish: str | None = None) -> bytes:
    choice: dict[str, object] = {"index": 0, "finish_reason": finish}
    choice |= {"delta": {"content": text}} if chat else {"text": text}
    separators = (",", ":") if compact else None
    body = json.dumps({"id": "c", "choices": [choice], "usage": None}, ensure_ascii=False, separators=separators)
    return b"data: " + body.encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def read(connection: ServerConnection, pieces: list[bytes], *, plain_reads: bool) -> StreamedResponse:
    """The answer of these reads. `plain_reads` False: every one goes through the parsers."""
    connection.begin(None, b"", 0)
    connection.answer.learned = 0 if plain_reads else 99
    for number, piece in enumerate(pieces):
        connection.last_ns = number
        connection.reads.append((piece, [], 0, None))
        if number % 3 == 2:
            connection.process_reads(0)
    connection.process_reads(0)
    return connection.answer


TEXTS = st.lists(st.text(max_size=6) | st.sampled_from(['"', "\\", '\\"', "", '","text":"', "\n", "é😀"]), max_size=12)


@given(texts=TEXTS, cuts=st.lists(st.integers(0, 2500), max_size=10), chat=st.booleans(), compact=st.booleans())
@example(texts=["a", "\\", "b", '"'], cuts=[], chat=False, compact=True)
@example(texts=["a", "b", "c"], cuts=[200, 201], chat=True, compact=True)
def test_reads_that_need_no_parser_give_what_the_parsers_give(connection, texts, cuts, chat, compact):
    chunks = [chunk(event(text, chat=chat, compact=compact)) for text in texts]
    chunks.append(chunk(event("end", chat=chat, compact=compact, finish="stop") + b"data: [DONE]\n\n"))
    stream = b"".join(chunks)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for pieces in (chunks, [stream[a:b] for a, b in pairwise(edges)], [stream]):
        fast = read(connection, [HEAD, *pieces], plain_reads=True)
        slow = read(connection, [HEAD, *pieces], plain_reads=False)
        assert (fast.stamps, fast.texts) == (slow.stamps, slow.texts)
        assert (len(fast.stamps), fast.texts) == (len(texts) + 1, sum(map(bool, texts)) + 1)
        assert fast.done and fast.finish_reason == "stop"


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(b"data: {}\n\n", id="no choices"),
        pytest.param(chunk(event("x", chat=False, compact=True))[:-2] + b"xx", id="a frame that is broken"),
    ],
)
def test_a_chunk_with_a_wrong_frame_is_never_plain(connection, odd):
    plain = chunk(event("a", chat=False, compact=True))
    wrong = b"ff" + plain[2:] if odd.startswith(b"data") else odd
    with pytest.raises(Failure) as caught:
        read(connection, [HEAD, plain, plain, wrong, plain, plain], plain_reads=True)
    assert caught.value.cause == "bad_answer"


def answered(*events: object) -> StreamedResponse:
    answer = StreamedResponse()
    for number, one in enumerate(events):
        data = one if isinstance(one, bytes) else json.dumps(one).encode()
        answer.feed(b"data: " + data + b"\n\n", number)
    return answer


def token(text: str = "x", finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def usage(prompt: object = 5, completion: object = 2, **more: object) -> dict[str, object]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **more}}


@pytest.mark.parametrize(
    ("delta", "brings"),
    [
        ({"content": "x"}, True),
        ({"content": ""}, True),
        ({"role": "assistant", "content": ""}, False),
        ({"role": "assistant"}, False),
        ({"role": "assistant", "content": "x"}, True),
        ({"reasoning_content": "hm"}, True),
        ({"tool_calls": [{"index": 0}]}, True),
        ({}, False),
        ({"content": None}, False),
    ],
)
def test_what_brings_a_token(delta, brings):
    assert bool(answered({"choices": [{"delta": delta, "finish_reason": None}]}).stamps) == brings


def test_odd_values_stay_out_of_the_records():
    odd = {"choices": [{"delta": {"content": "x"}, "finish_reason": 3}]}
    answer = answered(odd, usage(9, 1, prompt_tokens_details={"cached_tokens": "many"}))
    assert (answer.finish_reason, answer.tokens()) == ("3", (9, 1, None, "usage"))


def test_cached_tokens_are_told():
    answer = answered(token(), usage(9, 1, prompt_tokens_details={"cached_tokens": 4}))
    assert answer.tokens() == (9, 1, 4, "usage")


@pytest.mark.parametrize(
    ("events", "cause"),
    [
        ([token(), token(finish="stop"), usage(), b"[DONE]"], None),
        ([token(), token(finish="stop"), b"[DONE]"], None),
        ([token(), token(finish="stop"), usage(total_tokens=7), b"[DONE]"], None),
        ([token(), token(finish="stop"), usage(total_tokens=8), b"[DONE]"], "wrong_usage"),
        ([token(), token(finish="stop"), usage(completion=True), b"[DONE]"], "wrong_usage"),
        ([token(), token(finish="stop"), usage(completion=-1), b"[DONE]"], "wrong_usage"),
        ([token(), token(), token(finish="stop"), usage(), b"[DONE]"], "wrong_usage"),
        ([token(), token(finish="stop"), usage(completion=99), b"[DONE]"], "wrong_usage"),
        ([token(), usage(), b"[DONE]"], "ended_early"),
        ([token(), token(finish="abort"), usage(), b"[DONE]"], "ended_early"),
        ([token(finish="stop"), usage(completion=1)], "ended_early"),
        ([usage(completion=0), {"choices": [{"delta": {}, "finish_reason": "stop"}]}, b"[DONE]"], "no_tokens"),
    ],
)
def test_the_verdict(events, cause):
    answer = answered(*events)
    if cause is None:
        answer.check(max_tokens=50, ignore_eos=False)
    else:
        with pytest.raises(Failure) as caught:
            answer.check(max_tokens=50, ignore_eos=False)
        assert caught.value.cause == cause


def test_short_counts_only_where_the_length_was_a_promise():
    answer = answered(token(), token(finish="stop"), usage(), b"[DONE]")
    answer.check(max_tokens=50, ignore_eos=False)
    answer.check(max_tokens=None, ignore_eos=True)
    with pytest.raises(Failure, match="short"):
        answer.check(max_tokens=50, ignore_eos=True)


@pytest.mark.parametrize(
    ("event_", "cause"),
    [
        ({"error": {"message": "x"}}, "error_in_stream"),
        ({"object": "error", "message": "x"}, "error_in_stream"),
        ({"choices": [3]}, "bad_answer"),
        ({"choices": 3}, "bad_answer"),
        ([], "bad_answer"),
        (b"{", "bad_answer"),
        (b"[" * 100_000, "bad_answer"),
        ({"choices": [], "usage": 5}, "bad_answer"),
        ({"choices": [{"delta": 5}]}, "bad_answer"),
    ],
)
def test_what_ends_an_answer_at_once(event_, cause):
    with pytest.raises(Failure) as caught:
        answered(token(), event_)
    assert caught.value.cause == cause


def test_a_character_that_the_server_itself_cut_is_still_a_token():
    answer = answered(b'{"choices": [{"text": "\xf0\x9f", "finish_reason": null}]}')
    assert (len(answer.stamps), answer.texts) == (1, 1)

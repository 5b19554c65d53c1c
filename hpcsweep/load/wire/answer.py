"""One streamed answer of an OpenAI-compatible server: what came, when, and whether it counts as a success.

Success is strict. Whatever is not a whole, well-formed answer of at least one token is a failure with one cause of
the closed list `CAUSES`, so that successes and causes add up to the requests sent.
"""

import json
from array import array
from collections.abc import Callable
from typing import Any

from hpcsweep.load.wire.sse import EventSplitter

try:
    import orjson
except ImportError:  # the extra `fast` is not installed
    loads: Callable[[bytes | str], Any] = json.loads
else:
    loads = orjson.loads

CAUSES = {
    "connect": "no connection to the server",
    "http_error": "the status was not 200",
    "error_in_stream": "the stream brought an error in place of tokens",
    "cut": "the connection closed before the answer was whole",
    "ended_early": "the stream ended in order, but without [DONE] or a finish reason, or with `abort` or `error`",
    "not_streamed": "the answer came in one piece",
    "bad_answer": "what came is no HTTP, or no JSON",
    "no_tokens": "the answer was whole and had no token",
    "wrong_usage": "the token counts of the server contradict what it sent, or the limit that was asked",
    "short": "fewer tokens than asked for with ignore_eos",
    "token_timeout": "nothing came for longer than the budget between two chunks",
    "request_timeout": "the answer was not whole within the budget of a request",
    "aborted": "the load was told to stop",
    "client_error": "another tool's client failed, or says that the request did; its words are in the detail",
}
"""Causes of failure and what each means."""

_GIVEN_UP = ("abort", "error")
"""Finish reasons with which vLLM (v1/engine, FinishReason) and SGLang say that they gave a request up."""

_LESSONS = 8  # a server whose chunks all differ in more than their text is not worth more
_TEXT_KEYS = ("content", "text", "reasoning_content", "reasoning", "tool_calls")


class Failure(Exception):
    """The answer is a failure: one of `CAUSES`, and the evidence."""

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(cause)
        self.cause, self.detail = cause, detail[:300]


def plain_end(data: bytes, at: int, head: bytes, tail: bytes) -> int:
    """Where a piece of `data` ends that begins at `at` and is `head`, a text and `tail`; 0: there is none."""
    begin = at + len(head)
    end = data.find(b'"', begin)
    # 92: a backslash, the quote may be part of the text
    if not data.startswith(head, at) or end <= begin or data[end - 1] == 92 or not data.startswith(tail, end):
        return 0
    return end + len(tail)


class StreamedResponse:
    """What one request got back. Times are monotonic nanoseconds.

    `head` and `tail`: what the last plain chunk had before and after its text, from `data:` to the CRLF of the HTTP
    chunk; empty: none yet. A read that differs only in its text needs no parser: it is the same JSON. (Inside a JSON
    string a quote is escaped, so that `"text":` can only be a key, and a text without a quote ends where tail begins.)
    """

    __slots__ = (
        "_begin",
        "_end",
        "_events",
        "done",
        "finish_reason",
        "head",
        "learnt",
        "plain",
        "stamps",
        "tail",
        "texts",
        "usage",
    )

    def __init__(self) -> None:
        self._events = EventSplitter()
        self.stamps = array("q")  # one per event that brought tokens; a list takes five times the memory
        self.texts = 0  # events whose text was not empty: never more than the tokens
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.done = False
        self.head = self.tail = self._begin = self._end = b""
        self.learnt = 0
        self.plain = b""  # the beginning of a body that is no stream

    def feed(self, body: bytes, at_ns: int) -> None:
        """Take a piece of the body that was received at `at_ns`. Raises Failure."""
        for name, data in self._events.feed(body):
            if data == b"[DONE]":
                self.done = True
            elif self._is_plain(data) and not name:
                self.add_plain(1, at_ns)
            elif data:
                self._take(name, data, at_ns)

    def add_plain(self, chunks: int, at_ns: int) -> None:
        """Take chunks that are like the one that `head` and `tail` come from."""
        self.texts += chunks
        for _ in range(chunks):
            self.stamps.append(at_ns)

    def _is_plain(self, data: bytes) -> bool:
        """Whether an event is the one that `head` and `tail` come from, but for its text."""
        return bool(self._begin) and plain_end(data, 0, self._begin, self._end) == len(data)

    def _take(self, name: bytes, data: bytes, at_ns: int) -> None:
        event = _parse(data)
        if not isinstance(event, dict):
            raise Failure("bad_answer", f"an event that is no object: {event!r}")
        if name == b"error" or event.get("error") or event.get("object") == "error":
            raise Failure("error_in_stream", json.dumps(event.get("error") or event))
        usage = event.get("usage")
        if usage:
            if not isinstance(usage, dict):
                raise Failure("bad_answer", f"usage {usage!r}")
            self.usage = usage
        try:
            for choice in event.get("choices") or ():
                delta = choice.get("delta", choice)
                if _brings_tokens(delta):
                    self.stamps.append(at_ns)
                    self.texts += any(delta.get(key) for key in _TEXT_KEYS)
                if choice.get("finish_reason"):
                    self.finish_reason = str(choice["finish_reason"])
        except (AttributeError, TypeError):
            raise Failure("bad_answer", f"choices of an unknown form: {event!r}") from None
        if self.learnt < _LESSONS and not self.finish_reason and not usage:
            self._learn(data)

    def _learn(self, data: bytes) -> None:
        """Take the event as the pattern of those that follow, when it is one of one plain text."""
        self.learnt += 1
        for key in (b'"content":"', b'"text":"'):
            before, found, rest = data.partition(key)
            text, quote, after = rest.partition(b'"')
            if found and text and quote and b"\\" not in text and data.count(b'"finish_reason":null') == 1:
                self._begin, self._end = before + found, quote + after
                self.head, self.tail = b"data: " + self._begin, self._end + b"\n\n\r\n"
                return

    def tokens(self) -> tuple[int | None, int | None, int | None, str]:
        """(prompt tokens, completion tokens, cached prompt tokens, whence): from usage, else from chunks.

        Chunks undercount where a server sends several tokens in one.
        """
        if self.usage is None:
            return None, len(self.stamps) or None, None, "chunks" if self.stamps else "none"
        details = self.usage.get("prompt_tokens_details")
        cached = _count(details, "cached_tokens") if isinstance(details, dict) else None
        return _count(self.usage, "prompt_tokens"), _count(self.usage, "completion_tokens"), cached, "usage"

    def check(self, max_tokens: int | None, ignore_eos: bool) -> None:
        """Raise Failure unless the answer, which has ended, is a success."""
        if self._events.pending or not (self.done and self.finish_reason):
            got = f"finish_reason {self.finish_reason}, [DONE] {'seen' if self.done else 'not seen'}"
            raise Failure("ended_early", f"{got}, {len(self.stamps)} chunks")
        if self.finish_reason in _GIVEN_UP:
            raise Failure("ended_early", f"finish_reason {self.finish_reason}, {len(self.stamps)} chunks")
        completion = len(self.stamps)
        if self.usage is not None:
            completion = self._check_usage(max_tokens)
        if completion == 0 or not self.stamps:
            raise Failure("no_tokens", f"finish_reason {self.finish_reason}, usage {self.usage}")
        if ignore_eos and max_tokens is not None and self.usage is not None and completion < max_tokens:
            told = f"asked for {max_tokens} tokens with ignore_eos, got {completion}"
            raise Failure("short", f"{told}, finish_reason {self.finish_reason}")

    def _check_usage(self, max_tokens: int | None) -> int:
        usage = self.usage or {}
        prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        total = usage.get("total_tokens")
        if prompt is None or completion is None:
            raise Failure("wrong_usage", f"usage {usage}")
        if total is not None and total != prompt + completion:
            raise Failure("wrong_usage", f"prompt {prompt} + completion {completion} is not total {total}")
        if completion < self.texts:
            raise Failure("wrong_usage", f"{self.texts} chunks with text, {completion} completion tokens")
        if max_tokens is not None and completion > max_tokens:
            raise Failure("wrong_usage", f"{completion} completion tokens, at most {max_tokens} were asked for")
        return completion


def _count(usage: dict[str, Any], key: str) -> int | None:
    value = usage.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _brings_tokens(delta: dict[str, Any]) -> bool:
    """Text, or empty text that is not the opening chunk with the role: a token that is half a character."""
    for key in _TEXT_KEYS:
        if delta.get(key):
            return True
    return delta.get("role") is None and ("content" in delta or "text" in delta) and _empty_text(delta)


def _empty_text(delta: dict[str, Any]) -> bool:
    return (delta.get("content") == "" or delta.get("text") == "") and not delta.get("finish_reason")


def _parse(data: bytes) -> Any:
    try:
        return loads(data)
    except (ValueError, RecursionError):
        pass
    try:  # a server may cut a character in two between events: the tokens count all the same
        return loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise Failure("bad_answer", f"an event that is no JSON: {data[:200]!r}") from None

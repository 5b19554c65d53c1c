"""One streamed response of an OpenAI-compatible server: its content, its times, and whether it is a success.

A success is a complete, well-formed response of at least one token. Everything else is a failure with one cause of
`CAUSES`, so that successes and failures add up to the requests sent.
"""

import json
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

from hpcsweep.load.wire.sse import EventSplitter
from hpcsweep.spec.phases import ErrorCause, TokenSource

try:
    import orjson
except ImportError:  # the extra `fast` is not installed
    loads: Callable[[bytes | str], Any] = json.loads
else:
    loads = orjson.loads

CAUSES: dict[ErrorCause, str] = {
    ErrorCause.CONNECT: "the connection to the server failed",
    ErrorCause.HTTP_ERROR: "the status was not 200",
    ErrorCause.ERROR_IN_STREAM: "the stream contained an error in place of tokens",
    ErrorCause.CUT: "the connection closed before the response was complete",
    ErrorCause.ENDED_EARLY: "the stream ended without [DONE] or a finish reason, or with `abort` or `error`",
    ErrorCause.NOT_STREAMED: "the response was not a stream",
    ErrorCause.BAD_ANSWER: "the response was not valid HTTP or JSON",
    ErrorCause.NO_TOKENS: "the response was complete, but had no tokens",
    ErrorCause.WRONG_USAGE: "the server's token counts contradict its response or the requested limit",
    ErrorCause.SHORT: "fewer tokens than requested, with ignore_eos",
    ErrorCause.TOKEN_TIMEOUT: "no data for longer than the budget between two chunks",
    ErrorCause.REQUEST_TIMEOUT: "the response was not complete within the budget of a request",
    ErrorCause.ABORTED: "the load was stopped",
    ErrorCause.CLIENT_ERROR: "another tool's client failed, or reported the request as failed; see the detail",
}
"""Causes of failure and what each means."""

_GIVEN_UP = ("abort", "error")
"""Finish reasons of requests that vLLM (v1/engine, FinishReason) or SGLang aborted."""

_PATTERNS_LEARNED = 8  # then the chunks of this server differ in more than their text
_TEXT_KEYS = ("content", "text", "reasoning_content", "reasoning", "tool_calls")


class Failure(Exception):
    """The request failed. `detail`: the evidence."""

    def __init__(self, cause: ErrorCause, detail: str = "") -> None:
        super().__init__(cause)
        self.cause, self.detail = cause, detail[:300]


def plain_end(data: bytes, at: int, head: bytes, tail: bytes) -> int:
    """Return the end of `head`, a text and `tail` in `data` from `at` on; 0: `data` does not match."""
    begin = at + len(head)
    end = data.find(b'"', begin)
    # 92: a backslash, the quote may be part of the text
    if not data.startswith(head, at) or end <= begin or data[end - 1] == 92 or not data.startswith(tail, end):
        return 0
    return end + len(tail)


class TokenCounts(NamedTuple):
    """Token counts of one response. `cached`: prompt tokens from the prefix cache. None: unknown."""

    prompt: int | None
    completion: int | None
    cached: int | None
    source: TokenSource


class StreamedResponse:
    """The response to one request. Times are monotonic nanoseconds.

    `head` and `tail`: the bytes of the last plain chunk before and after its text, from `data:` to the CRLF of the HTTP
    chunk; empty: none yet. A chunk that differs only in its text is the same JSON and is not parsed again. (Quotes
    inside a JSON string are escaped, so `"text":` can only be a key, and a text without quotes ends where tail begins.)
    """

    __slots__ = (
        "_begin",
        "_end",
        "_events",
        "done",
        "finish_reason",
        "head",
        "learned",
        "plain",
        "stamps",
        "tail",
        "texts",
        "usage",
    )

    def __init__(self) -> None:
        self._events = EventSplitter()
        self.stamps = array("q")  # one per event with tokens; a list takes five times the memory
        self.texts = 0  # events with a text that is not empty; at most the number of tokens
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.done = False
        self.head = self.tail = self._begin = self._end = b""
        self.learned = 0
        self.plain = b""  # start of a body that is not a stream

    def feed(self, body: bytes, at_ns: int) -> None:
        """Process a piece of the body that was received at `at_ns`. Raises Failure."""
        for name, data in self._events.feed(body):
            if data == b"[DONE]":
                self.done = True
            elif self._is_plain(data) and not name:
                self.add_plain(1, at_ns)
            elif data:
                self._take(name, data, at_ns)

    def add_plain(self, chunks: int, at_ns: int) -> None:
        """Count chunks that differ from the learned one only in their text."""
        self.texts += chunks
        for _ in range(chunks):
            self.stamps.append(at_ns)

    def _is_plain(self, data: bytes) -> bool:
        """Return whether an event differs from the learned one only in its text."""
        return bool(self._begin) and plain_end(data, 0, self._begin, self._end) == len(data)

    def _take(self, name: bytes, data: bytes, at_ns: int) -> None:
        event = _parse(data)
        if not isinstance(event, dict):
            raise Failure(ErrorCause.BAD_ANSWER, f"an event is not a JSON object: {event!r}")
        if name == b"error" or event.get("error") or event.get("object") == "error":
            raise Failure(ErrorCause.ERROR_IN_STREAM, json.dumps(event.get("error") or event))
        usage = event.get("usage")
        if usage:
            if not isinstance(usage, dict):
                raise Failure(ErrorCause.BAD_ANSWER, f"usage {usage!r}")
            self.usage = usage
        try:
            for choice in event.get("choices") or ():
                delta = choice.get("delta", choice)
                if _has_tokens(delta):
                    self.stamps.append(at_ns)
                    self.texts += any(delta.get(key) for key in _TEXT_KEYS)
                if choice.get("finish_reason"):
                    self.finish_reason = str(choice["finish_reason"])
        except (AttributeError, TypeError):
            raise Failure(ErrorCause.BAD_ANSWER, f"unknown form of choices: {event!r}") from None
        if self.learned < _PATTERNS_LEARNED and not self.finish_reason and not usage:
            self._learn(data)

    def _learn(self, data: bytes) -> None:
        """Use the event as a pattern for later ones, if it has one plain text."""
        self.learned += 1
        for key in (b'"content":"', b'"text":"'):
            before, separator, rest = data.partition(key)
            text, quote, after = rest.partition(b'"')
            if separator and text and quote and b"\\" not in text and data.count(b'"finish_reason":null') == 1:
                self._begin, self._end = before + separator, quote + after
                self.head, self.tail = b"data: " + self._begin, self._end + b"\n\n\r\n"
                return

    def tokens(self) -> TokenCounts:
        """Return the token counts, from usage if the server sent it, else from chunks.

        Chunks undercount where a server sends several tokens in one chunk.
        """
        if self.usage is None:
            source = TokenSource.CHUNKS if self.stamps else TokenSource.NONE
            return TokenCounts(None, len(self.stamps) or None, None, source)
        details = self.usage.get("prompt_tokens_details")
        cached = _count(details, "cached_tokens") if isinstance(details, dict) else None
        prompt, completion = _count(self.usage, "prompt_tokens"), _count(self.usage, "completion_tokens")
        return TokenCounts(prompt, completion, cached, TokenSource.USAGE)

    def check(self, max_tokens: int | None, ignore_eos: bool) -> None:
        """Raise Failure unless the response, which has ended, is a success."""
        if self._events.pending or not (self.done and self.finish_reason):
            got = f"finish_reason {self.finish_reason}, [DONE] {'seen' if self.done else 'not seen'}"
            raise Failure(ErrorCause.ENDED_EARLY, f"{got}, {len(self.stamps)} chunks")
        if self.finish_reason in _GIVEN_UP:
            raise Failure(ErrorCause.ENDED_EARLY, f"finish_reason {self.finish_reason}, {len(self.stamps)} chunks")
        completion = len(self.stamps)
        if self.usage is not None:
            completion = self._check_usage(max_tokens)
        if completion == 0 or not self.stamps:
            raise Failure(ErrorCause.NO_TOKENS, f"finish_reason {self.finish_reason}, usage {self.usage}")
        if ignore_eos and max_tokens is not None and self.usage is not None and completion < max_tokens:
            reason = f"finish_reason {self.finish_reason}"
            raise Failure(ErrorCause.SHORT, f"{completion} of {max_tokens} tokens with ignore_eos, {reason}")

    def _check_usage(self, max_tokens: int | None) -> int:
        usage = self.usage or {}
        prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        total = usage.get("total_tokens")
        if prompt is None or completion is None:
            raise Failure(ErrorCause.WRONG_USAGE, f"usage {usage}")
        if total is not None and total != prompt + completion:
            raise Failure(ErrorCause.WRONG_USAGE, f"prompt {prompt} + completion {completion} is not total {total}")
        if completion < self.texts:
            raise Failure(ErrorCause.WRONG_USAGE, f"{self.texts} chunks with text, {completion} completion tokens")
        if max_tokens is not None and completion > max_tokens:
            raise Failure(
                ErrorCause.WRONG_USAGE, f"{completion} completion tokens, but at most {max_tokens} were requested"
            )
        return completion


def _count(usage: dict[str, Any], key: str) -> int | None:
    value = usage.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _has_tokens(delta: dict[str, Any]) -> bool:
    """Return whether a chunk has tokens: text, or empty text (half a character) after the first chunk with the role."""
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
    try:  # a server may split a character between two events
        return loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise Failure(ErrorCause.BAD_ANSWER, f"an event is not JSON: {data[:200]!r}") from None

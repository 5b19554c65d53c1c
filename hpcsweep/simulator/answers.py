"""Encode answers in the format of vLLM's OpenAI API, complete or as a stream of events."""

import json
import time
from typing import Any

_TEXT = (
    "the model reads a long report and writes what it has learned from each page of the text in plain words so that "
    "people can check every step before they act on it"
)
_VOCABULARY = _TEXT.split()


def token_text(number: int) -> str:
    """Return the text of a token of an answer, counted from 1: a word with the space before it."""
    return ("" if number == 1 else " ") + _VOCABULARY[(number - 1) % len(_VOCABULARY)]


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> dict[str, Any]:
    """Return the `usage` object of an answer."""
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }


def _text(first: int, last: int) -> str:
    return "".join(map(token_text, range(first, last + 1)))


class AnswerEncoder:
    """Encodes one answer of the chat or the completions endpoint."""

    def __init__(self, chat: bool, model: str, number: int) -> None:
        self.chat = chat
        self._number = number
        self._id = f"{'chatcmpl' if chat else 'cmpl'}-simulated-{number}"
        self._model = model
        self._created = int(time.time())
        # Token events differ only in their text, so the rest is encoded once.
        marker = "\0"
        head, _, tail = self._event(marker, None).partition(json.dumps(marker)[1:-1].encode())
        self._head, self._tail = head, tail

    def role(self) -> bytes:
        """Return the first event of a chat stream, which has no token."""
        return self._data({"choices": [self._choice({"role": "assistant", "content": ""}, None)]})

    def tokens(self, first: int, last: int) -> bytes:
        """Return the event of some tokens."""
        return self._head + _text(first, last).encode() + self._tail

    def last_tokens(self, first: int, last: int, reason: str) -> bytes:
        """Return the event of the last tokens, with the finish reason."""
        return self._event(_text(first, last), reason)

    def usage(self, figures: dict[str, Any]) -> bytes:
        """Return the event with the numbers of tokens, which is the last one when the client has requested it."""
        return self._data({"choices": [], "usage": figures})

    @staticmethod
    def error(message: str) -> bytes:
        """Return an error event inside a stream."""
        return b"data: " + json.dumps(error_body(500, "InternalServerError", message)).encode() + b"\n\n"

    def whole(self, tokens: int, reason: str, figures: dict[str, Any]) -> dict[str, Any]:
        """Return the body of an answer that is not streamed."""
        text = _text(1, tokens)
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": reason, "stop_reason": None}
        choice |= {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._common(kind), "choices": [choice], "usage": figures}

    def _event(self, text: str, reason: str | None) -> bytes:
        return self._data({"choices": [self._choice({"content": text} if self.chat else text, reason)]})

    def _choice(self, content: Any, reason: str | None) -> dict[str, Any]:
        return {"index": 0, "delta" if self.chat else "text": content, "logprobs": None, "finish_reason": reason}

    def _data(self, body: dict[str, Any]) -> bytes:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return b"data: " + json.dumps({**self._common(kind), **body}).encode() + b"\n\n"

    def _common(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}


def error_body(status: int, kind: str, message: str, param: str | None = None) -> dict[str, Any]:
    """Return the body of an error."""
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}

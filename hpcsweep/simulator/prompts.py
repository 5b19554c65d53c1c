"""Read the bodies of requests. A token is a word between white space."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpcsweep.simulator.profile import Speed


class PromptError(Exception):
    """A request that vLLM would reject: HTTP status, kind, message and the invalid parameter."""

    def __init__(
        self, message: str, status: int = 400, kind: str = "BadRequestError", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.kind, self.param = message, status, kind, param


@dataclass(frozen=True)
class GenerationRequest:
    """A request. `tokens`: length of the answer, at most `max_tokens`."""

    prompt: Sequence[object]
    image_tokens: int
    max_tokens: int
    tokens: int
    stream: bool
    include_usage: bool
    cache_salt: str | None = None


def read_request(body: bytes, chat: bool, model: str, max_model_len: int, speed: Speed) -> GenerationRequest:
    """Read the request in a JSON body. Raises PromptError for everything that vLLM rejects."""
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise PromptError(f"JSON decode error: {exc}") from exc
    if not isinstance(raw, dict):
        raise PromptError("Input should be a valid dictionary")
    if raw.get("model") not in (None, model):
        raise PromptError(f"The model `{raw['model']}` does not exist.", 404, "NotFoundError", "model")
    if raw.get("n") not in (None, 1):
        raise PromptError("the simulated engine returns one answer per request: n must be 1", param="n")
    prompt, images = _chat_prompt(raw.get("messages")) if chat else (_prompt(raw.get("prompt")), 0)
    image_tokens = images * speed.image_tokens
    room = max_model_len - len(prompt) - image_tokens
    default = room if chat else 16
    asked = raw.get("max_completion_tokens") if chat else None
    max_tokens = asked if asked is not None else raw.get("max_tokens")
    max_tokens = default if max_tokens is None else max_tokens
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or (max_tokens < 1 and room >= 1):
        raise PromptError(f"max_tokens must be at least 1, got {max_tokens}.", param="max_tokens")
    if max_tokens > room or room < 1:
        total = len(prompt) + image_tokens + max(1, max_tokens)
        raise PromptError(
            f"This model's maximum context length is {max_model_len} tokens. However, you requested "
            f"{max(1, max_tokens)} output tokens and your prompt contains at least {len(prompt) + image_tokens} input "
            f"tokens, for a total of at least {total} tokens. Please reduce the length of the input prompt or the "
            f"number of requested output tokens.",
            param="input_tokens",
        )
    tokens = max_tokens
    if speed.answer_tokens is not None and raw.get("ignore_eos") is not True:
        tokens = max(1, min(max_tokens, speed.answer_tokens))
    salt = raw.get("cache_salt")
    if salt is not None and (not isinstance(salt, str) or not salt):
        raise PromptError("Parameter 'cache_salt' must be a non-empty string if provided.", param="cache_salt")
    options = raw.get("stream_options")
    return GenerationRequest(
        prompt,
        image_tokens,
        max_tokens,
        tokens,
        stream=raw.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        cache_salt=salt,
    )


def _prompt(raw: Any) -> Sequence[object]:
    """Return the words of a text or the token ids of a list; a list with a single prompt is unpacked."""
    if isinstance(raw, list) and len(raw) == 1 and isinstance(raw[0], (str, list)):
        raw = raw[0]
    if isinstance(raw, str):
        return raw.split()
    if isinstance(raw, list) and raw and all(isinstance(token, int) for token in raw):
        return raw
    raise PromptError("prompt must be one text or one list of token ids", param="prompt")


def _chat_prompt(raw: Any) -> tuple[list[str], int]:
    """Return the words of all messages, and the number of images. Roles and templates are not counted."""
    if not isinstance(raw, list) or not raw:
        raise PromptError("messages must be a list of at least one message", param="messages")
    words: list[str] = []
    images = 0
    for message in raw:
        if not isinstance(message, dict):
            raise PromptError("a message must be a dictionary", param="messages")
        content = message.get("content")
        for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            kind, text = (part.get("type"), part.get("text")) if isinstance(part, dict) else (None, None)
            if kind == "text" and isinstance(text, str):
                words += text.split()
            elif kind in ("image_url", "input_image"):
                images += 1
            else:
                raise PromptError(f"unknown type of content part: {str(part)[:80]}", param="messages")
    return words, images

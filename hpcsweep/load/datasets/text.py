"""Random text of a given number of tokens: exact with the model's tokenizer, else in common words."""

import random
import re

from hpcsweep.errors import DatasetError
from hpcsweep.load.datasets.base import Tokenizer

_WORD_PIECE = re.compile(r"[Ġ▁][A-Za-z]{2,}")
_ROUNDS = 32
_POOL = 4096  # ids from which texts are drawn
_ENOUGH = 64  # with fewer words, other tokens are used too

_WORD_LIST = """
time year people way day man thing woman life child world school state family student group country problem hand part
place case week company system program question work government number night point home water room mother area money
story fact month lot right study book eye job word business issue side kind head house service friend father power
hour game line end member law car city community name president team minute idea kid body information back parent face
others level office door health person art war history party result change morning reason research girl guy moment air
teacher force education
"""
WORDS = tuple(_WORD_LIST.split())
"""Words that common tokenizers encode as one token, with the preceding blank."""


class TextMaker:
    """Generates random text of a given number of tokens. `tokenizer` None: common words, each counted as one token."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer
        self._pool = [] if tokenizer is None else _word_ids(tokenizer)

    def text(self, draw: random.Random, tokens: int, prefix: str = "") -> tuple[str, int]:
        """Return (text, its tokens). The text starts with `prefix`, which is counted.

        Raises DatasetError when no text of exactly that many tokens is found.
        """
        tokenizer = self._tokenizer
        if tokenizer is None:
            words = prefix.split()[:tokens]
            return " ".join(words + draw.choices(WORDS, k=tokens - len(words))), tokens
        start = prefix
        missing = tokens - (len(tokenizer.encode(prefix)) if prefix else 0)
        ids: list[int] = []
        for _ in range(_ROUNDS):
            if missing >= 0:
                ids += draw.choices(self._pool, k=missing)
            elif -missing <= len(ids):
                del ids[missing:]
            else:
                start = tokenizer.decode(tokenizer.encode(start)[:missing])
            text = start + _spaced(start, tokenizer.decode(ids))
            missing = tokens - len(tokenizer.encode(text))
            if missing == 0:
                return text, tokens
        raise DatasetError(
            f"no text of exactly {tokens} tokens was found with this tokenizer",
            code="text_length",
            hint="a prompt must be longer than the special tokens that the tokenizer adds",
        )


def _spaced(before: str, text: str) -> str:
    """Return `text` with the leading blank that a decoder may have dropped, for use after `before`."""
    return f" {text}" if before and text and not text.startswith(" ") else text


def _word_ids(tokenizer: Tokenizer) -> list[int]:
    """Return ids that keep their number when they are decoded and encoded again: whole words, if there are enough.

    Otherwise other tokens that encode to themselves. A single byte of a longer character does not: it is decoded to a
    replacement character, which is three tokens again.
    """
    words: list[int] = []
    others: list[int] = []
    for token in random.Random(0).sample(range(tokenizer.vocabulary), tokenizer.vocabulary):
        piece = tokenizer.piece(token)
        if piece is not None:
            (words if _WORD_PIECE.fullmatch(piece) else others).append(token)
        if len(words) == _POOL:
            break
    if len(words) < _ENOUGH:
        around = len(tokenizer.encode(""))
        words += [token for token in others[:_POOL] if len(tokenizer.encode(tokenizer.decode([token]))) == around + 1]
    if not words:
        raise DatasetError("the tokenizer has no ordinary tokens", code="text_length")
    return words

"""Random text of a stated number of tokens: exact with the model's tokenizer, else by common words."""

import random
import re

from hpcsweep.errors import DatasetError
from hpcsweep.load.datasets.base import Tokenizer

_WORD_PIECE = re.compile(r"[Ġ▁][A-Za-z]{2,}")
_ROUNDS = 32
_POOL = 4096  # ids that texts are made of
_ENOUGH = 64  # words below which other tokens are taken too

_WORD_LIST = """
time year people way day man thing woman life child world school state family student group country problem hand part
place case week company system program question work government number night point home water room mother area money
story fact month lot right study book eye job word business issue side kind head house service friend father power
hour game line end member law car city community name president team minute idea kid body information back parent face
others level office door health person art war history party result change morning reason research girl guy moment air
teacher force education
"""
WORDS = tuple(_WORD_LIST.split())
"""Words that the usual tokenizers keep whole, with the blank before them."""


class TextMaker:
    """Makes random text of a stated number of tokens. `tokenizer` None: common words, one counted as one token."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer
        self._pool = [] if tokenizer is None else _word_ids(tokenizer)

    def text(self, draw: random.Random, tokens: int, prefix: str = "") -> tuple[str, int]:
        """(text, tokens in it), `prefix` first and counted.

        Raises DatasetError when the tokenizer gives no text of exactly that many tokens.
        """
        tokenizer = self._tokenizer
        if tokenizer is None:
            words = prefix.split()[:tokens]
            return " ".join(words + draw.choices(WORDS, k=tokens - len(words))), tokens
        kept = prefix
        missing = tokens - (len(tokenizer.encode(prefix)) if prefix else 0)
        ids: list[int] = []
        for _ in range(_ROUNDS):
            if missing >= 0:
                ids += draw.choices(self._pool, k=missing)
            elif -missing <= len(ids):
                del ids[missing:]
            else:
                kept = tokenizer.decode(tokenizer.encode(kept)[:missing])
            text = kept + _spaced(kept, tokenizer.decode(ids))
            missing = tokens - len(tokenizer.encode(text))
            if missing == 0:
                return text, tokens
        raise DatasetError(
            f"no text of exactly {tokens} tokens was found with this tokenizer",
            hint="a prompt must be longer than the special tokens that the tokenizer puts around it",
        )


def _spaced(before: str, text: str) -> str:
    """`text` as it follows `before`: a decoder may have dropped the blank at its begin."""
    return f" {text}" if before and text and not text.startswith(" ") else text


def _word_ids(tokenizer: Tokenizer) -> list[int]:
    """Ids of whole words where the vocabulary has enough of them, for put together they stay as many tokens.

    Of the others those that stand for themselves: a lone byte of a longer character is decoded to a mark that is three
    tokens again, and a text with many of those is never of the right length.
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
        raise DatasetError("the tokenizer has no ordinary token")
    return words

"""The model's tokenizer, read from `tokenizer.json` with the package `tokenizers` where it is installed."""

import json
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hpcsweep.errors import DatasetError


class ModelTokenizer:
    """A tokenizer of the package `tokenizers`, with the interface that datasets need."""

    def __init__(self, path: Path) -> None:
        """Read `tokenizer.json`. Raises DatasetError when it is corrupt, ImportError without the package."""
        module = import_module("tokenizers")
        try:
            self._tokenizer: Any = module.Tokenizer.from_file(str(path))
            added = json.loads(path.read_text(encoding="utf-8")).get("added_tokens") or []
        except Exception as exc:  # the package raises plain Exception
            raise DatasetError(
                f"cannot read the tokenizer {path}", code="tokenizer_unreadable", detail=str(exc)
            ) from exc
        self._special = {int(token["id"]) for token in added}
        self.vocabulary = int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, including the special tokens around a text, as a server counts them."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, without special tokens."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def piece(self, token: int) -> str | None:
        """Return the token as written in the vocabulary; None: a special token."""
        if token in self._special:
            return None
        piece: str | None = self._tokenizer.id_to_token(token)
        return piece


def find_tokenizer(model: str) -> tuple[ModelTokenizer | None, str]:
    """Return (tokenizer of `model`, reason why there is none). `model`: a folder, or a name in the Hugging Face cache.

    Raises DatasetError when the tokenizer's file is corrupt.
    """
    path = _tokenizer_file(model)
    if path is None:
        return None, f"tokenizer.json of {model} was not found on this machine"
    try:
        return ModelTokenizer(path), ""
    except ImportError:
        return None, "the package `tokenizers` is not installed"


def _tokenizer_file(model: str) -> Path | None:
    folders = [Path(model)]
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cached = Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / f"models--{model.replace('/', '--')}"
    try:
        revision = (cached / "refs" / "main").read_text(encoding="ascii").strip()
        folders.append(cached / "snapshots" / revision)
    except OSError:
        pass  # not in the cache
    return next((folder / "tokenizer.json" for folder in folders if (folder / "tokenizer.json").is_file()), None)

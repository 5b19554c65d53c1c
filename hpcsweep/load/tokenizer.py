"""The model's tokenizer, read from `tokenizer.json` by the package `tokenizers` where it is installed."""

import json
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hpcsweep.errors import DatasetError


class ModelTokenizer:
    """A tokenizer of the package `tokenizers`, behind the few calls that datasets make."""

    def __init__(self, path: Path) -> None:
        """Read `tokenizer.json`. Raises DatasetError when it is damaged, ImportError without the package."""
        module = import_module("tokenizers")
        try:
            self._tokenizer: Any = module.Tokenizer.from_file(str(path))
            added = json.loads(path.read_text(encoding="utf-8")).get("added_tokens") or []
        except Exception as exc:  # the package raises plain Exception for a file that it cannot read
            raise DatasetError(f"{path}: not a tokenizer that can be read", detail=str(exc)) from exc
        self._special = {int(token["id"]) for token in added}
        self.vocabulary = int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, with the special tokens that the tokenizer puts around a text: what a server counts."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, without special tokens."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def piece(self, token: int) -> str | None:
        """The token as the vocabulary writes it; None for a special one."""
        if token in self._special:
            return None
        piece: str | None = self._tokenizer.id_to_token(token)
        return piece


def find_tokenizer(model: str) -> tuple[ModelTokenizer | None, str]:
    """(tokenizer of `model`, why there is none). `model`: a folder, or the name of one in the Hugging Face cache.

    Raises DatasetError when its file is there, but damaged.
    """
    path = _tokenizer_file(model)
    if path is None:
        return None, f"no tokenizer.json of {model} on this machine"
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

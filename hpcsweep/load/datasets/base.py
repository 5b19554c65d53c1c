"""The contract of a dataset: its options, its facts on the login node, and its requests on a compute node."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import Field

from hpcsweep.errors import DatasetError
from hpcsweep.foreign_files import open_regular
from hpcsweep.spec.base import Model
from hpcsweep.spec.workload import DatasetFacts


@dataclass(frozen=True)
class SampleRequest:
    """One request of a dataset, with either `prompt` or `messages`.

    `prompt_tokens` None: not counted. `max_tokens` None: the server's limit. `due_s`: seconds after the start of the
    workload, from a trace; None: the workload's `arrival` applies.
    """

    sample: str
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    max_tokens: int | None = None
    prompt_tokens: int | None = None
    due_s: float | None = None


class Tokenizer(Protocol):
    """The interface of the model's tokenizer. Special tokens of a chat template are not counted."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, including the special tokens that the tokenizer adds."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`."""
        ...

    def piece(self, token: int) -> str | None:
        """Return the token as written in the vocabulary; None: a special token."""
        ...

    @property
    def vocabulary(self) -> int:
        """Return the number of ids."""
        ...


class DatasetWarning(UserWarning):
    """A problem of a dataset that does not end the run. It becomes a warning of the run."""


class FileOptions(Model):
    """Options of a dataset that is one file."""

    path: str = Field(description="path of the file, relative to the experiment file")


class Dataset(Protocol):
    """A dataset kind. Plugins are classes of this form; `name` equals the name of their entry point."""

    name: ClassVar[str]
    options_model: ClassVar[type[Model]]
    needs_tokenizer: ClassVar[bool]

    def facts(self, options: Any, base_dir: Path, completion_tokens: int | None) -> DatasetFacts:
        """Return facts for the checks before submission. Runs on the login node.

        `completion_tokens`: the limit of the workload; None: that of each sample. An optional parameter `count` is the
        number of requests that are sent; None: all. Raises DatasetError when data is missing or corrupt.
        """
        ...

    def requests(
        self, options: Any, data_files: Sequence[Path], tokenizer: Tokenizer | None, count: int, seed: int
    ) -> list[SampleRequest]:
        """Return `count` requests, or fewer when the dataset has fewer. Runs on a compute node.

        The result depends on the arguments only. `data_files`: the files of the facts, in their order. Problems are
        reported with `warnings.warn(..., DatasetWarning)`. Raises DatasetError.
        """
        ...


def sha256(path: Path) -> str:
    """Return the hexadecimal digest of a file's content. Raises DatasetError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open_regular(path, follow=True) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as exc:
        raise DatasetError(
            f"cannot read {path}: {exc.strerror}",
            code="data_unreadable",
            hint="`hpcsweep data fetch URL --to FOLDER` downloads a data file",
        ) from exc
    return digest.hexdigest()


def check_files(files: dict[str, str]) -> list[Path]:
    """Return the paths of `files` (path -> sha256). Raises DatasetError when a file has changed since submission."""
    paths = []
    for name, expected in files.items():
        path = Path(name)
        digest = sha256(path)
        if digest != expected:
            raise DatasetError(
                f"{path} has changed since submission",
                code="data_changed",
                detail=f"sha256 {digest}, at submission {expected}",
                hint="submit the sweep again, or restore the file",
            )
        paths.append(path)
    return paths


def warn_counts(message: str) -> None:
    """Warn that token counts are estimates. The server's counts are recorded in any case."""
    warnings.warn(f"{message}, without the model's tokenizer", DatasetWarning, stacklevel=3)


def count_tokens(text: str, tokenizer: Tokenizer | None) -> int:
    """Return the tokens of `text`, estimated without a tokenizer."""
    return estimate_tokens(len(text)) if tokenizer is None else len(tokenizer.encode(text))


def estimate_tokens(characters: int) -> int:
    """Return an estimate of the tokens of a text: four characters each, the usual rate of English."""
    return max(1, -(-characters // 4))

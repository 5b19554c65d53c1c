"""What a dataset is: options that it checks itself, facts for the login side, requests for the node."""

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
    """One prompt. Either `prompt` or `messages` is given; the endpoint decides which form is sent.

    `prompt_tokens` None: nobody counted. `max_tokens` None: the server's own limit. `due_s`: seconds after the
    start, from a trace; None: the workload's arrival decides.
    """

    sample: str
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    max_tokens: int | None = None
    prompt_tokens: int | None = None
    due_s: float | None = None


class Tokenizer(Protocol):
    """What a dataset needs of the model's tokenizer; special tokens of a chat template are not counted."""

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, with what the tokenizer itself puts around a text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`."""
        ...

    def piece(self, token: int) -> str | None:
        """The token as the vocabulary writes it; None for a special one."""
        ...

    @property
    def vocabulary(self) -> int:
        """Number of ids."""
        ...


class DatasetWarning(UserWarning):
    """Something about a dataset that a person should know, and that does not end anything."""


class FileOptions(Model):
    """Options of a dataset that lies in one file."""

    path: str = Field(description="the file; relative to the experiment file")


class Dataset(Protocol):
    """One kind of dataset: a file of this package, or a plugin's."""

    kind: ClassVar[str]
    options_model: ClassVar[type[Model]]
    needs_tokenizer: ClassVar[bool]

    def facts(self, options: Any, base_dir: Path, completion_tokens: int | None) -> DatasetFacts:
        """What is known before anything is queued. `completion_tokens`: the workload's own; None: the samples'.

        Raises DatasetError when data is missing or damaged.
        """
        ...

    def requests(
        self, options: Any, data_files: Sequence[Path], tokenizer: Tokenizer | None, count: int, seed: int
    ) -> list[SampleRequest]:
        """At most `count` requests, the same for the same arguments, fewer only when the dataset has no more.

        `data_files`: those of the facts, in their order. What a person should know besides is given by
        `warnings.warn`, and becomes a warning of the run. Raises DatasetError.
        """
        ...


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's content. Raises DatasetError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open_regular(path, follow=True) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as exc:
        raise DatasetError(
            f"{path}: {exc.strerror}", hint="`hpcsweep data fetch URL --to FOLDER` gets a data file"
        ) from exc
    return digest.hexdigest()


def check_files(files: dict[str, str]) -> list[Path]:
    """The paths of `files` (path -> sha256), each with the content that it had when it was submitted."""
    paths = []
    for name, expected in files.items():
        path = Path(name)
        found = sha256(path)
        if found != expected:
            raise DatasetError(
                f"{path}: the file is not the one that was submitted",
                detail=f"sha256 {found}, submitted with {expected}",
                hint="submit the sweep again, or put the old file back",
            )
        paths.append(path)
    return paths


def warn_counts(message: str) -> None:
    """Say that token counts are no counts; what the server counted is recorded all the same."""
    warnings.warn(f"{message}, without the model's tokenizer", DatasetWarning, stacklevel=3)


def count_tokens(text: str, tokenizer: Tokenizer | None) -> int:
    """Tokens of `text`; without a tokenizer an estimate."""
    return estimate_tokens(len(text)) if tokenizer is None else len(tokenizer.encode(text))


def estimate_tokens(characters: int) -> int:
    """Tokens of a text that nobody has tokenized: four characters each, the usual rate of English."""
    return max(1, -(-characters // 4))

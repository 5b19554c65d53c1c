"""`samples`: prompts of a file, a JSON list or JSON lines of objects.

An object has `id` (default: its number), `prompt` or `messages` (as in the OpenAI API), and optionally `max_tokens` and
`prompt_tokens`. Two other forms are supported: lines of vLLM's `custom` dataset (`prompt` and `output_tokens`), and
lines of OpenAI's batch files (`custom_id`, `body`).
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, ValidationError, model_validator

from hpcsweep.errors import DatasetError
from hpcsweep.foreign_files import DOCUMENT_LIMIT_BYTES, read_regular
from hpcsweep.load.datasets.base import DatasetWarning, FileOptions, SampleRequest, Tokenizer, sha256
from hpcsweep.spec.base import Model, known_keys, nearest, unknown_key, validation_text
from hpcsweep.spec.workload import DatasetFacts


class Sample(Model):
    """One entry of the file."""

    id: str | int | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    max_tokens: int | None = Field(None, ge=1)
    prompt_tokens: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_form(self) -> "Sample":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("a sample needs either `prompt` or `messages`")
        return self


class SamplesOptions(FileOptions):
    """Options of `kind: samples`."""

    only: list[str] | None = Field(None, description="ids of the samples to send; None: all")


class SamplesDataset:
    """Prompts of a file."""

    name: ClassVar[str] = "samples"
    options_model: ClassVar[type[Model]] = SamplesOptions
    needs_tokenizer: ClassVar[bool] = False

    def facts(
        self, options: SamplesOptions, base_dir: Path, completion_tokens: int | None, count: int | None = None
    ) -> DatasetFacts:
        """Return the number of samples and the largest stated counts of the first `count`; None: of all."""
        path = (base_dir / options.path).resolve()
        digest = sha256(path)
        samples = _chosen(_read(path), options, path)
        sent = samples[:count]
        stated = [sample.prompt_tokens for sample in sent]
        limits = [completion_tokens or sample.max_tokens for sample in sent]
        return DatasetFacts(
            requests=len(samples),
            prompt_tokens_max=None if None in stated else max(tokens for tokens in stated if tokens is not None),
            completion_tokens_max=None if None in limits else max(tokens for tokens in limits if tokens is not None),
            files={str(path): digest},
        )

    def requests(
        self,
        options: SamplesOptions,
        data_files: Sequence[Path],
        tokenizer: Tokenizer | None,
        count: int,
        seed: int,
    ) -> list[SampleRequest]:
        """Return the samples in the order of the file, repeated when `count` is larger than their number."""
        samples = _chosen(_read(data_files[0]), options, data_files[0])
        requests = []
        for index in range(count):
            sample, turn = samples[index % len(samples)], index // len(samples)
            name = str(sample.id)
            requests.append(
                SampleRequest(
                    sample=name if turn == 0 else f"{name}#{turn + 1}",
                    prompt=sample.prompt,
                    messages=sample.messages,
                    max_tokens=sample.max_tokens,
                    prompt_tokens=sample.prompt_tokens,
                )
            )
        return requests


def _read(path: Path) -> list[Sample]:
    try:
        text = read_regular(path, DOCUMENT_LIMIT_BYTES, follow=True).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise DatasetError(f"cannot read {path}", code="data_unreadable", detail=str(exc)) from exc
    samples: list[Sample] = []
    ids: set[str] = set()
    unsent: set[str] = set()
    for location, entry in _entries(text, path):
        try:
            sample = Sample.model_validate(_own_form(entry, location, unsent))
        except ValidationError as exc:
            unknown = unknown_key(exc)
            hint = "" if unknown is None else nearest(unknown, known_keys(Sample))
            raise DatasetError(f"{location}: {validation_text(exc)}", code="invalid_sample", hint=hint) from exc
        name = str(len(samples)) if sample.id is None else str(sample.id)
        if name in ids:
            raise DatasetError(f"{location}: duplicate id {name!r}", code="duplicate_id")
        ids.add(name)
        samples.append(sample.model_copy(update={"id": name}))
    if not samples:
        raise DatasetError(f"{path} has no samples", code="dataset_empty")
    if unsent:
        message = f"{path}: {', '.join(sorted(unsent))} of the batch requests are ignored; set them in the workload"
        warnings.warn(message, DatasetWarning, stacklevel=2)
    return samples


_BATCH = ("messages", "prompt", "max_tokens", "max_completion_tokens", "model", "stream", "stream_options")
"""Keys of a batch request's body that are used, or that the load client sets itself."""


def _own_form(entry: Any, location: str, unsent: set[str]) -> Any:
    """Convert an entry of vLLM's custom dataset or of an OpenAI batch file to a `Sample`; return others unchanged.

    `unsent` collects the ignored keys of batch requests. Raises DatasetError when an entry has two limits.
    """
    if not isinstance(entry, dict):
        return entry
    if isinstance(entry.get("body"), dict) and "custom_id" in entry:
        body = entry["body"]
        unsent |= body.keys() - set(_BATCH)
        limits = [body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None]
        own = {"id": entry["custom_id"], "max_tokens": limits[0] if limits else None}
        return own | {name: body[name] for name in ("prompt", "messages") if name in body}
    if "output_tokens" in entry:
        if "max_tokens" in entry:
            raise DatasetError(
                f"{location}: both output_tokens and max_tokens are set", code="invalid_sample", hint="keep one of them"
            )
        return {"max_tokens" if name == "output_tokens" else name: content for name, content in entry.items()}
    return entry


def _entries(text: str, path: Path) -> list[tuple[str, Any]]:
    """Return (location, entry) of a JSON list or of JSON lines."""
    try:
        if text.lstrip().startswith("["):
            return [(f"{path}, sample {n}", entry) for n, entry in enumerate(json.loads(text), 1)]
        lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        return [(f"{path}, line {n}", json.loads(line)) for n, line in lines]
    except ValueError as exc:
        raise DatasetError(f"{path}: neither a JSON list nor JSON lines", code="data_syntax", detail=str(exc)) from exc


def _chosen(samples: list[Sample], options: SamplesOptions, path: Path) -> list[Sample]:
    if options.only is None:
        return samples
    by_id = {str(sample.id): sample for sample in samples}
    for name in options.only:
        if name not in by_id:
            raise DatasetError(f"{path}: unknown sample {name!r}", code="unknown_sample", hint=nearest(name, by_id))
    return [by_id[name] for name in options.only]

"""Named shapes: workloads that ship ready, as `dataset: {kind: shape, name: ...}`, and as YAML to paste.

A shape is prompt and answer lengths that studies of serving use again and again; its text is that of `random`, but
for `sharegpt_1000`, which is 1,000 conversations of the ShareGPT file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from hpcsweep.load.datasets.base import SampleRequest, Tokenizer
from hpcsweep.load.datasets.random import RandomDataset, RandomOptions
from hpcsweep.load.datasets.sharegpt import SharegptDataset, SharegptOptions
from hpcsweep.spec.base import Model, nearest
from hpcsweep.spec.workload import DatasetFacts

SHAPES = {
    "very_long": (32000, 100),
    "long": (4000, 200),
    "medium": (2000, 100),
    "short": (128, 4),
    "prompt_heavy": (8000, 1000),
    "decode_heavy": (1000, 8000),
    "balanced": (1000, 1000),
}
"""Name -> (prompt tokens, completion tokens)."""

SHAREGPT = "sharegpt_1000"
BATCH_SIZES = tuple(2**n for n in range(10))
"""Concurrencies of a batch sweep: 1, 2, 4 ... 512."""


class ShapeOptions(Model):
    """Options of `kind: shape`."""

    name: str = Field(description=f"{', '.join(SHAPES)} or {SHAREGPT}")
    path: str | None = Field(None, description=f"the ShareGPT file, for {SHAREGPT} only")
    prefix_len: int = Field(0, ge=0, description="tokens that all prompts begin with")
    requests: int | None = Field(None, ge=1, description="how many; None: 1000 of ShareGPT, 100 of the others")

    @model_validator(mode="after")
    def _known(self) -> "ShapeOptions":
        if self.name not in (*SHAPES, SHAREGPT):
            raise ValueError(f"unknown shape {self.name!r}; {nearest(self.name, (*SHAPES, SHAREGPT))}")
        if (self.name == SHAREGPT) != (self.path is not None):
            raise ValueError(f"`path` names the ShareGPT file: {SHAREGPT} needs it, the other shapes have none")
        return self


class ShapeDataset:
    """A named shape: hands everything to the dataset that it stands for."""

    kind: ClassVar[str] = "shape"
    options_model: ClassVar[type[Model]] = ShapeOptions
    needs_tokenizer: ClassVar[bool] = True

    def facts(self, options: ShapeOptions, base_dir: Path, completion_tokens: int | None) -> DatasetFacts:
        """Facts of the dataset that the shape stands for."""
        dataset, meant = _meant(options)
        facts: DatasetFacts = dataset.facts(meant, base_dir, completion_tokens)
        return facts

    def requests(
        self, options: ShapeOptions, data_files: Sequence[Path], tokenizer: Tokenizer | None, count: int, seed: int
    ) -> list[SampleRequest]:
        """Requests of the dataset that the shape stands for."""
        dataset, meant = _meant(options)
        requests: list[SampleRequest] = dataset.requests(meant, data_files, tokenizer, count, seed)
        return requests


def _meant(options: ShapeOptions) -> tuple[Any, Model]:
    if options.path is not None:
        return SharegptDataset(), SharegptOptions(path=options.path, requests=options.requests or 1000)
    input_len, output_len = SHAPES[options.name]
    meant = RandomOptions(
        input_len=input_len, output_len=output_len, prefix_len=options.prefix_len, requests=options.requests or 100
    )
    return RandomDataset(), meant


def example(name: str) -> str:
    """YAML of the workloads of a shape, of `batch_sweep`, to be pasted below `workloads:`. KeyError if unknown."""
    if name == "batch_sweep":
        return "".join(_block(f"batch_{size}", "balanced", f"{{max_concurrency: {size}}}") for size in BATCH_SIZES)
    if name == SHAREGPT:
        return _block(name, f"{SHAREGPT}, path: ShareGPT_V3_unfiltered_cleaned_split.json", "{request_rate: 8}")
    if name not in SHAPES:
        raise KeyError(name)
    return _block(name, name, "{max_concurrency: 1}")


def _block(name: str, shape: str, arrival: str) -> str:
    return f"  {name}:\n    dataset: {{kind: shape, name: {shape}}}\n    arrival: {arrival}\n"

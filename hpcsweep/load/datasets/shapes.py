"""`shape`: prompt and response lengths that serving studies use often, under names, and example workloads in YAML.

Prompts are those of `random`; the shape `sharegpt_1000` is 1,000 conversations of the ShareGPT file.
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
    prefix_len: int = Field(0, ge=0, description="tokens of a prefix that all prompts share")
    requests: int | None = Field(None, ge=1, description="number of requests; None: 1000 for ShareGPT, else 100")

    @model_validator(mode="after")
    def _known(self) -> "ShapeOptions":
        if self.name not in (*SHAPES, SHAREGPT):
            raise ValueError(f"unknown shape {self.name!r}; {nearest(self.name, (*SHAPES, SHAREGPT))}")
        if (self.name == SHAREGPT) != (self.path is not None):
            raise ValueError(f"`path`, the ShareGPT file, is required for {SHAREGPT} and not allowed for other shapes")
        return self


class ShapeDataset:
    """A named shape. It delegates to `random` or `sharegpt`."""

    name: ClassVar[str] = "shape"
    options_model: ClassVar[type[Model]] = ShapeOptions
    needs_tokenizer: ClassVar[bool] = True

    def facts(self, options: ShapeOptions, base_dir: Path, completion_tokens: int | None) -> DatasetFacts:
        """Return the facts of the underlying dataset."""
        dataset, own = _underlying(options)
        facts: DatasetFacts = dataset.facts(own, base_dir, completion_tokens)
        return facts

    def requests(
        self, options: ShapeOptions, data_files: Sequence[Path], tokenizer: Tokenizer | None, count: int, seed: int
    ) -> list[SampleRequest]:
        """Return the requests of the underlying dataset."""
        dataset, own = _underlying(options)
        requests: list[SampleRequest] = dataset.requests(own, data_files, tokenizer, count, seed)
        return requests


def _underlying(options: ShapeOptions) -> tuple[Any, Model]:
    if options.path is not None:
        return SharegptDataset(), SharegptOptions(path=options.path, requests=options.requests or 1000)
    input_len, output_len = SHAPES[options.name]
    own = RandomOptions(
        input_len=input_len, output_len=output_len, prefix_len=options.prefix_len, requests=options.requests or 100
    )
    return RandomDataset(), own


def example(name: str) -> str:
    """Return YAML of the workloads of a shape or of `batch_sweep`, to paste below `workloads:`. Raises KeyError."""
    if name == "batch_sweep":
        return "".join(_block(f"batch_{size}", "balanced", f"{{max_concurrency: {size}}}") for size in BATCH_SIZES)
    if name == SHAREGPT:
        return _block(name, f"{SHAREGPT}, path: ShareGPT_V3_unfiltered_cleaned_split.json", "{request_rate: 8}")
    if name not in SHAPES:
        raise KeyError(name)
    return _block(name, name, "{max_concurrency: 1}")


def _block(name: str, shape: str, arrival: str) -> str:
    return f"  {name}:\n    dataset: {{kind: shape, name: {shape}}}\n    arrival: {arrival}\n"

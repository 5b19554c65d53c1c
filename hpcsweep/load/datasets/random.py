"""`random`: random text of given lengths, drawn as by `vllm bench serve --dataset-name random`.

Lengths are uniform in [floor(len x (1 - ratio)), ceil(len x (1 + ratio))]. With the model's tokenizer every prompt has
exactly the number of tokens drawn, including special tokens. The server's count is recorded with each sample.
"""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from hpcsweep.load.datasets.base import SampleRequest, Tokenizer, warn_counts
from hpcsweep.load.datasets.text import TextMaker
from hpcsweep.spec.base import Model, Tokens
from hpcsweep.spec.workload import DatasetFacts


class RangeRatio(Model):
    """Half the width of the range of lengths, as a fraction of its centre."""

    input: float = Field(0.0, ge=0, lt=1)
    output: float = Field(0.0, ge=0, lt=1)


class RandomOptions(Model):
    """Options of `kind: random`, with the names of vLLM."""

    input_len: Tokens = Field(1024, ge=1, description="tokens of a prompt, without the prefix")
    output_len: Tokens = Field(128, ge=1, description="tokens of a response")
    range_ratio: RangeRatio = Field(RangeRatio(), description="one number for both, or {input: ..., output: ...}")
    prefix_len: Tokens = Field(0, ge=0, description="tokens of a prefix that all prompts share")
    requests: int = Field(100, ge=1, description="number of requests if the workload has no num_requests")

    @field_validator("range_ratio", mode="before")
    @classmethod
    def _one_for_both(cls, value: object) -> object:
        return {"input": value, "output": value} if isinstance(value, (int, float)) else value


class RandomDataset:
    """Random text."""

    name: ClassVar[str] = "random"
    options_model: ClassVar[type[Model]] = RandomOptions
    needs_tokenizer: ClassVar[bool] = True

    def facts(self, options: RandomOptions, base_dir: Path, completion_tokens: int | None) -> DatasetFacts:
        """Return the longest prompt and response that can be drawn, without a chat template."""
        return DatasetFacts(
            requests=options.requests,
            prompt_tokens_max=options.prefix_len + _range(options.input_len, options.range_ratio.input)[1],
            completion_tokens_max=completion_tokens or _range(options.output_len, options.range_ratio.output)[1],
        )

    def requests(
        self, options: RandomOptions, data_files: Sequence[Path], tokenizer: Tokenizer | None, count: int, seed: int
    ) -> list[SampleRequest]:
        """Return exactly `count` requests. The first n are the same however many are asked for."""
        if tokenizer is None:
            warn_counts("prompt lengths of `random` were counted in words")
        maker = TextMaker(tokenizer)
        prefix = maker.text(random.Random(seed), options.prefix_len)[0] if options.prefix_len else ""
        requests = []
        for index in range(count):
            draw = random.Random(f"{seed} {index}")
            tokens = options.prefix_len + draw.randint(*_range(options.input_len, options.range_ratio.input))
            output = draw.randint(*_range(options.output_len, options.range_ratio.output))
            text, counted = maker.text(draw, tokens, prefix)
            requests.append(SampleRequest(str(index), prompt=text, max_tokens=output, prompt_tokens=counted))
        return requests


def _range(middle: int, ratio: float) -> tuple[int, int]:
    return max(1, math.floor(middle * (1 - ratio))), max(1, math.ceil(middle * (1 + ratio)))

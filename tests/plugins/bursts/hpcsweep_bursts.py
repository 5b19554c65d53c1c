"""A dataset plugin: bursts of requests with their own arrival times."""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from hpcsweep.load.datasets.base import SampleRequest, Tokenizer
from hpcsweep.spec.base import Model
from hpcsweep.spec.workload import DatasetFacts


class BurstOptions(Model):
    """Options of `kind: bursts`."""

    size: int = Field(2, ge=1, description="requests in one burst")
    gap_s: float = Field(60.0, gt=0, description="seconds between two bursts")
    requests: int = Field(6, ge=1, description="number of requests if the workload has no num_requests")


class Bursts:
    """Short prompts that arrive in bursts."""

    name: ClassVar[str] = "bursts"
    options_model: ClassVar[type[Model]] = BurstOptions
    needs_tokenizer: ClassVar[bool] = False

    def facts(self, options: BurstOptions, base_dir: Path, completion_tokens: int | None) -> DatasetFacts:
        """Return the number of requests. Runs on the login node."""
        return DatasetFacts(
            requests=options.requests, prompt_tokens_max=8, completion_tokens_max=completion_tokens or 4
        )

    def requests(
        self, options: BurstOptions, data_files: Any, tokenizer: Tokenizer | None, count: int, seed: int
    ) -> list[SampleRequest]:
        """Return `count` requests with due times. Runs on a compute node."""
        return [
            SampleRequest(str(n), prompt=f"request {n}", max_tokens=4, due_s=n // options.size * options.gap_s)
            for n in range(count)
        ]

"""`sharegpt`: first turns of the ShareGPT file, sampled as by `vllm bench serve --dataset-name sharegpt`.

Source: vLLM 0.32, benchmarks/datasets/datasets.py, ShareGPTDataset and is_valid_sequence. Entries with at least two
turns are shuffled by the seed. The first turn is the prompt; the second gives the length of the response. Prompt and
response have at least 4 tokens, the prompt at most 1,024, both together at most 2,048. If too few pass, requests are
repeated.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from hpcsweep.errors import DatasetError
from hpcsweep.load.datasets.base import FileOptions, SampleRequest, Tokenizer, count_tokens, sha256, warn_counts
from hpcsweep.load.datasets.sharegpt_file import check_form, conversations
from hpcsweep.spec.base import Model, Tokens
from hpcsweep.spec.workload import DatasetFacts

MIN_TOKENS, MAX_PROMPT_TOKENS, MAX_TOTAL_TOKENS = 4, 1024, 2048


class SharegptOptions(FileOptions):
    """Options of `kind: sharegpt`."""

    output_len: Tokens | None = Field(None, ge=1, description="tokens of every response; None: as in the file")
    requests: int = Field(1000, ge=1, description="number of requests if the workload has no num_requests")


class SharegptDataset:
    """Conversations of the ShareGPT JSON file."""

    name: ClassVar[str] = "sharegpt"
    options_model: ClassVar[type[Model]] = SharegptOptions
    needs_tokenizer: ClassVar[bool] = True

    def facts(self, options: SharegptOptions, base_dir: Path, completion_tokens: int | None) -> DatasetFacts:
        """Check the form of the file and return the limits of the filter.

        How many conversations pass the filter depends on the model's tokenizer.
        """
        path = (base_dir / options.path).resolve()
        digest = sha256(path)
        check_form(path)
        return DatasetFacts(
            requests=options.requests,
            prompt_tokens_max=MAX_PROMPT_TOKENS,
            completion_tokens_max=completion_tokens or options.output_len or MAX_TOTAL_TOKENS - MIN_TOKENS,
            files={str(path): digest},
        )

    def requests(
        self, options: SharegptOptions, data_files: Sequence[Path], tokenizer: Tokenizer | None, count: int, seed: int
    ) -> list[SampleRequest]:
        """Return exactly `count` requests. Raises DatasetError when no conversation passes the filter."""
        if tokenizer is None:
            warn_counts("lengths of `sharegpt` were estimated from characters")
        path = data_files[0]
        entries = conversations(path)
        random.Random(seed).shuffle(entries)
        requests: list[SampleRequest] = []
        for entry in entries:
            if len(requests) == count:
                break
            prompt, answer = (turn["value"] for turn in entry["conversations"][:2])
            prompt_tokens = count_tokens(prompt, tokenizer)
            output = options.output_len or count_tokens(answer, tokenizer)
            if _is_valid(prompt_tokens, output, options.output_len is not None):
                name = str(entry.get("id", len(requests)))
                requests.append(SampleRequest(name, prompt=prompt, max_tokens=output, prompt_tokens=prompt_tokens))
        if not requests:
            raise DatasetError(
                f"{path}: no conversation passes the length filter of vLLM's benchmark", code="dataset_empty"
            )
        draw = random.Random(seed)
        again = [draw.choice(requests) for _ in range(count - len(requests))]
        return requests + [replace(request, sample=f"{request.sample}#{n}") for n, request in enumerate(again, 2)]


def _is_valid(prompt_tokens: int, output_tokens: int, output_stated: bool) -> bool:
    if prompt_tokens < MIN_TOKENS or (output_tokens < MIN_TOKENS and not output_stated):
        return False
    return prompt_tokens <= MAX_PROMPT_TOKENS and prompt_tokens + output_tokens <= MAX_TOTAL_TOKENS

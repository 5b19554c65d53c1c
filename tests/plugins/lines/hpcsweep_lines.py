"""A dataset plugin: a text file with one prompt per line."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from hpcsweep.errors import DatasetError
from hpcsweep.load.datasets.base import FileOptions, SampleRequest, Tokenizer, sha256
from hpcsweep.spec.workload import DatasetFacts


class LinesOptions(FileOptions):
    """Options in the experiment, besides `kind` and `path`."""

    skip: int = Field(0, ge=0, description="number of lines to skip at the start")


class LinesDataset:
    """Send the lines in their order, from the first again when there are too few."""

    name = "lines"
    options_model = LinesOptions
    needs_tokenizer = False

    def facts(self, options: LinesOptions, base_dir: Path, completion_tokens: int | None) -> DatasetFacts:
        path = (base_dir / options.path).resolve()
        digest = sha256(path)  # the node compares it with the file that it reads
        count = len(prompts(path, options))
        return DatasetFacts(requests=count, completion_tokens_max=completion_tokens, files={str(path): digest})

    def requests(
        self, options: LinesOptions, data_files: Sequence[Path], tokenizer: Tokenizer | None, count: int, seed: int
    ) -> list[SampleRequest]:
        lines = prompts(data_files[0], options)
        return [SampleRequest(f"line-{i}", prompt=lines[i % len(lines)]) for i in range(count)]


def prompts(path: Path, options: LinesOptions) -> list[str]:
    """Return the prompts of the file. Raises DatasetError for a file without prompts."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()][options.skip :]
    if not lines:
        raise DatasetError(f"no prompts in {path}", code="dataset_empty")
    return lines

"""`trace`: arrival times and lengths of a recorded service, replayed with random text.

JSON lines or CSV with a header. The names of the columns are options; their defaults are those of the Mooncake traces
(JSON lines: timestamp in ms, input_length, output_length, hash_ids). `hash_ids` name blocks of the prompt: prompts
that begin with the same ids begin with the same text, so that a prefix cache finds what it found in the service.
"""

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from hpcsweep.errors import DatasetError
from hpcsweep.foreign_files import DOCUMENT_LIMIT_BYTES, parse_json, read_regular
from hpcsweep.load.datasets.base import FileOptions, Request, Tokenizer, sha256, warn_counts
from hpcsweep.load.datasets.text import TextMaker
from hpcsweep.spec.base import Model, nearest
from hpcsweep.spec.workload import DatasetFacts


class TraceOptions(FileOptions):
    """Options of `kind: trace`."""

    time: str = Field("timestamp", description="column of the arrival time; the first one is the start")
    time_unit_s: float = Field(0.001, gt=0, description="seconds of one unit of that column")
    input: str = Field("input_length", description="column of the prompt's tokens")
    output: str = Field("output_length", description="column of the answer's tokens")
    blocks: str = Field("hash_ids", description="column of the block ids; it may be missing")
    block_tokens: int = Field(512, ge=1, description="tokens of one block")
    speed: float = Field(1.0, gt=0, description="2: twice as fast as it was recorded")


class Trace:
    """A recorded sequence of arrivals."""

    kind: ClassVar[str] = "trace"
    options_model: ClassVar[type[Model]] = TraceOptions
    needs_tokenizer: ClassVar[bool] = True

    def facts(self, options: TraceOptions, base_dir: Path, completion_tokens: int | None) -> DatasetFacts:
        """The trace's counts and its longest prompt and answer."""
        path = (base_dir / options.path).resolve()
        digest = sha256(path)
        rows = _read(path, options)
        return DatasetFacts(
            requests=len(rows),
            prompt_tokens_max=max(row.prompt_tokens for row in rows),
            completion_tokens_max=completion_tokens or max(row.output_tokens for row in rows),
            files={str(path): digest},
        )

    def requests(
        self, options: TraceOptions, data_files: Sequence[Path], tokenizer: Tokenizer | None, count: int, seed: int
    ) -> list[Request]:
        """The first `count` rows of the trace, in the order of their times."""
        if tokenizer is None:
            warn_counts("prompts of `trace` were counted in words")
        maker = TextMaker(tokenizer)
        requests = []
        for index, row in enumerate(_read(data_files[0], options)[:count]):
            prefix = " ".join(
                maker.text(random.Random(f"{seed} block {b}"), options.block_tokens)[0] for b in row.blocks
            )
            text, tokens = maker.text(random.Random(f"{seed} {index}"), row.prompt_tokens, prefix)
            due_s = row.time_s / options.speed
            requests.append(
                Request(str(index), prompt=text, max_tokens=row.output_tokens, prompt_tokens=tokens, due_s=due_s)
            )
        return requests


class _Row(Model):
    time_s: float
    prompt_tokens: int = Field(ge=1)
    output_tokens: int = Field(ge=1)
    blocks: tuple[int, ...] = ()


def _read(path: Path, options: TraceOptions) -> list[_Row]:
    """Rows by time, the first at 0 s; rows without prompt or answer tokens (failed requests) are left out."""
    rows = []
    for place, entry in _entries(path):
        missing = [name for name in (options.time, options.input, options.output) if name not in entry]
        if missing:
            raise DatasetError(f"{place}: no column {missing[0]!r}", hint=nearest(missing[0], entry))
        try:
            prompt, output = int(entry[options.input]), int(entry[options.output])
            if prompt > 0 and output > 0:
                time_s = float(entry[options.time]) * options.time_unit_s
                blocks = tuple(int(block) for block in entry.get(options.blocks) or ())
                rows.append(_Row(time_s=time_s, prompt_tokens=prompt, output_tokens=output, blocks=blocks))
        except (ValueError, TypeError) as exc:
            raise DatasetError(f"{place}: not a number where one must be", detail=str(exc)) from exc
    if not rows:
        raise DatasetError(f"{path}: no row with a prompt and an answer")
    rows.sort(key=lambda row: row.time_s)
    return [row.model_copy(update={"time_s": row.time_s - rows[0].time_s}) for row in rows]


def _entries(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(place, columns) of every line."""
    try:
        text = read_regular(path, DOCUMENT_LIMIT_BYTES, follow=True).decode("utf-8")
        if path.suffix == ".csv":
            return [(f"{path}, line {n}", row) for n, row in enumerate(csv.DictReader(text.splitlines()), 2)]
        lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        entries = [(f"{path}, line {n}", parse_json(line)) for n, line in lines]
    except (OSError, ValueError) as exc:
        raise DatasetError(f"{path}: neither JSON lines nor CSV", detail=str(exc)) from exc
    for place, entry in entries:
        if not isinstance(entry, dict):
            raise DatasetError(f"{place}: not an object")
    return entries

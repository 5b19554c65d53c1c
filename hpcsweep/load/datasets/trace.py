"""`trace`: replay the arrival times and lengths of a recorded service with random text.

The file is JSON lines or CSV with a header. The names of the columns are options. The defaults are those of the
Mooncake traces (JSON lines: timestamp in ms, input_length, output_length, hash_ids); the columns of the Azure and
BurstGPT traces are recognised. Times are numbers or dates. `hash_ids` identify blocks of the prompt: prompts that
start with the same ids start with the same text, so that a prefix cache has the same hits as in the service.
"""

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from hpcsweep.errors import DatasetError
from hpcsweep.foreign_files import DOCUMENT_LIMIT_BYTES, parse_json, read_regular
from hpcsweep.load.datasets.base import FileOptions, SampleRequest, Tokenizer, sha256, warn_counts
from hpcsweep.load.datasets.text import TextMaker
from hpcsweep.load.datasets.trace_columns import TraceColumns, columns_of, integer_of, time_of, unit_of
from hpcsweep.spec.base import Model
from hpcsweep.spec.workload import DatasetFacts


class TraceOptions(FileOptions):
    """Options of `kind: trace`."""

    time: str = Field("timestamp", description="column of the arrival time; the earliest is the start")
    time_unit_s: float | None = Field(
        None, gt=0, description="seconds per unit of that column; None: 0.001 for the default columns, else estimated"
    )
    input: str = Field("input_length", description="column of the prompt's tokens")
    output: str = Field("output_length", description="column of the response's tokens")
    blocks: str = Field("hash_ids", description="column of the block ids; optional")
    block_tokens: int = Field(512, ge=1, description="tokens of one block")
    max_input: int | None = Field(None, ge=1, description="rows with a longer prompt are skipped; None: no limit")
    speed: float = Field(1.0, gt=0, description="speed of the replay; 2: twice as fast as recorded")


class TraceDataset:
    """A recorded sequence of arrivals."""

    name: ClassVar[str] = "trace"
    options_model: ClassVar[type[Model]] = TraceOptions
    needs_tokenizer: ClassVar[bool] = True

    def facts(
        self, options: TraceOptions, base_dir: Path, completion_tokens: int | None, count: int | None = None
    ) -> DatasetFacts:
        """Return the number of rows, and the longest prompt and response of the first `count` rows; None: of all."""
        path = (base_dir / options.path).resolve()
        digest = sha256(path)
        rows = _read(path, options)
        sent = rows[:count]
        return DatasetFacts(
            requests=len(rows),
            prompt_tokens_max=max(row.prompt_tokens for row in sent),
            completion_tokens_max=completion_tokens or max(row.output_tokens for row in sent),
            files={str(path): digest},
        )

    def requests(
        self, options: TraceOptions, data_files: Sequence[Path], tokenizer: Tokenizer | None, count: int, seed: int
    ) -> list[SampleRequest]:
        """Return the first `count` rows of the trace, in the order of their times."""
        if tokenizer is None:
            warn_counts("prompt lengths of `trace` were counted in words")
        maker = TextMaker(tokenizer)
        requests = []
        for index, row in enumerate(_read(data_files[0], options)[:count]):
            prefix = " ".join(
                maker.text(random.Random(f"{seed} block {b}"), options.block_tokens)[0] for b in row.blocks
            )
            text, tokens = maker.text(random.Random(f"{seed} {index}"), row.prompt_tokens, prefix)
            due_s = row.time_s / options.speed
            requests.append(
                SampleRequest(str(index), prompt=text, max_tokens=row.output_tokens, prompt_tokens=tokens, due_s=due_s)
            )
        return requests


class _Row(Model):
    time_s: float
    prompt_tokens: int = Field(ge=1)
    output_tokens: int = Field(ge=1)
    blocks: tuple[int, ...] = ()


def _read(path: Path, options: TraceOptions) -> list[_Row]:
    """Return the rows by time, the first at 0 s. Rows without prompt or response tokens are skipped."""
    entries = _entries(path)
    if not entries:
        raise DatasetError(f"{path} has no row with prompt and response tokens", code="dataset_empty")
    columns = columns_of(entries[0][1], TraceColumns(options.time, options.input, options.output), entries[0][0])
    rows: list[tuple[float, int, int, tuple[int, ...]]] = []
    dates = 0
    for location, entry in entries:
        columns_of(entry, columns, location)
        prompt = integer_of(entry[columns.input], columns.input, location)
        output = integer_of(entry[columns.output], columns.output, location)
        if prompt <= 0 or output <= 0 or (options.max_input is not None and prompt > options.max_input):
            continue
        time, is_date = time_of(entry[columns.time], columns.time, location)
        dates += is_date
        if dates not in (0, len(rows) + 1):
            raise DatasetError(f"{location}: column {columns.time!r} has both numbers and dates", code="invalid_column")
        rows.append((time, prompt, output, _blocks(entry.get(options.blocks), options.blocks, location)))
    if not rows:
        raise DatasetError(f"{path} has no row with prompt and response tokens", code="dataset_empty")
    unit_s = 1.0 if dates else options.time_unit_s or unit_of([row[0] for row in rows], columns, str(path))
    rows.sort(key=lambda row: row[0])
    first = rows[0][0]
    return [
        _Row(time_s=(time - first) * unit_s, prompt_tokens=prompt, output_tokens=output, blocks=blocks)
        for time, prompt, output, blocks in rows
    ]


def _blocks(content: Any, column: str, location: str) -> tuple[int, ...]:
    try:
        return tuple(int(block) for block in content or ())
    except (ValueError, TypeError) as exc:
        raise DatasetError(
            f"{location}: column {column!r}: {content!r} is not a list of block ids", code="invalid_column"
        ) from exc


def _entries(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return (location, columns) of every line."""
    try:
        text = read_regular(path, DOCUMENT_LIMIT_BYTES, follow=True).decode("utf-8-sig")
        if path.suffix == ".csv":
            return [(f"{path}, line {n}", row) for n, row in enumerate(csv.DictReader(text.splitlines()), 2)]
        lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        entries = [(f"{path}, line {n}", parse_json(line)) for n, line in lines]
    except (OSError, ValueError) as exc:
        raise DatasetError(f"{path}: neither JSON lines nor CSV", code="data_syntax", detail=str(exc)) from exc
    for location, entry in entries:
        if not isinstance(entry, dict):
            raise DatasetError(f"{location}: not a JSON object", code="data_syntax")
    return entries

"""What is found in a file: benchmarks, tables of samples, commands, and what could not be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hpcsweep.analysis.rows import SampleRow
from hpcsweep.imports.documents.numbers import Number

RESULT_FILE = "result file"
"""The form of a file that holds JSON (or YAML) of a load client, and no document."""


@dataclass(frozen=True, order=True)
class Location:
    """A line of a file, 1-based."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class BlockContext:
    """What stands above a block. `headings`: the outermost first; `short`: a line or title; `comment`: `# …`.

    `command`: the serve command that stands above, in the same section; empty: none.
    """

    headings: tuple[str, ...] = ()
    short: str = ""
    comment: str = ""
    command: str = ""

    @property
    def label(self) -> str:
        """The nearest heading, the short line and the comment, as far as they are there."""
        parts = [*self.headings[-1:], self.short, self.comment]
        return " / ".join(dict.fromkeys(part for part in parts if part))


@dataclass(frozen=True)
class Benchmark:
    """One result of a load client. `figures`: by the names of `vllm bench serve`'s JSON, times in ms as there.

    `settings`: request rate, backend and such, as stated. `samples`: of single requests, where the tool kept them.
    `timed`: the samples know when they were sent. `unread`: lines inside the block that mean nothing to us.
    `parameters`: what a sweep set on the server; `workload`: what it set on the load, as one text; `repeat`: the
    number of a repeated measurement, from 0; None: it is not said to be one. `derived`: figures that the file does not
    state, and that were computed from others.
    """

    label: str
    location: Location
    tool: str
    figures: Mapping[str, Number]
    context: BlockContext = BlockContext()
    settings: Mapping[str, str] = field(default_factory=dict)
    samples: tuple[SampleRow, ...] = ()
    timed: bool = False
    unread: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    workload: str = ""
    repeat: int | None = None
    derived: frozenset[str] = frozenset()

    @property
    def has_failed(self) -> bool:
        """Return whether no request of it succeeded: then it has no speed."""
        completed = self.value("completed")
        return completed == 0 or (
            completed is None and bool(self.samples) and all(sample.error for sample in self.samples)
        )

    def value(self, name: str) -> float | None:
        """A figure; None: it is not stated."""
        number = self.figures.get(name)
        return None if number is None else number.value


@dataclass(frozen=True)
class TableSample:
    """A row of a table of samples. None: the table does not say."""

    name: str
    line: int
    prompt_tokens: int | None
    completion_tokens: int | None
    e2e_s: Number | None
    tps: Number | None
    ttft_s: Number | None = None


@dataclass(frozen=True)
class SampleTable:
    """A table with one request a row. `group`: the workload, by caption or by the names of the samples.

    `averages`: column (`prompt_tokens`, `completion_tokens`, `e2e_s`, `tps`, `ttft_s`) -> what the table's own row of
    averages says, which stands in line `average_line`.
    """

    label: str
    group: str
    location: Location
    samples: tuple[TableSample, ...]
    averages: Mapping[str, Number] = field(default_factory=dict)
    average_line: int = 0
    context: BlockContext = BlockContext()


@dataclass(frozen=True)
class ParsedTable:
    """Any table. `rows`: (line, cells); `context`: what stands above it."""

    location: Location
    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    context: BlockContext = BlockContext()


@dataclass(frozen=True)
class WrittenCommand:
    """A command that starts a server, as written, comments and all; `recommended`: the document advises it."""

    location: Location
    text: str
    argv: tuple[str, ...]
    recommended: bool
    context: BlockContext = BlockContext()


@dataclass(frozen=True)
class FailedBlock:
    """Where a result is announced and an error stands."""

    label: str
    location: Location
    text: str


@dataclass(frozen=True)
class Skipped:
    """Something that was not taken, and why."""

    location: Location
    what: str
    why: str


@dataclass(frozen=True)
class ImportedDocument:
    """Everything that was found in one file, in its order. `lines`: the cleaned text, for claims in prose.

    `tables`: those that hold neither results nor samples; `result_tables`: those whose results are in `benchmarks`.
    """

    file: str
    form: str
    benchmarks: tuple[Benchmark, ...] = ()
    sample_tables: tuple[SampleTable, ...] = ()
    tables: tuple[ParsedTable, ...] = ()
    result_tables: tuple[ParsedTable, ...] = ()
    commands: tuple[WrittenCommand, ...] = ()
    failures: tuple[FailedBlock, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    lines: tuple[str, ...] = ()
    contexts: tuple[BlockContext, ...] = ()

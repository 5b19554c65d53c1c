"""The contents of a file: benchmarks, sample tables, commands, and what could not be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hpcsweep.analysis.columns import SampleRow
from hpcsweep.imports.documents.numbers import Number

RESULT_FILE = "result file"
"""The form of a file that contains JSON or YAML of a load client, rather than a document."""


@dataclass(frozen=True, order=True)
class Location:
    """A line of a file, 1-based."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class BlockContext:
    """The text above a block. `headings`: the outermost first; `short`: a line or title; `comment`: `# …`.

    `command`: the serve command above it in the same section; empty: none.
    """

    headings: tuple[str, ...] = ()
    short: str = ""
    comment: str = ""
    command: str = ""

    @property
    def label(self) -> str:
        """Return the nearest heading, the short line and the comment, as far as they exist."""
        parts = [*self.headings[-1:], self.short, self.comment]
        return " / ".join(dict.fromkeys(part for part in parts if part))


@dataclass(frozen=True)
class Benchmark:
    """One result of a load client. `figures`: by the names of `vllm bench serve`'s JSON, times in ms as there.

    `settings`: request rate, backend and others, as stated. `samples`: single requests, if the tool recorded them.
    `timed`: the samples have send times. `unread`: lines inside the block that were not understood. `parameters`: what
    a sweep set on the server; `workload`: what it set on the load, as text; `repeat`: number of the repeat, from 0;
    None: not stated. `derived`: figures that the file does not state and that were computed from others.
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
        """Return whether no request succeeded, so that the block does not have a speed."""
        completed = self.value("completed")
        return completed == 0 or (
            completed is None and bool(self.samples) and all(sample.error for sample in self.samples)
        )

    def value(self, name: str) -> float | None:
        """Return a figure; None: not stated."""
        number = self.figures.get(name)
        return None if number is None else number.value


@dataclass(frozen=True)
class TableSample:
    """A row of a sample table. None: not stated."""

    name: str
    line: int
    prompt_tokens: int | None
    completion_tokens: int | None
    e2e_s: Number | None
    tps: Number | None
    ttft_s: Number | None = None


@dataclass(frozen=True)
class SampleTable:
    """A table with one request per row. `group`: the workload, from the caption or the names of the samples.

    `averages`: column (`prompt_tokens`, `completion_tokens`, `e2e_s`, `tps`, `ttft_s`) -> value in the table's row of
    averages, which is line `average_line`.
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
    """A table. `rows`: (line, cells); `context`: the text above it."""

    location: Location
    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    context: BlockContext = BlockContext()


@dataclass(frozen=True)
class WrittenCommand:
    """A command that starts a server, as written, with comments. `recommended`: the document recommends it."""

    location: Location
    text: str
    argv: tuple[str, ...]
    recommended: bool
    context: BlockContext = BlockContext()


@dataclass(frozen=True)
class FailedBlock:
    """A block under the title of a result that contains an error instead."""

    label: str
    location: Location
    text: str


@dataclass(frozen=True)
class Skipped:
    """Something that was not imported, and why."""

    location: Location
    what: str
    why: str


@dataclass(frozen=True)
class ImportedDocument:
    """The contents of a file, in order. `lines`: the cleaned text, for claims in prose.

    `tables`: those without results and samples; `result_tables`: those whose results are in `benchmarks`.
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

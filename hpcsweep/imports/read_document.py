"""Read a file of any supported kind into blocks."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hpcsweep.errors import SpecError
from hpcsweep.imports.documents.clean_text import clean_lines, decode
from hpcsweep.imports.documents.html_tables import html_tables
from hpcsweep.imports.documents.markdown_tables import sample_table, tables
from hpcsweep.imports.documents.model import (
    RESULT_FILE,
    Benchmark,
    BlockContext,
    FailedBlock,
    ImportedDocument,
    Location,
    ParsedTable,
    SampleTable,
    Skipped,
    WrittenCommand,
)
from hpcsweep.imports.documents.outline import Outline, outline
from hpcsweep.imports.documents.printed_blocks import PrintedBlock, printed_blocks
from hpcsweep.imports.results.metric_tables import results_in
from hpcsweep.imports.results.result_files import json_objects, read_objects
from hpcsweep.spec.yaml_text import parse_yaml

_LLMD = re.compile(r"^version:\s*['\"]?0\.\d", re.MULTILINE)
_HEAD_LENGTH = 4000
_CLIENT = re.compile(r"\bguidellm\b|\bvllm bench\b|benchmark_serving|bench_serving|trtllm-bench", re.IGNORECASE)


def read_bytes(data: bytes, file: str) -> ImportedDocument:
    """Read the content of a file; `file` is its name in every location. Whatever is dropped is listed in `skipped`."""
    text, note = decode(data)
    notes = (Skipped(Location(file, 1), "the file's encoding", note),) if note else ()
    document = read_text(text, file)
    return replace(document, skipped=notes + document.skipped)


def read_text(text: str, file: str) -> ImportedDocument:
    """Read a text: result files in JSON or YAML, or else printed blocks, tables and commands."""
    if text.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
        objects, end = json_objects(text)
        if objects:
            return _of_objects(objects, end, file)
    if _LLMD.search(text[:_HEAD_LENGTH]) and "\nresults:" in text:
        return _of_yaml(text, file)
    return _of_document(text, file)


def _of_yaml(text: str, file: str) -> ImportedDocument:
    """Read the YAML benchmark report of llm-d in a text."""
    try:
        value, _ = parse_yaml(text, file)
    except SpecError as exc:
        skipped = (
            Skipped(Location(file, 1), "the whole file", f"it begins like a report of llm-d but is not valid: {exc}"),
        )
        return ImportedDocument(file=file, form=RESULT_FILE, skipped=skipped)
    return _of_objects([(1, value)], None, file)


def _of_objects(objects: list[tuple[int, object]], end: tuple[int, str] | None, file: str) -> ImportedDocument:
    items = list(read_objects(objects, file))
    skipped = [item for item in items if isinstance(item, Skipped)]
    if end is not None:
        skipped.append(Skipped(Location(file, end[0]), "the rest of the file", f"not JSON: {end[1]}"))
    benchmarks = _with_unique_labels([item for item in items if isinstance(item, Benchmark)])
    return ImportedDocument(file=file, form=RESULT_FILE, benchmarks=benchmarks, skipped=tuple(skipped))


def _of_document(text: str, file: str) -> ImportedDocument:
    lines = clean_lines(text)
    document_outline = outline(lines)
    benchmarks, skipped = [], []
    clients = _clients(lines)
    for block in printed_blocks(lines):
        location = Location(file, block.line)
        if not block.complete:
            stated = ", ".join(block.figures) or "only a title"
            skipped.append(Skipped(location, "part of a benchmark block", f"incomplete result: {stated}"))
            continue
        benchmark = _benchmark(block, document_outline.contexts[block.line - 1], location)
        benchmarks.append(replace(benchmark, tool="guidellm") if _by_guidellm(clients, block.line) else benchmark)
        skipped += [
            Skipped(Location(file, line), f"line in a benchmark block: {unread}", "unknown line")
            for line, unread in block.unread
        ]
    found_tables = [
        *tables(lines, document_outline.contexts, file),
        *html_tables(text, document_outline.contexts, file),
    ]
    of_tables = {table.location: results_in(table) for table in found_tables}
    benchmarks += [benchmark for results in of_tables.values() for benchmark in results]
    benchmarks.sort(key=lambda entry: entry.location.line)
    sampled = [(table, sample_table(table, lines)) for table in found_tables]
    sample_tables = [samples for _, samples in sampled if samples is not None]
    skipped += [row for table, samples in sampled if samples is not None for row in _rows_left(table, samples)]
    commands = [
        WrittenCommand(Location(file, command.line), command.text, command.argv, command.recommended, command.context)
        for command in document_outline.commands
    ]
    failures = list(_failures(lines, document_outline, benchmarks, file))
    if not (benchmarks or sample_tables or commands or found_tables or skipped):
        skipped.append(
            Skipped(Location(file, 1), "the whole file", "it does not contain a benchmark, table or serve command")
        )
    return ImportedDocument(
        file=file,
        form="document",
        benchmarks=_with_unique_labels(benchmarks),
        sample_tables=_with_unique_groups(sample_tables),
        tables=tuple(t for t, samples in sampled if samples is None and not of_tables[t.location]),
        result_tables=tuple(t for t, samples in sampled if samples is None and of_tables[t.location]),
        commands=tuple(commands),
        failures=tuple(failures),
        skipped=tuple(skipped),
        lines=tuple(lines),
        contexts=tuple(document_outline.contexts),
    )


def _clients(lines: Sequence[str]) -> list[tuple[int, bool]]:
    """Return (line, whether it is GuideLLM) for each mention of a load client."""
    mentions = [(number, _CLIENT.search(line)) for number, line in enumerate(lines, 1)]
    return [(number, match[0].lower() == "guidellm") for number, match in mentions if match]


def _by_guidellm(clients: Sequence[tuple[int, bool]], line: int) -> bool:
    """Return whether the last client mentioned above a line is GuideLLM; or the first below, if none is above."""
    above = bisect_left(clients, (line, False))
    return bool(clients) and clients[max(0, above - 1)][1]


def _rows_left(table: ParsedTable, samples: SampleTable) -> Iterator[Skipped]:
    """Yield the rows of a sample table that have neither a time nor a speed."""
    taken = {samples.average_line, *(sample.line for sample in samples.samples)}
    for line, row in table.rows:
        if line not in taken and any(row):
            what = f"row of a sample table: {' | '.join(row)}"[:160]
            yield Skipped(Location(table.location.file, line), what, "neither a time nor tokens/s")


def _benchmark(block: PrintedBlock, context: BlockContext, location: Location) -> Benchmark:
    return Benchmark(
        label=context.label or f"line {location.line}",
        location=location,
        tool=block.tool,
        figures=block.figures,
        context=context,
        settings=block.settings,
        unread=tuple(unread for _, unread in block.unread),
    )


def _failures(
    lines: Sequence[str], document_outline: Outline, benchmarks: Sequence[Benchmark], file: str
) -> Sequence[FailedBlock]:
    """Return the fences under the title of a result that do not contain one."""
    failures = []
    starts = [benchmark.location.line for benchmark in benchmarks]
    for first, last, title in document_outline.fences:
        if "result" not in title.lower() or any(first <= line <= last for line in starts):
            continue
        text = " ".join(line.strip() for line in lines[first - 1 : last] if line.strip())
        label = document_outline.contexts[first - 1].label
        if text:
            failures.append(FailedBlock(label or f"line {first}", Location(file, first), text[:300]))
    return failures


def _with_unique_labels(benchmarks: Sequence[Benchmark]) -> tuple[Benchmark, ...]:
    """Append the line to the label of every further block with the same label."""
    seen: set[str] = set()
    named = []
    for benchmark in benchmarks:
        label = (
            benchmark.label if benchmark.label not in seen else f"{benchmark.label} (line {benchmark.location.line})"
        )
        number = 2
        while label in seen:  # several objects in one line
            label, number = f"{benchmark.label} (line {benchmark.location.line}, {number})", number + 1
        seen.add(label)
        named.append(replace(benchmark, label=label))
    return tuple(named)


def _with_unique_groups(sample_tables: Sequence[SampleTable]) -> tuple[SampleTable, ...]:
    """Append the line to the group of every further table with the same label and group."""
    seen: set[tuple[str, str]] = set()
    named = []
    for table in sample_tables:
        group = table.group if (table.label, table.group) not in seen else f"{table.group} (line {table.location.line})"
        seen.add((table.label, group))
        named.append(replace(table, group=group))
    return tuple(named)

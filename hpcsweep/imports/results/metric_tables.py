"""Read tables with one result per column or row, under the names that the tools print."""

from collections.abc import Iterator, Sequence

from hpcsweep.imports.documents.model import Benchmark, Location, ParsedTable
from hpcsweep.imports.documents.printed_blocks import PrintedBlock, named_figure

_TOOL = "a table"


def results_in(table: ParsedTable) -> list[Benchmark]:
    """Return the complete results in a table. Their labels combine the text above the table and its header.

    A table of two columns is a printed block, which is read elsewhere.
    """
    if len(table.columns) < 3:
        return []
    upright = [
        (column, table.location.line, [(row[0], row[index]) for _, row in table.rows if index < len(row)])
        for index, column in enumerate(table.columns)
        if index
    ]
    across = [(row[0], line, list(zip(table.columns[1:], row[1:], strict=False))) for line, row in table.rows if row]
    return [*_results(table, upright), *_results(table, across)]


def _results(
    table: ParsedTable, candidates: Sequence[tuple[str, int, Sequence[tuple[str, str]]]]
) -> Iterator[Benchmark]:
    for name, line, pairs in candidates:
        block = PrintedBlock(line, line, titled=False)
        for key, value in filter(None, (named_figure(*pair) for pair in pairs)):
            block.figures.setdefault(key, value)
        if block.complete:
            yield Benchmark(
                label=" / ".join(part for part in (table.context.label, name) if part) or f"line {line}",
                location=Location(table.location.file, line),
                tool=_TOOL,
                figures=block.figures,
            )

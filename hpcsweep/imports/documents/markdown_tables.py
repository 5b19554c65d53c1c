"""Read the tables of a Markdown document, and those with one request per row as samples."""

import re
from collections.abc import Iterator, Sequence

from hpcsweep.imports.documents.model import BlockContext, Location, ParsedTable, SampleTable, TableSample
from hpcsweep.imports.documents.numbers import Number, count, figure

_RULER_CELL = re.compile(r":?-{2,}:?")
_COLUMNS = {
    "prompt_tokens": r"(?:prompt|input)(?: tokens?| len(?:gth)?)?",
    "completion_tokens": r"(?:completion|output|generated)(?: tokens?| len(?:gth)?)?",
    "e2e_s": r"(?:time|latency|e2e(?: latency)?|total time|duration) ?(?:\(s(?:ec(?:onds)?)?\))?",
    "ttft_s": r"ttft ?\(s(?:ec(?:onds)?)?\)",
    "tps": r"(?:tps|tokens?/s|tok/s|tokens per second|throughput ?\((?:tok|tokens)/s\))",
}
_UNIT = re.compile(r"(?<=\d)\s*(?:s|sec|seconds|tok(?:en)?s?/s|t/s|tokens?)$", re.IGNORECASE)
_AVERAGE = re.compile(r"^(?:avg|average|mean)\.?$", re.IGNORECASE)
_CAPTION = re.compile(r"^[\s>*-]*([^|]+?)\s*:?[\s*]*$")
_SET = re.compile(r"(?<!\w)(\d+k)(?![A-Za-z0-9])", re.IGNORECASE)


def tables(lines: Sequence[str], contexts: Sequence[BlockContext], file: str) -> Iterator[ParsedTable]:
    """Yield every pipe table, indented or not, with or without outer pipes. A table requires a ruler line."""
    end = 0
    for index in range(1, len(lines)):
        if index < end or not _is_ruler(lines[index]) or "|" not in lines[index - 1]:
            continue
        columns = cells(lines[index - 1])
        rows = []
        end = index + 1
        while end < len(lines) and "|" in lines[end]:
            rows.append((end + 1, cells(lines[end])))
            end += 1
        yield ParsedTable(Location(file, index), columns, tuple(rows), contexts[index - 1])


def _is_ruler(line: str) -> bool:
    """Return whether a line is the ruler below a table's header: `|---|:--:|`, with or without outer pipes."""
    inner = line.strip()
    if "|" not in inner or "--" not in inner:
        return False
    inner = inner.removeprefix("|").removesuffix("|")
    return all(_RULER_CELL.fullmatch(cell.strip()) for cell in inner.split("|"))


def cells(line: str) -> tuple[str, ...]:
    """Return the cells of a row, without emphasis."""
    inner = line.strip().removeprefix("|").removesuffix("|")
    return tuple(re.sub(r"[*`]{1,3}", "", cell).strip() for cell in re.split(r"(?<!\\)\|", inner))


def sample_table(table: ParsedTable, lines: Sequence[str]) -> SampleTable | None:
    """Convert a table to samples; None: it lacks a column of times or tokens/s, or a column of tokens."""
    columns = {
        name: index
        for name, pattern in _COLUMNS.items()
        for index, column in enumerate(table.columns)
        if re.fullmatch(pattern, column.strip().lower())
    }
    if not ({"e2e_s", "tps"} & columns.keys()) or not ({"prompt_tokens", "completion_tokens"} & columns.keys()):
        return None
    samples, averages, average_line = [], {}, 0
    for line, row in table.rows:
        values = {name: row[index] for name, index in columns.items() if index < len(row)}
        numbers = {name: number for name, text in values.items() if (number := figure(_UNIT.sub("", text))) is not None}
        if _AVERAGE.match(row[0]):
            averages, average_line = numbers, line
        elif "e2e_s" in numbers or "tps" in numbers:
            samples.append(_sample(row[0], line, values, numbers))
    if not samples:
        return None
    caption = _caption(lines, table.location.line)
    group = next((matched[1].lower() for text in (caption, samples[0].name) if (matched := _SET.search(text))), "")
    return SampleTable(
        label=table.context.label,
        group=group or caption or "samples",
        location=table.location,
        samples=tuple(samples),
        averages=averages,
        average_line=average_line,
        context=table.context,
    )


def _sample(name: str, line: int, values: dict[str, str], numbers: dict[str, Number]) -> TableSample:
    def tokens(column: str) -> int | None:
        number = count(_UNIT.sub("", values.get(column, "")))
        return None if number is None else int(number.value)

    return TableSample(
        name=name,
        line=line,
        prompt_tokens=tokens("prompt_tokens"),
        completion_tokens=tokens("completion_tokens"),
        e2e_s=numbers.get("e2e_s"),
        tps=numbers.get("tps"),
        ttft_s=numbers.get("ttft_s"),
    )


def _caption(lines: Sequence[str], line: int) -> str:
    """Return the line directly above a table if it is a caption; otherwise empty."""
    above = next((text for text in reversed(lines[max(0, line - 3) : line - 1]) if text.strip()), "")
    match = _CAPTION.match(above)
    if match is None or above.lstrip().startswith("#"):
        return ""
    return re.sub(r"[*`]", "", match[1]).rstrip(": ").strip()

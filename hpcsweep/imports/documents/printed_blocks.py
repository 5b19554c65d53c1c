"""Read the text block that `vllm bench serve` and `sglang.bench_serving` print, in any version and in any document.

The block may be in a log, in Markdown, flattened from a web page with values on the next line, or on a single line.

Lines as in vLLM 0.11 to 0.33, benchmarks/serve.py, SGLang 0.5.3 to 0.5.23, bench_serving.py,
and the overview of TensorRT-LLM 1.0, trtllm-bench throughput.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from hpcsweep.imports.documents.numbers import FOREIGN, NUMBER, Number, count, figure

_COUNTS = {
    "successful requests": "completed",
    "failed requests": "failed",
    "total input tokens": "total_input_tokens",
    "total generated tokens": "total_output_tokens",
    "total generated tokens (retokenized)": "total_output_tokens_retokenized",
    "total input text tokens": "total_input_text_tokens",
    "total input vision tokens": "total_input_vision_tokens",
    "peak concurrent requests": "max_concurrent_requests",
    "number of requests": "completed",
}
_MEASURED = {
    "benchmark duration (s)": "duration",
    "request throughput (req/s)": "request_throughput",
    "request goodput (req/s)": "request_goodput",
    "input token throughput (tok/s)": "input_throughput",
    "output token throughput (tok/s)": "output_throughput",
    "peak output token throughput (tok/s)": "max_output_tokens_per_s",
    "total token throughput (tok/s)": "total_token_throughput",
    "concurrency": "concurrency",
    "accept length": "accept_length",
    "request throughput (req/sec)": "request_throughput",  # from here on trtllm-bench
    "total output throughput (tokens/sec)": "output_throughput",
    "total token throughput (tokens/sec)": "total_token_throughput",
    "total latency (ms)": "duration",
    "average time-to-first-token [ttft] (ms)": "mean_ttft_ms",
    "average time-per-output-token [tpot] (ms)": "mean_tpot_ms",
    "average request latency (ms)": "mean_e2el_ms",
}
_IN_MS = "total latency (ms)"
_SETTINGS = {
    "backend": "backend",
    "max concurrency": "max_concurrency",
    "maximum concurrency": "max_concurrency",
    "request rate configured (rps)": "request_rate",
    "traffic request rate": "request_rate",
    "maximum request concurrency": "max_concurrency",
    "max request concurrency": "max_concurrency",
    "max reqeuest concurrency": "max_concurrency",  # as spelled by older SGLang
}
_STATISTIC = r"(?:Mean|Median|Std|Max|Min|P\d{1,2}(?:\.\d+)?) (?:TTFT|TPOT|ITL|E2EL|E2E Latency) \(ms\)"
_METRICS = {"e2e latency": "e2el"}

_NAMES = sorted((*_COUNTS, *_MEASURED, *_SETTINGS), key=len, reverse=True)
_STARTS = "|".join(sorted({name.split()[0] for name in _NAMES} | {"mean", "median", "std", "min", r"p\d+"}))
_VALUE = (
    rf"(?:{FOREIGN}|{NUMBER})(?!,?\d)(?![ \t|]+{NUMBER}[ \t|]*(?:$|[-+.\d]))(?:(?![\w.])|\.(?!\d)|(?=(?:{_STARTS})\b))"
)
"""A number, which another item may follow directly where line ends were lost. Several numbers on a line are ambiguous:
two columns, or thousands separated by blanks."""

_PLAIN = [name for name in _NAMES if " " in name and name not in _SETTINGS]
_ITEM = re.compile(
    rf"(?<![A-Za-z_(])(?<!mean )(?<!std )(?<!median )(?<!p\d\d )(?<!per user )(?:"
    rf"(?P<name>{'|'.join(map(re.escape, _NAMES))}|{_STATISTIC})[*`]*\s*[:|][\s*`]*"
    rf"(?P<value>{_VALUE}|inf\b|nan\b|not set\b|None\b|[a-z][\w./-]*)"
    rf"|(?P<cell>{'|'.join(map(re.escape, _PLAIN))}|{_STATISTIC})[*`]*(?:\s{{2,400}}|\t|\n)(?P<beside>{_VALUE}))",
    re.IGNORECASE | re.MULTILINE,
)
_TITLE = re.compile(r"(?:(?<!=)={1,200}[ \t]{0,8})?\bServing Benchmark Result\b[ \t]{0,8}={0,200}", re.IGNORECASE)
_RULE = re.compile(r"={20,}")
_RULED = re.compile(r"[-=]{5}[\w .()/=-]*[-=]{5}")
"""A ruler, with or without a title."""

_UNKNOWN = re.compile(rf"^[\s|>*#-]*(?P<line>[A-Za-z][^:|\n]{{2,60}}[:|]\s*{NUMBER}(?:[ |]+{NUMBER})*)\s*\|?\s*$")
_NO_VALUE = ("inf", "nan", "none", "not set")
_NEAR_LINES = 12
_ENOUGH = 3


@dataclass
class PrintedBlock:
    """A printed block. `line`, `last_line`: 1-based, of its title or first item and of its last item.

    `unread`: lines that were not understood.
    """

    line: int
    last_line: int
    titled: bool
    trtllm: bool = False
    figures: dict[str, Number] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    unread: list[tuple[int, str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Return whether it is a result: at least three figures, including a throughput or duration."""
        core = {"duration", "request_throughput", "output_throughput", "total_token_throughput"}
        return len(self.figures) >= _ENOUGH and bool(core & self.figures.keys())

    @property
    def tool(self) -> str:
        """Return the tool that printed it, by the lines that only one tool prints."""
        if self.trtllm:
            return "trtllm-bench"
        ours = {"total_output_tokens_retokenized", "input_throughput", "concurrency"}
        return "sglang.bench_serving" if ours & self.figures.keys() else "vllm bench serve"


def printed_blocks(lines: Sequence[str]) -> list[PrintedBlock]:
    """Return every block in cleaned lines, in order, including incomplete ones (see `complete`)."""
    text = "\n".join(lines)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    blocks: list[PrintedBlock] = []
    current: PrintedBlock | None = None
    here = 0
    for at, match in _marks(text):
        while starts[here + 1] <= at:
            here += 1
        number = here + 1
        if match.re is _TITLE:
            before = blocks.pop().settings if blocks and not blocks[-1].figures and not blocks[-1].titled else {}
            current = PrintedBlock(number, number, titled=True, settings=before)
            blocks.append(current)
        elif match.re is _RULE:
            if current is not None and (current.complete or (current.titled and current.figures)):
                current = None
        else:
            name, number_of, setting = _item(match)
            if number_of is None and name not in _SETTINGS.values() and setting.lower() not in _NO_VALUE:
                continue  # the headers of two columns
            if current is None or name in current.figures or number - current.last_line > _NEAR_LINES:
                current = PrintedBlock(number, number, titled=False)
                blocks.append(current)
            current.last_line = number + match[0].count("\n")
            if number_of is not None:
                current.figures[name] = number_of
                current.trtllm |= "/sec)" in match[0].lower()
            else:
                current.settings.setdefault(name, setting)
    for block in blocks:
        end = block.last_line
        while end < len(lines) and lines[end].strip() and not is_part(lines[end]):
            end += 1  # up to the ruler or a blank line
        start = block.line - 1
        while not block.titled and start > 0 and _UNKNOWN.match(lines[start - 1]):
            start -= 1
        inside = range(start, end)
        block.unread += [(i + 1, unread) for i in inside if (unread := _unread(lines[i]))]
    return blocks


def named_figure(name: str, value: str) -> tuple[str, Number] | None:
    """Return a figure from a table, by its printed name. None: an unknown name."""
    match = _ITEM.fullmatch(f"{name.strip()}: {value.strip()}")
    if match is None:
        return None
    key, number_of, _ = _item(match)
    return None if number_of is None else (key, number_of)


def _marks(text: str) -> list[tuple[int, re.Match[str]]]:
    titles = list(_TITLE.finditer(text))
    starts = [title.start() for title in titles]
    rules = [rule for rule in _RULE.finditer(text) if not _inside(rule, titles, starts)]
    marks = [(match.start(), match) for match in (*titles, *rules, *_ITEM.finditer(text))]
    return sorted(marks, key=lambda pair: pair[0])


def _inside(rule: re.Match[str], titles: Sequence[re.Match[str]], starts: Sequence[int]) -> bool:
    """Return whether a ruler is part of a title."""
    before = bisect_right(starts, rule.start()) - 1
    return before >= 0 and rule.end() <= titles[before].end()


def _item(match: re.Match[str]) -> tuple[str, Number | None, str]:
    """Return (name, figure, setting); the figure is None for a setting or a missing value."""
    printed = " ".join((match["name"] or match["cell"]).lower().split())
    value = match["value"] or match["beside"]
    if printed in _SETTINGS:
        return _SETTINGS[printed], None, value
    if printed in _COUNTS:
        return _COUNTS[printed], count(value), value
    if printed in _MEASURED:
        number = figure(value)
        return _MEASURED[printed], number * Number(0.001) if number and printed == _IN_MS else number, value
    statistic, _, metric = printed.removesuffix(" (ms)").partition(" ")
    return f"{statistic}_{_METRICS.get(metric, metric)}_ms", figure(value), value


def _unread(line: str) -> str:
    """Return a line that has the form of an item but an unknown name; otherwise empty."""
    match = _UNKNOWN.match(line)
    return match["line"] if match and not _ITEM.search(line) else ""


def is_part(line: str) -> bool:
    """Return whether a line is part of such a block: its title, an item, or a ruler."""
    return bool(_TITLE.search(line) or _ITEM.search(line) or _RULED.fullmatch(line.strip()))

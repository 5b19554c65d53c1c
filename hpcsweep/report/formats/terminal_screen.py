"""The first screen in text: as wide as the terminal, in Unicode or ASCII, at most about 45 lines for 12 variants."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.text import Text

from hpcsweep.analysis.findings.measured import Figure
from hpcsweep.report import first_screen_cells, wording
from hpcsweep.report import first_screen_text as words
from hpcsweep.report.command_text import command_lines
from hpcsweep.report.console import safe_text
from hpcsweep.report.first_screen import FirstScreen, NotSent, VariantRow

INDENT = "  "
BAR_CELLS = 8
MAX_COMMAND_LINES = 8
MAX_GROUPS = 4

_ASCII = str.maketrans(
    {"·": "|", "–": "-", "±": "+-", "≈": "~", "▲": "^", "▼": "v", "█": "#", "░": ".", "▕": "[", "▏": "]", "…": "..."}
)


@dataclass(frozen=True)
class _Column:
    """A column of the table. `right`: aligned to the right, as numbers are."""

    name: str
    title: str
    cells: tuple[str, ...]
    right: bool = False

    @property
    def width(self) -> int:
        return max(len(self.title), *(len(cell) for cell in self.cells)) if self.cells else len(self.title)


def screen_lines(screen: FirstScreen, width: int, *, unicode: bool = True) -> Iterator[Text]:
    """Yield the lines, each at most `width` columns except for the command, which can be copied."""
    for line in _Writer(screen, width).lines():
        yield line if unicode else safe_text(line.plain.translate(_ASCII), str(line.style))


class _Writer:
    """Lays out the parts one below the other."""

    def __init__(self, screen: FirstScreen, width: int) -> None:
        self._screen = screen
        self._width = width

    def lines(self) -> Iterator[Text]:
        yield from self._header()
        yield from self._answer()
        yield from self._table()
        yield from self._failures()
        yield from self._bullets("Findings", words.finding_sentences(self._screen))
        yield from self._bullets("What would settle it", words.next_steps(self._screen))
        yield safe_text("")
        yield from self._wrapped(words.cost_sentence(self._screen), indent="")
        yield from self._wrapped(words.more_sentence(self._screen), indent="")

    def _wrapped(self, text: str, *, indent: str = INDENT, hang: str = "", style: str = "") -> Iterator[Text]:
        """Break text at spaces. `hang`: before every further line."""
        for line in wrap(
            " ".join(text.split()), max(20, self._width), initial_indent=indent, subsequent_indent=indent + hang,
            break_on_hyphens=False, break_long_words=False,
        ):  # fmt: skip
            yield safe_text(line, style)

    def _header(self) -> Iterator[Text]:
        yield from self._wrapped(words.title(self._screen), indent="", style="bold")
        yield from self._wrapped(words.header_line(self._screen), indent="")
        banner = words.simulated_banner(self._screen)
        if banner:
            yield from self._wrapped(banner, indent="", style="bold yellow")
        yield safe_text("")

    def _answer(self) -> Iterator[Text]:
        yield from self._wrapped(words.answer_title(self._screen), indent="", style="bold green")
        for sentence in words.answer_sentences(self._screen):
            yield from self._wrapped(sentence)
        command = list(self._command())
        if command:
            yield safe_text("")
            yield from command
        note = words.command_note(self._screen)
        if note:
            yield from self._wrapped(note)

    def _command(self) -> Iterator[Text]:
        advice = self._screen.findings.recommendation
        lines = command_lines(advice.env, advice.argv, max(40, self._width - 6))
        if 0 < len(lines) <= MAX_COMMAND_LINES:
            for number, line in enumerate(lines):
                end = " \\" if number + 1 < len(lines) else ""
                yield safe_text(f"{INDENT * (2 if number else 1)}{line}{end}", "green")

    def _table(self) -> Iterator[Text]:
        screen = self._screen
        if not screen.rows:
            return
        columns = self._fitting_columns()
        yield safe_text("")
        yield safe_text(_joined([column.title for column in columns], columns), "bold")
        for number, row in enumerate(screen.rows):
            cells = [column.cells[number] for column in columns]
            style = "bold" if row.recommended else "dim" if row.failed else ""
            line = _joined(cells, columns)
            yield safe_text(line if len(line) <= self._width else line[: self._width - 1] + "…", style)
        if screen.hidden:
            yield safe_text(f"{screen.hidden:,} more: --full", "dim")
        for sentence in first_screen_cells.legend(screen, {column.name for column in columns}):
            yield from self._wrapped(sentence, style="dim", hang=INDENT)

    def _fitting_columns(self) -> list[_Column]:
        """Return the columns with as much detail as the width allows."""
        for dropped in (
            set(),
            {"bar"},
            {"bar", "ttft"},
            {"bar", "ttft", "ci"},
            {"bar", "ttft", "ci", "axes"},
            {"bar", "ttft", "ci", "axes", "startup"},
        ):
            columns = self._columns(dropped)
            if sum(column.width for column in columns) + 2 * (len(columns) - 1) <= self._width:
                return columns
        return columns

    def _columns(self, dropped: set[str]) -> list[_Column]:
        screen, rows = self._screen, self._screen.rows
        columns = [_Column("variant", "Variant", tuple(first_screen_cells.row_name(row, screen) for row in rows))]
        if screen.axes and ("axes" in dropped or len(screen.axes) > words.MAX_AXES):
            joined = tuple("/".join(level or "*" for level in row.levels) for row in rows)
            columns.append(_Column("axes", "/".join(screen.axes), joined))
        else:
            for i, axis in enumerate(screen.axes):
                columns.append(_Column("axes", axis, tuple(row.levels[i] or "all" for row in rows)))
        for i, workload in enumerate(screen.workloads):
            title = f"{workload} {first_screen_cells.speed_unit(screen)}"
            columns.append(_Column("speed", title, tuple(_speed(row.speeds[i], "ci" not in dropped) for row in rows)))
        if any(row.against for row in rows):
            columns.append(
                _Column("against", "vs baseline", tuple(first_screen_cells.against(row, screen) for row in rows))
            )
        if "ttft" not in dropped and any(row.ttft for row in rows):
            columns.append(_Column("ttft", "TTFT", tuple(_ttft(row.ttft) for row in rows), right=True))
        longest = max((_start_s(row) for row in rows), default=0.0)
        if "startup" not in dropped and longest > 0:
            columns.append(
                _Column("startup", "Startup", tuple(first_screen_cells.startup(row) for row in rows), right=True)
            )
            if "bar" not in dropped:
                columns.append(_Column("bar", "", tuple(_bar(row, longest) for row in rows)))
        columns.append(_Column("result", "Result", tuple(first_screen_cells.result(row, screen) for row in rows)))
        return columns

    def _failures(self) -> Iterator[Text]:
        groups = self._screen.failures
        if not groups:
            return
        yield safe_text("")
        yield safe_text("Failures", "bold")
        for group in groups[:MAX_GROUPS]:
            for i, sentence in enumerate(words.failure_sentences(group, self._screen)):
                yield from self._wrapped(sentence, indent=INDENT if i == 0 else 2 * INDENT, hang="" if i else INDENT)
        if len(groups) > MAX_GROUPS:
            yield safe_text(f"{INDENT}{len(groups) - MAX_GROUPS} more causes: --full", "dim")

    def _bullets(self, title: str, sentences: Sequence[str]) -> Iterator[Text]:
        if not sentences:
            return
        yield safe_text("")
        yield safe_text(title, "bold")
        for sentence in sentences:
            yield from self._wrapped(f"- {sentence}", hang=INDENT)


def _joined(cells: Sequence[str], columns: Sequence[_Column]) -> str:
    parts = [
        cell.rjust(column.width) if column.right else cell.ljust(column.width)
        for cell, column in zip(cells, columns, strict=True)
    ]
    return "  ".join(parts).rstrip()


def _speed(value: Figure | NotSent | None, with_interval: bool) -> str:
    if isinstance(value, NotSent):
        return "n/a"
    if value is None or value.value is None:
        return wording.NOTHING
    text = wording.number(value.value)
    if not with_interval or value.low is None or value.high is None or wording.wide_factor(value):
        return text
    half = max(value.high - value.value, value.value - value.low)
    return f"{text} ±{wording.fixed(half, len(text.partition('.')[2]))}"


def _ttft(value: Figure | None) -> str:
    return wording.NOTHING if value is None or value.value is None else f"{wording.latency(value.value)} s"


def _start_s(row: VariantRow) -> float:
    return row.ready_s or row.ended_s or 0.0


def _bar(row: VariantRow, longest_s: float) -> str:
    """Draw a start as long as it took; the phase in which it failed is light."""
    total_s = _start_s(row)
    if total_s <= 0:
        return ""
    cells = max(1, round(BAR_CELLS * total_s / longest_s))
    solid = cells if row.ready_s is not None else min(cells, round(BAR_CELLS * (row.reached_s or 0.0) / longest_s))
    return f"▕{'█' * solid}{'░' * (cells - solid)}{' ' * (BAR_CELLS - cells)}▏"

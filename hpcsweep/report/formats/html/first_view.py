"""The first screen of the page: the values of `report/first_screen.py` as its cards show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcsweep.analysis.findings import Findings, Variant
from hpcsweep.report import first_screen_text as words
from hpcsweep.report import wording
from hpcsweep.report.command_text import command_lines
from hpcsweep.report.first_screen import FirstScreen
from hpcsweep.report.first_screen_cells import name_ranges
from hpcsweep.report.formats.html.map_view import MapView, map_view
from hpcsweep.report.starts import Start, starts_by_variant
from hpcsweep.report.sweep_map import build_map
from hpcsweep.spec.phases import STARTUP_PHASES
from hpcsweep.units import format_duration

COMMAND_WIDTH = 64
MAX_BARS = 14
MAX_FAILURES = 1


@dataclass(frozen=True)
class AnswerFigure:
    """A figure of the recommended variant. `bound_percent`: its share of the bound; None: the bound is unknown."""

    workload: str
    value: str
    spread: str
    bound: str
    bound_percent: float | None


@dataclass(frozen=True)
class BarPart:
    """A phase of a start. `number`: of its colour (None: no phase); `percent`: its share of the longest start."""

    phase: str
    number: int | None
    percent: float
    ended: bool


@dataclass(frozen=True)
class StartBar:
    """The mean start of a variant, or of variants that failed in the same way. `text`: how long it took."""

    name: str
    parts: tuple[BarPart, ...]
    text: str
    outcome: str
    failed: bool


@dataclass(frozen=True)
class FirstView:
    """The cards of the first screen. `command` empty: there is none to copy. `more_*`: what is left out."""

    header: str
    banner: str
    title: str
    levels: tuple[tuple[str, str], ...]
    figures: tuple[AnswerFigure, ...]
    sentences: tuple[str, ...]
    command: str
    exports: tuple[tuple[str, str], ...]
    map: MapView | None
    bars: tuple[StartBar, ...]
    more_bars: int
    findings: tuple[str, ...]
    failures: tuple[tuple[str, ...], ...]
    more_failures: int
    steps: tuple[words.Step, ...]
    cost: str


def first_view(screen: FirstScreen) -> FirstView:
    """Put the first screen into words."""
    findings = screen.findings
    found_map = build_map(screen)
    bars = _bars(screen)
    return FirstView(
        header=words.header_line(screen),
        banner=words.simulated_banner(screen),
        title=words.answer_title(screen),
        levels=tuple(screen.answer.variant.axes.items()) if screen.answer is not None else (),
        figures=tuple(_figures(screen)),
        sentences=tuple(_sentences(screen)),
        command=" \\\n  ".join(command_lines(findings.recommendation.env, findings.recommendation.argv, COMMAND_WIDTH)),
        exports=_exports(findings),
        map=None if found_map is None else map_view(findings, found_map),
        bars=tuple(bars[:MAX_BARS]),
        more_bars=max(0, len(bars) - MAX_BARS),
        findings=tuple(words.finding_sentences(screen)),
        failures=tuple(tuple(words.failure_sentences(group, screen)) for group in screen.failures[:MAX_FAILURES]),
        more_failures=max(0, len(screen.failures) - MAX_FAILURES),
        steps=tuple(words.steps(screen)),
        cost=words.cost_sentence(screen),
    )


def _figures(screen: FirstScreen) -> list[AnswerFigure]:
    if screen.answer is None:
        return []
    figures = []
    for workload, figure in screen.answer.figures:
        value, spread = wording.figure_parts(figure)
        share = words.bound_share(screen, workload, figure)
        percent = None if share is None else 100 * min(share, 1.0)
        figures.append(AnswerFigure(workload, value, spread, words.bound_text(screen, workload, figure), percent))
    return figures


def _sentences(screen: FirstScreen) -> list[str]:
    """Return the comparisons, then how sure the answer is; without an answer, the reasons."""
    if screen.answer is None:
        return words.answer_sentences(screen)
    baseline = ["It is the baseline."] if screen.answer.variant.is_baseline else []
    sure = [line for line in (words.confidence(screen),) if line]
    return [*baseline, *words.compared_sentences(screen, screen.answer), *sure]


def _exports(findings: Findings) -> tuple[tuple[str, str], ...]:
    """Return (title, command) of the other forms of the answer."""
    if not findings.recommendation.argv:
        return ()
    export = f"hpcsweep export best {findings.sweep.sweep}"
    return (("as a script", export), ("as a Slurm job", f"{export} --to slurm"), ("as a PBS job", f"{export} --to pbs"))


def _bars(screen: FirstScreen) -> list[StartBar]:
    """Return a bar per row of the table of variants that was started, scaled to the longest start."""
    by_variant = starts_by_variant(screen.findings.startups)
    starts = [(row, _start(row.variants, by_variant)) for row in screen.rows]
    longest_s = max((start.took_s or 0.0 for _, start in starts if start is not None), default=0.0)
    return [
        StartBar(
            name=name_ranges(row.variants, screen),
            parts=_parts(start, longest_s),
            text=format_duration(start.took_s),
            outcome=row.outcome,
            failed=start.ready_s is None,
        )
        for row, start in starts
        if start is not None and start.took_s
    ]


def _start(variants: Sequence[Variant], by_variant: Mapping[str, Start]) -> Start | None:
    """Return the start of a row; of several variants that failed, the one that took longest."""
    starts = [by_variant[variant.variant] for variant in variants if variant.variant in by_variant]
    return max(starts, key=lambda start: start.took_s or 0.0, default=None)


def _parts(start: Start, longest_s: float) -> tuple[BarPart, ...]:
    parts = [
        BarPart(part.phase.value, STARTUP_PHASES.index(part.phase.value), _percent(part.mean_s, longest_s), part.ended)
        for part in start.phases
        if part.mean_s > 0
    ]
    rest_s = (start.took_s or 0.0) - sum(part.mean_s for part in start.phases)
    if rest_s > 0:
        parts.append(BarPart("not attributed to a phase", None, _percent(rest_s, longest_s), start.ready_s is not None))
    return tuple(parts)


def _percent(part_s: float, whole_s: float) -> float:
    return round(100 * part_s / whole_s, 2)

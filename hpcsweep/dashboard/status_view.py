"""The status of a sweep as rows of text: the same for the page and for its stream of changes."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcsweep.dashboard.links import Links
from hpcsweep.dashboard.timeline import Segment, segments, span_s
from hpcsweep.report import wording
from hpcsweep.report.failures import without_numbers
from hpcsweep.report.outcomes import outcome_text
from hpcsweep.report.status.live import phase_words, samples_words, summary
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.terminal_text import one_line
from hpcsweep.track.live_rows import AttemptRows
from hpcsweep.track.preparations import PreparationStatus
from hpcsweep.track.runs import RunStatus, SweepStatus
from hpcsweep.units import format_duration

MAX_ATTENTION = 12
MAX_TEXT = 240
_NOT_FAILED = (OutcomeKind.COMPLETED, OutcomeKind.UNSUPPORTED, OutcomeKind.NOT_RUN)
GROUPS = ("running", "waiting", "failed", "completed", "other")
"""What a person filters runs by."""


@dataclass(frozen=True)
class Row:
    """A row of a live table. `cells`: by field; `group`: one of `GROUPS`, also the colour; `bar`: of the startup."""

    key: str
    href: str
    group: str
    cells: Mapping[str, str]
    bar: tuple[Segment, ...] = ()
    simulated: bool = False


@dataclass(frozen=True)
class Item:
    """A sentence. `label`: its subject, in front of it, with the address `href`. `hint`: what to do next."""

    text: str
    label: str = ""
    href: str = ""
    hint: str = ""


@dataclass(frozen=True)
class LiveView:
    """What a live page shows. `fields`: single texts by name; `lists`: sentences by name; `span_s`: of the bars."""

    fields: Mapping[str, str]
    lists: Mapping[str, Sequence[Item]]
    rows: Sequence[Row]
    span_s: float = 1.0


def group_of(run: RunStatus) -> str:
    """Return the group of `GROUPS` that a run is in."""
    state, outcome = run.verdict.state, run.verdict.outcome
    if outcome is OutcomeKind.COMPLETED:
        return "completed"
    if state is RunState.FINISHED:
        return "failed" if outcome not in _NOT_FAILED else "other"
    return "running" if state is RunState.RUNNING else "waiting"


def counts(sweep: SweepStatus) -> Counter[str]:
    """Return the number of runs by group."""
    return Counter(group_of(run) for run in sweep.runs)


def status_view(
    sweep: SweepStatus, attempts: Mapping[int, AttemptRows], notes: Sequence[str], links: Links, now: float
) -> LiveView:
    """Return the live view of a sweep at Unix time `now`. `notes`: of the last refresh."""
    empty = AttemptRows()
    bars = {run.run_id: segments(run, attempts.get(run.run_id, empty).phases, now) for run in sweep.runs}
    span = span_s(list(bars.values()))
    mixed = any(not run.simulated for run in sweep.runs)  # otherwise the title of the page has it once
    rows = [_row(sweep, run, bars[run.run_id], links, now, marked=mixed and run.simulated) for run in sweep.runs]
    groups = counts(sweep)
    return LiveView(
        fields={
            "summary": summary(sweep),
            "span": format_duration(span),
            "clock": f"as of {time.strftime('%H:%M:%S', time.localtime(now))}",
            **{f"count-{group}": str(groups[group]) for group in GROUPS},
        },
        lists={
            "next": _next_steps(sweep, groups),
            "preparations": [_preparation(step) for step in sweep.current_preparations],
            "attention": _attention(sweep, attempts, links),
            "notes": [Item(one_line(note)) for note in notes],
        },
        rows=rows,
        span_s=span,
    )


def _row(
    sweep: SweepStatus, run: RunStatus, bar: tuple[Segment, ...], links: Links, now: float, *, marked: bool
) -> Row:
    return Row(
        key=run.run,
        href=links.to("sweeps", sweep.name, "runs", run.run),
        group=group_of(run),
        cells={
            "run": run.run,
            "state": outcome_text(run.verdict.outcome, run.verdict.state),
            "phase": phase_words(run, now),
            "samples": samples_words(run),
            "speed": wording.NOTHING if run.progress.output_tps is None else f"{run.progress.output_tps:.1f}",
            "node": run.node or wording.NOTHING,
            "job": run.job or wording.NOTHING,
            "reason": _reason(run),
        },
        bar=bar,
        simulated=marked,
    )


def _reason(run: RunStatus) -> str:
    return "" if run.verdict.outcome is OutcomeKind.COMPLETED else cut(run.verdict.reason)


def cut(text: str) -> str:
    """Return text from a log on one line, of a length that fits into a row."""
    line = one_line(text)
    return line if len(line) <= MAX_TEXT else f"{line[:MAX_TEXT]}…"


def _preparation(step: PreparationStatus) -> Item:
    """Return a preparation with its state, and where it runs or why it ended."""
    running = step.verdict.state is RunState.RUNNING
    detail = f"on {step.node}" if running and step.node else "" if step.completed else cut(step.verdict.reason)
    if step.completed and step.evidence:
        detail = cut(step.evidence[0])
    state = outcome_text(step.verdict.outcome, step.verdict.state)
    hint = "" if step.completed else cut(step.verdict.hint)
    return Item(f"{state}: {detail}" if detail else state, step.name, hint=hint)


def _attention(sweep: SweepStatus, attempts: Mapping[int, AttemptRows], links: Links) -> list[Item]:
    """Return what a person should look at: warnings of running servers first, then failures by their reason."""
    items: list[Item] = []
    alike: dict[tuple[str, str, str], list[RunStatus]] = {}
    for run in sweep.runs:
        href = links.to("sweeps", sweep.name, "runs", run.run)
        group = group_of(run)
        if group == "running":
            warnings = attempts.get(run.run_id, AttemptRows()).warnings
            items += [Item(cut(text), run.run, href) for text in dict.fromkeys(warnings)]
        elif group == "failed" or run.verdict.state in (RunState.UNKNOWN, RunState.HELD):
            word = outcome_text(run.verdict.outcome, run.verdict.state)
            where = f" in {run.progress.phase}" if group == "failed" and run.progress.phase else ""
            key = (word + where, without_numbers(run.verdict.reason), cut(run.verdict.hint))
            alike.setdefault(key, []).append(run)
    for (word, _, hint), runs in alike.items():
        first = runs[0]
        reason = cut(first.verdict.reason)
        name = first.run if len(runs) == 1 else f"{first.run} and {len(runs) - 1} more"
        text = f"{word}: {reason}" if reason else word
        items.append(Item(text, name, links.to("sweeps", sweep.name, "runs", first.run), hint))
    hidden = len(items) - MAX_ATTENTION
    return items if hidden <= 0 else [*items[:MAX_ATTENTION], Item(f"and {hidden} more: see the rows below")]


def _next_steps(sweep: SweepStatus, groups: Mapping[str, int]) -> list[Item]:
    """Return the next thing to do with the sweep, in one sentence or two."""
    if groups["running"] or groups["waiting"]:
        planned = sum(run.verdict.state is RunState.PLANNED for run in sweep.runs)
        if planned and not groups["running"] and planned == groups["waiting"]:
            return [Item(f"{planned} runs were not submitted.", hint=f"hpcsweep retry {sweep.name}")]
        return [Item("The sweep is under way. Nothing to do; the report is current at any time.")]
    if groups["failed"]:
        return [
            Item("All runs have ended, and some failed. Read why below, then submit them again.",
                 hint=f"hpcsweep retry {sweep.name}")
        ]  # fmt: skip
    return [Item("All runs have ended. Read the report.")]

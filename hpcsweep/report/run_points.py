"""The point of each table on starts, settings, failures, cost and requests, in one computed sentence."""

from collections.abc import Sequence

from hpcsweep.analysis.findings import Findings, RunFinding
from hpcsweep.analysis.findings.compared import AxisFinding, Comparison, Effect, Verdict, Waterfall
from hpcsweep.analysis.findings.measured import CacheEffect, Cell, Figure
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import wording
from hpcsweep.report.points import fitting, listed, span
from hpcsweep.report.wording import SIGNIFICANT
from hpcsweep.units import counted

RATIO_FROM_PERCENT = 50.0
"""A time that grows by more than this is written as a ratio: `takes 2.0x as long`."""


def startup(findings: Findings) -> str:
    """Return the fastest and slowest start, and how many failed in which phases."""
    starts = findings.startups
    ready = [(start.startup_s, start) for start in starts if start.ended_in is None and start.startup_s is not None]
    failed = [start.ended_in for start in starts if start.ended_in is not None]
    parts = []
    if ready:
        (low, fastest), (high, slowest) = min(ready, key=lambda r: r[0]), max(ready, key=lambda r: r[0])
        text = span((low, high), (wording.seconds(low), wording.seconds(high)))
        if wording.seconds(low) != wording.seconds(high):
            text = (
                f"{wording.seconds(low)} ({wording.short_name(findings, fastest.variant)}) to "
                f"{wording.seconds(high)} ({wording.short_name(findings, slowest.variant)})"
            )
        parts.append(f"Startup takes {text}")
    if failed:
        phases = dict.fromkeys(phase.value for phase in failed)
        every = "all " if len(phases) == 1 and len(failed) > 1 else ""
        parts.append(f"{len(failed)} of {counted(len(starts), 'start')} failed, {every}in {' or '.join(phases)}")
    return listed(parts) if parts else "No server has become ready"


def cache(effects: Sequence[CacheEffect]) -> str:
    """Return how much longer a start takes with a cold compile cache, and whether the intervals say so."""
    ratios = [e.cold.value / e.warm.value for e in effects if e.cold.value is not None and e.warm.value]
    if not ratios:
        return ""
    text = f"With a cold compile cache, startup takes {span(ratios, [f'{r:.2f}x' for r in ratios])} as long"
    if all(_apart(effect.cold, effect.warm) for effect in effects):
        return text
    return f"{text}; not more than the spread between starts, or it is not known"


def _apart(first: Figure, second: Figure) -> bool:
    """Whether both intervals are known and do not overlap."""
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return False
    return first.low > second.high or first.high < second.low


def levels(axis: AxisFinding) -> str:
    """Return the levels without a completed run; else how many runs completed."""
    total, completed = sum(level.runs for level in axis.levels), sum(level.completed for level in axis.levels)
    without = [f"{axis.axis}={level.level}" for level in axis.levels if level.runs and not level.completed]
    text = f"{completed} of {counted(total, 'run')} completed"
    if not without or not completed:
        return text
    return fitting(f"{text}, none with {' or '.join(without)}", f"{text}, none with {len(without)} of the levels")


def changes(axis: str, given: Sequence[tuple[str, Comparison | Effect]]) -> str:
    """Return the significant changes with their size, then on which metrics an axis has none or no verdict."""
    significant = [(level, change) for level, change in given if change.verdict in SIGNIFICANT]
    by_level: dict[str, list[str]] = {}
    for level, change in significant:
        by_level.setdefault(level, []).append(_size(change))
    parts = [f"{axis}={level}: {', '.join(sizes)}" for level, sizes in by_level.items()]
    changed = {change.metric for _, change in significant}
    judged = [change for _, change in given if change.verdict is Verdict.NO_DIFFERENCE]
    same = {change.metric for change in judged} - changed
    withheld = {change.metric for _, change in given} - changed - same
    for metrics, what in ((same, "significant effect"), (withheld, "verdict")):
        titles = [wording.inside(METRICS[name].title) for name in METRICS if name in metrics]
        if titles:
            parts.append(f"{'no' if parts else f'{axis}: no'} {what} on {', '.join(titles)}")
    return listed(parts)


def _size(change: Comparison | Effect) -> str:
    metric, percent = METRICS[change.metric], change.percent.value or 0.0
    where = f" on {change.workload}" if change.workload else ""
    mark = " (provisional)" if isinstance(change, Comparison) and change.provisional else ""
    if metric.unit == "s" and percent >= RATIO_FROM_PERCENT:
        return f"{wording.inside(metric.title)} takes {1 + percent / 100:.1f}x as long{where}{mark}"
    return f"{wording.inside(metric.title)} {percent:+.1f} %{where}, {wording.verdict(change.verdict)}{mark}"


def compared(given: Sequence[Verdict]) -> str:
    """Return how many comparisons are worse, better, not different and without a verdict."""
    kinds = (Verdict.WORSE, Verdict.BETTER, Verdict.NO_DIFFERENCE, Verdict.NOT_COMPARABLE)
    counts = [(given.count(kind), wording.verdict(kind)) for kind in kinds]
    return f"{counted(len(given), 'comparison')}: {', '.join(f'{n} {name}' for n, name in counts if n)}"


def waterfall(given: Waterfall) -> str:
    """Return the kept steps and what they change together."""
    kept = [f"{step.axis}={step.after}" for step in given.steps if step.kept]
    what = f"{METRICS[given.metric].title} on {given.workload}"
    if not kept:
        return fitting(f"{what}: no option is significantly better than the start")
    total = "" if given.total.value is None else f", {given.total.value:+.1f} % together"
    return fitting(f"{what}: {', '.join(kept)} kept{total}", f"{what}: {counted(len(kept), 'option')} kept{total}")


def failed(runs: Sequence[RunFinding], shared: Sequence[tuple[str, str]], total: int) -> str:
    """Return how many runs ended this way, and what exactly these have in common."""
    text = f"{len(runs)} of {counted(total, 'run')}: {wording.outcome(runs[0])}"
    if not shared:
        return fitting(text)
    return fitting(f"{text}, every one with {' and '.join(f'{axis}={level}' for axis, level in shared)}", text)


def cost(findings: Findings) -> str:
    """Return the share of the GPU-hours that gave no result."""
    used, wasted = findings.costs.used.value or 0.0, findings.costs.wasted.value or 0.0
    if not used:
        return "No GPU-hours were used"
    if not wasted:
        return f"{wording.hours(used)} GPU-hours, none of them in runs without a result"
    return f"{wording.hours(wasted)} of {wording.hours(used)} GPU-hours went into runs without a result"


def requests(cell: Cell) -> str:
    """Return how much longer the slowest cold request takes than warm ones; else the range of the latencies."""
    slower = [cold.slower_by for cold in cell.cold if cold.slower_by is not None]
    if slower:
        which = "The cold request takes" if len(slower) == 1 else "The slowest cold request takes"
        return f"{which} {max(slower):.2f}x as long as the median of the warm ones"
    summary = cell.summary("e2e_s", "warm") or cell.summary("e2e_s", "all")
    if summary is None:
        return "No request has succeeded"
    texts = (wording.latency(summary.minimum), wording.latency(summary.maximum))
    return f"Requests take {span((summary.minimum, summary.maximum), texts)} s"

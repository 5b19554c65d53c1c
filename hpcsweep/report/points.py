"""The point of each table on speed, in one sentence that is computed from the findings.

A verdict is stated as such only where the findings have one; otherwise the sentence gives the range of the figures.
"""

from collections.abc import Iterable, Sequence
from textwrap import shorten

from hpcsweep.analysis.compared.variants import join_names
from hpcsweep.analysis.findings import Findings
from hpcsweep.analysis.findings.compared import Verdict
from hpcsweep.analysis.findings.measured import Bound, Figure, Result, SampleSet
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import wording
from hpcsweep.report.wording import SIGNIFICANT
from hpcsweep.units import counted

LONGEST = 110
"""Characters of a point: one line above a table."""

NAMES = 4
"""Variants that a point names; more are counted."""

_NOT_DIFFERENT = wording.verdict(Verdict.NO_DIFFERENCE)


def fitting(*sentences: str) -> str:
    """Return the first sentence that fits; if none does, the last one, cut."""
    for sentence in sentences:
        if len(sentence) <= LONGEST:
            return sentence
    return shorten(sentences[-1], LONGEST, placeholder=" …")


def listed(parts: Sequence[str]) -> str:
    """Join as many parts as fit, and count the others."""
    shown = [*parts]
    while len(shown) > 1:
        left = len(parts) - len(shown)
        text = "; ".join([*shown, *([f"and {left} more"] if left else [])])
        if len(text) <= LONGEST:
            return text
        shown.pop()
    left = len(parts) - len(shown)
    return fitting("; ".join([*shown, *([f"and {left} more"] if left else [])])) if shown else ""


def span(values: Sequence[float], texts: Sequence[str]) -> str:
    """Return `58.4 to 79.1` by the smallest and largest value; one text if both read the same."""
    low = texts[min(range(len(values)), key=values.__getitem__)]
    high = texts[max(range(len(values)), key=values.__getitem__)]
    return low if low == high else f"{low} to {high}"


def names(findings: Findings, variants: Iterable[str]) -> str:
    """Return the short names of variants, or how many there are."""
    shown = [wording.short_name(findings, variant) for variant in dict.fromkeys(variants)]
    return join_names(shown) if len(shown) <= NAMES else f"{len(shown):,} variants"


def results(findings: Findings) -> str:
    """Return the fastest variant of each workload; without such a decision, the changes against the baseline."""
    advice = findings.recommendation
    if not any(result.headline("tps") for result in findings.results):
        return against_baseline(findings, "output_throughput", "all")
    if advice.metric != "tps":
        return against_baseline(findings, "tps", "warm")
    if len(advice.by_workload) > 1 and all(best.equal for best in advice.by_workload):
        return fitting(f"{_NOT_DIFFERENT.capitalize()}: {_equals(findings)}")
    parts = [
        _best(findings, best.workload, best.best, best.equal, best.score, bool(best.not_measured))
        for best in advice.by_workload
    ]
    if not parts and advice.best is not None and advice.workload is not None:
        equal = [c.variant for c in advice.candidates if c.equal_to_best and c.variant != advice.best]
        score = next(c.score for c in advice.candidates if c.variant == advice.best)
        alone = sum(c.score.value is not None for c in advice.candidates) == 1
        parts = [_best(findings, advice.workload, advice.best, equal, score, alone)]
    return listed(parts) if parts else against_baseline(findings, "tps", "warm")


def _equals(findings: Findings) -> str:
    """Return the best variant of each workload, and those that are not significantly different from it."""
    return listed(
        [
            f"{wording.short_name(findings, best.best)} ({wording.number(best.score.value)} "
            f"{wording.unit(best.score.unit)}) and {names(findings, best.equal)} on {best.workload}"
            for best in findings.recommendation.by_workload
        ]
    )


def _best(findings: Findings, workload: str, best: str, equal: Sequence[str], score: Figure, partial: bool) -> str:
    name = wording.short_name(findings, best)
    speed = f"{wording.number(score.value)} {wording.unit(score.unit)}"
    if equal:
        return f"{workload}: {name} at {speed}, {_NOT_DIFFERENT} from {names(findings, equal)}"
    measured = [
        result.variant
        for result in findings.results
        if result.workload == workload and result.headline("tps") is not None
    ]
    if len(set(measured)) < 2:
        return f"{workload}: only {name} has a result, {speed}{_of_bound(findings, best, workload)}"
    others = " among the variants with a valid result" if partial else ""
    return f"{workload}: {name} is fastest{others}: {speed}{_of_bound(findings, best, workload)}"


def _of_bound(findings: Findings, variant: str, workload: str) -> str:
    for result in findings.results:
        if (result.variant, result.workload) == (variant, workload):
            share = _share(result, "tps", "warm")
            return "" if share is None else f", {wording.share(share)} of its bound"
    return ""


def against_baseline(findings: Findings, metric: str, condition: SampleSet) -> str:
    """Return the significant changes of a metric against the baseline, or that there is none or no verdict."""
    compared = [c for c in findings.comparisons if (c.metric, c.condition) == (metric, condition)]
    title = METRICS[metric].title
    baseline = findings.sweep.baseline_variant
    if not compared or baseline is None:
        return _measured_range(findings, metric, condition)
    significant = [c for c in compared if c.verdict in SIGNIFICANT]
    equal = sum(c.verdict is Verdict.NO_DIFFERENCE for c in compared)
    withheld = [c for c in compared if c.verdict is Verdict.NOT_COMPARABLE]
    reference = wording.short_name(findings, baseline)
    if significant:
        parts = [
            f"{wording.short_name(findings, c.variant)} {c.percent.value:+.1f} % on {c.workload}, {c.verdict.value}"
            f"{' (provisional)' if c.provisional else ''}"
            for c in significant
        ]
        parts[0] = f"{title} against the baseline {reference}: {parts[0]}"
        return listed([*parts, *([f"{counted(equal, 'other')} {_NOT_DIFFERENT}"] if equal else [])])
    if not equal:
        reason = next((c.reason for c in withheld if c.reason), "")
        return fitting(f"{title}: no verdict; {reason}", f"{title}: no verdict, because the results do not compare")
    mark = " (provisional)" if any(c.provisional for c in compared) else ""
    text = f"{title}: no significant difference from the baseline {reference}{mark}"
    return fitting(f"{text}; {counted(len(withheld), 'comparison')} without a verdict", text) if withheld else text


def _measured_range(findings: Findings, metric: str, condition: SampleSet) -> str:
    figures = [result.mean(metric, condition) for result in findings.results]
    known = [(f, f.value) for f in figures if f is not None and f.value is not None]
    if not known:
        return f"{METRICS[metric].title}: no result"
    texts = [wording.number(value) for _, value in known]
    text = f"{METRICS[metric].title}: {span([value for _, value in known], texts)} {wording.unit(known[0][0].unit)}"
    return text if len(known) == 1 else f"{text}, not compared with a baseline"


def decision(findings: Findings) -> str:
    """Return the recommended variant, and how the others compare with the best one."""
    advice = findings.recommendation
    if advice.chosen is None or advice.best is None:
        return fitting(*(f"No recommendation: {reason}" for reason in advice.why[:1]), "No recommendation")
    score = next(c.score for c in advice.candidates if c.variant == advice.chosen)
    mark = " (provisional)" if advice.provisional else ""
    head = f"{wording.short_name(findings, advice.chosen)} is recommended{mark}: {wording.number(score.value)}"
    head = f"{head} {wording.unit(score.unit)}"
    others = [c for c in advice.candidates if c.variant != advice.chosen and c.score.value is not None]
    if not others:
        return fitting(f"{head}; no other variant has a result for the whole objective", head)
    equal = [c.variant for c in others if c.equal_to_best or c.variant == advice.best]
    if not equal:
        return fitting(f"{head}; it has the best score of {len(others) + 1}", head)
    verb = "is" if len(equal) == 1 else "are"
    return fitting(f"{head}; {names(findings, equal)} {verb} {_NOT_DIFFERENT}", head)


def bounds(findings: Findings) -> str:
    """Return the range of the share of the bound, and what limits decoding."""
    known = [(result, result.bound) for result in findings.results if result.bound is not None]
    for metric, condition in BOUNDED:
        shares = [share for result, _ in known if (share := _share(result, metric, condition)) is not None]
        if shares:
            reached = span(shares, [wording.share(share) for share in shares])
            text = f"{METRICS[metric].title} reaches {reached} of the hardware bound"
            return fitting(f"{text}; decode is limited by {_limiters(bound for _, bound in known)}", text)
    return f"Decode is limited by {_limiters(bound for _, bound in known)}"


BOUNDED: tuple[tuple[str, SampleSet], ...] = (("tps", "warm"), ("tpot_s", "warm"), ("output_throughput", "all"))
"""The metrics that have a bound, the most important first."""


def _limiters(known: Iterable[Bound]) -> str:
    return " or ".join(dict.fromkeys(bound.limiter.value for bound in known))


def _share(result: Result, metric: str, condition: SampleSet) -> float | None:
    mean = result.mean(metric, condition)
    if result.bound is None or mean is None or mean.value is None:
        return None
    return result.bound.share(metric, mean.value)


def percentiles(findings: Findings, fewest: int) -> str:
    """Return how far the tail of the latency is from its median, at worst; over cells with enough samples."""
    tails = [
        (summary.p99 / summary.median, cell)
        for cell in findings.cells
        if cell.left_out is None and cell.succeeded >= fewest
        if (summary := cell.summary("e2e_s", "warm") or cell.summary("e2e_s", "all")) is not None
        if summary.median > 0
    ]
    if not tails:
        return ""
    ratio, cell = max(tails, key=lambda tail: tail[0])
    where = f"{wording.short_name(findings, cell.variant)} on {cell.workload}"
    most = "" if len(tails) == 1 else "at most "
    return fitting(f"p99 of the latency is {most}{ratio:.2f}x its median ({where})")


def front(findings: Findings) -> str:
    """Return the variants that no other beats in both means, by workload."""
    workloads = dict.fromkeys(point.workload for point in findings.pareto)
    parts = []
    for workload in workloads:
        points = [point for point in findings.pareto if point.workload == workload]
        best = [point.variant for point in points if point.dominated_by is None]
        parts.append(f"{workload}: {names(findings, best)} of {len(points)} on the front")
    return listed(parts)


def replicas(findings: Findings) -> str:
    """Return the variant with the highest computed throughput on the same number of GPUs."""
    known = [(scaled.output_throughput.value, scaled) for scaled in findings.scaling]
    valued = [(value, scaled) for value, scaled in known if value is not None]
    if not valued:
        return ""
    value, best = max(valued, key=lambda pair: pair[0])
    name = wording.short_name(findings, best.variant)
    return fitting(
        f"On {best.gpus_total} GPUs, {best.replicas} x {name} has the highest computed mean: "
        f"{wording.number(value)} {wording.unit(best.output_throughput.unit)} on {best.workload}"
    )

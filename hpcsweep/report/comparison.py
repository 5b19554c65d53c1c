"""Comparison of two sweeps, for a terminal and as JSON."""

from typing import Any

from hpcsweep.analysis.compared.regressions import Pair, SweepComparison
from hpcsweep.analysis.compared.startups_compared import StartupComparison
from hpcsweep.analysis.findings.compared import Comparison, Verdict
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import run_points, wording
from hpcsweep.report.document import Block, Bullets, Document, Paragraph, Section, Table
from hpcsweep.report.plain import plain
from hpcsweep.report.wording import ALL_REQUESTS, CONDITION, NOTHING, SIMULATED
from hpcsweep.units import counted

SCHEMA = "hpcsweep.comparison/1"


def comparison_document(sweeps: SweepComparison, tolerance_percent: float) -> Document:
    """Return the verdict, then every pair of variants."""
    regressions = sweeps.regressions(tolerance_percent)
    verdict = counted(len(regressions), "regression") if regressions else "No regression"
    blocks: list[Block] = [Paragraph(f"{verdict} in {sweeps.second} compared with {sweeps.first}.", strong=True)]
    if _all_simulated(sweeps):
        blocks.insert(0, Paragraph(f"{SIMULATED}: every figure comes from the simulated engine.", strong=True))
    if regressions:
        blocks.append(Bullets(tuple(regressions)))
    if sweeps.changed_conditions:
        blocks += [Paragraph("Also changed:"), Bullets(sweeps.changed_conditions)]
    rows = tuple(
        (
            _marked(sweeps, pair),
            comparison.workload,
            METRICS[comparison.metric].title,
            CONDITION[comparison.condition] if METRICS[comparison.metric].of_samples else ALL_REQUESTS,
            wording.quantity(comparison.reference_value, metric=comparison.metric),
            wording.quantity(comparison.variant_value, metric=comparison.metric),
            wording.change(comparison.percent, wording.comparison(comparison)),
            _basis(comparison),
        )
        for pair in sweeps.pairs
        for comparison in pair.comparisons
    )
    columns = ("Variant", "Workload", "Metric", "Samples", sweeps.first, sweeps.second, "Change", "Basis")
    note = "Brackets: 95 % CI. Verdicts are corrected for the number of comparisons of a metric (Holm)."
    point = run_points.compared([comparison.verdict for pair in sweeps.pairs for comparison in pair.comparisons])
    sections = [Section("Verdict", tuple(blocks)), Section("Variants", (Table(columns, rows, note, point),))]
    sections += _startup(sweeps)
    alone = [f"only in {sweeps.first}: {name}" for name in sweeps.only_first]
    alone += [f"only in {sweeps.second}: {name}" for name in sweeps.only_second]
    if alone:
        sections.append(Section("Only in one of the sweeps", (Bullets(tuple(alone)),)))
    return Document(f"{sweeps.first} and {sweeps.second}", tuple(sections))


def _all_simulated(sweeps: SweepComparison) -> bool:
    return all(pair.simulated for pair in sweeps.pairs) and bool(sweeps.pairs)


def _marked(sweeps: SweepComparison, pair: Pair) -> str:
    """Return the name of a variant, with a mark unless all of them are simulated."""
    return f"{pair.name} {SIMULATED}" if pair.simulated and not _all_simulated(sweeps) else pair.name


def _startup(sweeps: SweepComparison) -> list[Section]:
    """Return the startup times of the variants; empty if neither sweep has any."""
    rows = tuple(
        (
            _marked(sweeps, pair),
            METRICS[start.metric].title,
            " -> ".join(cache or NOTHING for cache in start.caches) if any(start.caches) else NOTHING,
            wording.quantity(start.first, metric=start.metric),
            wording.quantity(start.second, metric=start.metric),
            wording.change(start.percent, _startup_change(start)),
        )
        for pair in sweeps.pairs
        for start in pair.startups
    )
    if not rows:
        return []
    columns = ("Variant", "Time (s)", "Compile cache", sweeps.first, sweeps.second, "Change")
    note = (
        "Means over the starts that reached this point. Starts are compared with starts that found the same state of "
        "the compile cache. Slower starts do not count as regressions, because the file system's cache changes these "
        "times too."
    )
    point = run_points.compared([start.verdict for pair in sweeps.pairs for start in pair.startups])
    return [Section("Startup", (Table(columns, rows, note, point),))]


def _startup_change(start: StartupComparison) -> str:
    change = wording.percent(start.percent)
    return f"{change}: {wording.verdict(start.verdict)}" + (f" ({start.reason})" if start.reason else "")


def _basis(comparison: Comparison) -> str:
    return "" if comparison.verdict is Verdict.NOT_COMPARABLE else comparison.reason


def comparison_json(sweeps: SweepComparison, tolerance_percent: float) -> dict[str, Any]:
    """Return the comparison as JSON values; see docs/report-json.md."""
    body: dict[str, Any] = plain(sweeps)
    return {"schema": SCHEMA, "regressions": sweeps.regressions(tolerance_percent), **body}

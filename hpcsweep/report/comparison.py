"""Comparison of two sweeps, for a terminal and as JSON."""

from typing import Any

from hpcsweep.analysis.compared.regressions import SweepComparison
from hpcsweep.analysis.compared.startups_compared import StartupComparison
from hpcsweep.analysis.findings.compared import Comparison, Verdict
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import wording
from hpcsweep.report.document import Block, Bullets, Document, Paragraph, Section, Table
from hpcsweep.report.plain import plain
from hpcsweep.report.wording import ALL_REQUESTS, CONDITION, NOTHING, SIMULATED
from hpcsweep.units import counted

SCHEMA = "hpcsweep.comparison/1"


def comparison_document(found: SweepComparison, tolerance_percent: float) -> Document:
    """Return the verdict, then every pair of variants."""
    regressions = found.regressions(tolerance_percent)
    verdict = counted(len(regressions), "regression") if regressions else "No regression"
    blocks: list[Block] = [Paragraph(f"{verdict} in {found.second} compared with {found.first}.", strong=True)]
    if regressions:
        blocks.append(Bullets(tuple(regressions)))
    if found.changed_conditions:
        blocks += [Paragraph("Also changed:"), Bullets(found.changed_conditions)]
    rows = tuple(
        (
            _marked(pair.name, pair.simulated),
            one.workload,
            METRICS[one.metric].title,
            CONDITION[one.condition] if METRICS[one.metric].of_samples else ALL_REQUESTS,
            wording.quantity(one.reference_value),
            wording.quantity(one.variant_value),
            wording.change(one.percent, wording.comparison(one)),
            _basis(one),
        )
        for pair in found.pairs
        for one in pair.comparisons
    )
    columns = ("Variant", "Workload", "Metric", "Requests", found.first, found.second, "Change", "Basis")
    note = "Brackets: 95 % CI. Verdicts are corrected for the number of comparisons of a metric (Holm)."
    sections = [Section("Verdict", tuple(blocks)), Section("Variants", (Table(columns, rows, note),))]
    sections += _startup(found)
    alone = [f"only in {found.first}: {name}" for name in found.only_first]
    alone += [f"only in {found.second}: {name}" for name in found.only_second]
    if alone:
        sections.append(Section("Only in one of the sweeps", (Bullets(tuple(alone)),)))
    return Document(f"{found.first} and {found.second}", tuple(sections))


def _marked(name: str, simulated: bool) -> str:
    return f"{name} {SIMULATED}" if simulated else name


def _startup(found: SweepComparison) -> list[Section]:
    """Return the startup times of the variants; empty if neither sweep has any."""
    rows = tuple(
        (
            _marked(pair.name, pair.simulated),
            METRICS[one.metric].title,
            " -> ".join(cache or NOTHING for cache in one.caches) if any(one.caches) else NOTHING,
            wording.quantity(one.first),
            wording.quantity(one.second),
            wording.change(one.percent, _startup_change(one)),
        )
        for pair in found.pairs
        for one in pair.startups
    )
    if not rows:
        return []
    columns = ("Variant", "Time (s)", "Compile cache", found.first, found.second, "Change")
    note = (
        "Means over the starts that reached this point. Starts are compared with starts that found the same state of "
        "the compile cache. Slower starts do not count as regressions, because the file system's cache changes these "
        "times too."
    )
    return [Section("Startup", (Table(columns, rows, note),))]


def _startup_change(one: StartupComparison) -> str:
    change = wording.percent(one.percent)
    return f"{change}: {wording.verdict(one.verdict)}" + (f" ({one.reason})" if one.reason else "")


def _basis(one: Comparison) -> str:
    return "" if one.verdict is Verdict.NOT_COMPARABLE else one.reason


def comparison_json(found: SweepComparison, tolerance_percent: float) -> dict[str, Any]:
    """Return the comparison as JSON values; see docs/report-json.md."""
    body: dict[str, Any] = plain(found)
    return {"schema": SCHEMA, "regressions": found.regressions(tolerance_percent), **body}

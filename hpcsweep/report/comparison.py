"""Two sweeps side by side, for a terminal and as JSON."""

from typing import Any

from hpcsweep.analysis.compared.regressions import SweepComparison
from hpcsweep.analysis.compared.startups_compared import StartupComparison
from hpcsweep.analysis.findings.compared import Comparison, Verdict
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import wording
from hpcsweep.report.document import Block, Bullets, Document, Paragraph, Section, Table
from hpcsweep.report.plain import plain
from hpcsweep.report.wording import CONDITION, NOTHING

SCHEMA = "hpcsweep.comparison/1"


def comparison_document(found: SweepComparison, tolerance_percent: float) -> Document:
    """The verdict first, then every pair of variants."""
    regressions = found.regressions(tolerance_percent)
    verdict = f"{len(regressions)} regressions" if regressions else "No regression seen"
    blocks: list[Block] = [Paragraph(f"{verdict}: {found.second} against {found.first}.", strong=True)]
    if regressions:
        blocks.append(Bullets(tuple(regressions)))
    if found.changed_conditions:
        blocks += [Paragraph("What else changed:"), Bullets(found.changed_conditions)]
    rows = tuple(
        (
            wording.marked(pair.name, pair.simulated),
            one.workload,
            METRICS[one.metric].title,
            CONDITION[one.condition] if METRICS[one.metric].of_samples else "all requests",
            wording.figure(one.reference_value),
            wording.figure(one.variant_value),
            wording.comparison(one),
            _held(one),
        )
        for pair in found.pairs
        for one in pair.comparisons
    )
    columns = ("Config", "Dataset", "Metric", "Samples", found.first, found.second, "Change", "What it rests on")
    note = "In brackets 95% intervals; verdicts are corrected for the number of comparisons of a metric (Holm)."
    sections = [Section("Verdict", tuple(blocks)), Section("Variants", (Table(columns, rows, note),))]
    sections += _startup(found)
    alone = [f"only in {found.first}: {name}" for name in found.only_first]
    alone += [f"only in {found.second}: {name}" for name in found.only_second]
    if alone:
        sections.append(Section("Not in both", (Bullets(tuple(alone)),)))
    return Document(f"{found.first} and {found.second}", tuple(sections))


def _startup(found: SweepComparison) -> list[Section]:
    """The startup times of the variants; empty: neither sweep saw one."""
    rows = tuple(
        (
            wording.marked(pair.name, pair.simulated),
            METRICS[one.metric].title,
            " -> ".join(cache or NOTHING for cache in one.caches) if any(one.caches) else NOTHING,
            wording.figure(one.first),
            wording.figure(one.second),
            _startup_change(one),
        )
        for pair in found.pairs
        for one in pair.startups
    )
    if not rows:
        return []
    columns = ("Config", "Time (s)", "Compile cache", found.first, found.second, "Change")
    note = (
        "Means over the starts that became ready, or got so far. Starts are judged against starts that found the same "
        "in the compile cache. No regression is counted here: a file system's cache moves these times too."
    )
    return [Section("Startup", (Table(columns, rows, note),))]


def _startup_change(one: StartupComparison) -> str:
    change = wording.percent(one.percent)
    return f"{change}: {one.verdict.value}" + (f" ({one.reason})" if one.reason else "")


def _held(one: Comparison) -> str:
    return "" if one.verdict is Verdict.NOT_COMPARABLE else one.reason


def comparison_json(found: SweepComparison, tolerance_percent: float) -> dict[str, Any]:
    """The same as JSON values; see docs/report-json.md."""
    body: dict[str, Any] = plain(found)
    return {"schema": SCHEMA, "regressions": found.regressions(tolerance_percent), **body}

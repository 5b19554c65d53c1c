"""The report as a document: its chapters in the order of the studies."""

from hpcsweep.analysis.findings import Findings
from hpcsweep.report.chapters import details, effects_tables, overview
from hpcsweep.report.chapters import recommendation as advice
from hpcsweep.report.document import Document, Section

MAX_RUNS_DETAILED = 200
"""A sweep with more runs is described by its tables; a part for each run would bury them."""


def build_document(findings: Findings, *, decision_first: bool = False) -> Document:
    """All chapters that have something to say, with the text of the submitted scripts.

    `decision_first`: the recommendation before the summary, and notes and versions near the end, for those who scroll.
    """
    sweep = findings.sweep
    small = len(findings.runs) <= MAX_RUNS_DETAILED
    decision = (overview.summary(findings), advice.recommendation(findings))
    chapters: list[Section | None] = [
        overview.head(findings, brief=decision_first),
        *(reversed(decision) if decision_first else decision),
        overview.remarks(findings),
        details.startup(findings),
        *effects_tables.axes(findings),
        effects_tables.interactions(findings),
        effects_tables.waterfalls(findings),
        overview.throughput(findings),
        overview.latency(findings),
        effects_tables.scaling(findings),
        effects_tables.pareto(findings),
        *(details.details(findings) if small else []),
        *details.failures(findings),
        details.not_run(findings),
        details.costs(findings),
        overview.origin(findings) if decision_first else None,
        details.appendix(findings) if small else None,
    ]
    title = sweep.title or f"{sweep.experiment}: results"
    return Document(title, tuple(chapter for chapter in chapters if chapter is not None))

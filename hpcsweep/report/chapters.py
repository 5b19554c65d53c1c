"""The report as a document: its chapters in the order of the studies."""

from hpcsweep.analysis.findings import Findings
from hpcsweep.report import advice, details, effects_tables, overview
from hpcsweep.report.document import Document, Section

MAX_RUNS_DETAILED = 200
"""A sweep with more runs is described by its tables; a part for each run would bury them."""


def build_document(findings: Findings, *, scripts: bool) -> Document:
    """All chapters that have something to say. `scripts`: with the text of the submitted scripts."""
    sweep = findings.sweep
    small = len(findings.runs) <= MAX_RUNS_DETAILED
    chapters: list[Section | None] = [
        overview.head(findings),
        overview.summary(findings),
        advice.recommendation(findings),
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
        details.appendix(findings, scripts=scripts) if small else None,
    ]
    title = sweep.title or f"{sweep.experiment}: results"
    return Document(title, tuple(chapter for chapter in chapters if chapter is not None))

"""The whole report as a document: the first screen, then the chapters."""

from hpcsweep.analysis.findings import Findings
from hpcsweep.report import failures
from hpcsweep.report import first_screen_text as words
from hpcsweep.report.chapters import effects, method
from hpcsweep.report.chapters.requests import requests
from hpcsweep.report.chapters.speed import speed
from hpcsweep.report.chapters.startup import startup
from hpcsweep.report.chapters.summary import summary
from hpcsweep.report.document import Document, Section
from hpcsweep.report.first_screen import build_first_screen

MAX_RUNS_DETAILED = 200
"""A sweep with more runs is described by its tables; a part for each run would bury them."""

MAX_SUMMARY_ROWS = 40
"""Rows of the table in the summary; the chapter on speed has every variant."""


def build_document(findings: Findings) -> Document:
    """Return the summary and the chapters Speed, Startup, Effects, Failures, Cost, Requests and Method."""
    screen = build_first_screen(findings, MAX_SUMMARY_ROWS)
    return Document(words.title(screen), (*summary(screen), *build_chapters(findings)))


def build_summary(findings: Findings) -> Document:
    """Return the summary only."""
    screen = build_first_screen(findings)
    return Document(words.title(screen), tuple(summary(screen)))


def build_chapters(findings: Findings) -> tuple[Section, ...]:
    """Return the chapters without the summary."""
    starts = startup(findings)
    return (
        *speed(findings),
        *([starts] if starts is not None else []),
        *effects.effects(findings),
        *failures.failures(findings),
        method.cost(findings),
        *(requests(findings) if len(findings.runs) <= MAX_RUNS_DETAILED else []),
        *method.method(findings),
    )

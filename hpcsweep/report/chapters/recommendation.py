"""The chapter of the recommendation."""

from collections.abc import Iterator

from hpcsweep.analysis.compared.variants import join_names
from hpcsweep.analysis.decision.choice import NOT_COMPARABLE
from hpcsweep.analysis.findings import Findings
from hpcsweep.analysis.findings.compared import Candidate, Verdict
from hpcsweep.report import wording
from hpcsweep.report.chapters.caveats import HeldBack
from hpcsweep.report.document import Block, Bullets, Code, Paragraph, Section, Table
from hpcsweep.report.wording import NO_OBJECTIVE, NOTHING

CHOSEN = " (chosen)"
"""Stands after the name of the recommended variant."""


def recommendation(findings: Findings) -> Section:
    """The decision, its command, the candidates, and what could change it."""
    advice = findings.recommendation
    if advice.chosen is None:
        title = "No configuration can be recommended"
    else:
        variant = findings.variant(advice.chosen)
        word = "Provisionally recommended" if advice.provisional else "Recommended"
        title = f"{word}: {wording.exp(variant)} ({variant.name})"
    blocks: list[Block] = [
        Paragraph(f"{title}.", strong=True),
        Paragraph(f"Objective: {advice.objective or NO_OBJECTIVE}."),
        Bullets(advice.why),
    ]
    if advice.command:
        blocks.append(Code(advice.command, "bash"))
    for name, text in advice.files.items():
        blocks += [Paragraph(f"with this file beside it, {name}:"), Code(text.rstrip("\n"))]
    if advice.by_workload:
        blocks += [Paragraph("Each workload by itself:"), Bullets(tuple(_by_workload(findings)))]
    table = _candidates(findings)
    blocks += [table] if table.rows else []
    if advice.not_measured:
        blocks += [Paragraph("Not measured, and could change the answer:"), Bullets(advice.not_measured)]
    return Section("Recommended configuration", tuple(blocks))


def _by_workload(findings: Findings) -> Iterator[str]:
    for one in findings.recommendation.by_workload:
        best, chosen = findings.variant(one.best), findings.variant(one.chosen)
        name = wording.marked(one.workload, one.score.simulated)
        text = f"{name}: {best.short_name} scores best, {wording.figure(one.score, unit=True)}"
        if one.equal:
            names = join_names([findings.variant(other).short_name for other in one.equal])
            text += f"; no difference from {names} was seen"
        if chosen is not best:
            text += f"; {chosen.short_name} is simpler or cheaper"
        yield text


def _candidates(findings: Findings) -> Table:
    advice = findings.recommendation
    rows = []
    absent = []
    held = HeldBack(one.validity for one in advice.candidates if one.score.value is not None)
    for one in advice.candidates:
        variant = findings.variant(one.variant)
        if one.score.value is None:
            absent.append(variant.short_name)
            continue
        mark = CHOSEN if one.variant == advice.chosen else ""
        rows.append(
            (
                NOTHING if one.rank is None else str(one.rank),
                wording.exp(variant) + mark,
                wording.config(variant),
                wording.figure(one.score, unit=True),
                "best" if one.variant == advice.best else _against(one),
                NOTHING if one.chance_best is None else f"{one.chance_best:.0%}",
                held.of(one.validity),
            )
        )
    note = (
        f"Score: {advice.objective}. Chance: share of 4,000 draws from the intervals in which the variant comes out "
        "first."
    )
    if any(row[0] == NOTHING for row in rows):
        note += " No rank: the result is not valid, as the last column says."
    note += held.note
    if absent:
        note += f" Without a score, because a workload failed or does not fit: {join_names(absent)}."
    return Table(("Rank", "Exp", "Config", "Score", "Against best", "Chance", "Held back by"), tuple(rows), note)


def _against(one: Candidate) -> str:
    if one.against_best is None:
        return NOTHING
    if one.reason.startswith(NOT_COMPARABLE):
        return Verdict.NOT_COMPARABLE.value
    return f"{wording.percent(one.against_best)}: {'no difference seen' if one.equal_to_best else 'different'}"

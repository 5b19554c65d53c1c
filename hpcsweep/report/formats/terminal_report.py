"""The report as a page for the terminal: the decision first, then what it rests on; not every detail."""

import re

from hpcsweep.analysis.compared.variants import join_names
from hpcsweep.analysis.findings import Findings, RunFinding
from hpcsweep.report import wording
from hpcsweep.report.chapters import details, effects_tables, overview
from hpcsweep.report.chapters import recommendation as advice
from hpcsweep.report.chapters.recommendation import CHOSEN
from hpcsweep.report.document import Block, Bullets, Code, Document, Section, Table

MAX_CANDIDATES = 8
"""Of the decision's table."""

MAX_AXES = 6
"""With more axes, the summary has one column for all of them."""

MAX_SAMPLES = 40
"""A sweep with more does not list them."""


def build_page(findings: Findings) -> Document:
    """The chapters of `chapters.build_document`, in the order in which somebody at a terminal needs them.

    Left out: the samples of all but a small sweep, the commands, and what an axis does to cold requests. Failures that
    are alike stand together.
    """
    chapters: list[Section | None] = [
        overview.head(findings, brief=True),
        _decision(findings),
        _summary(findings),
        overview.remarks(findings),
        *_failures(findings),
        details.not_run(findings),
        details.startup(findings),
        *(_narrow(section) for section in effects_tables.axes(findings, brief=True)),
        effects_tables.interactions(findings),
        effects_tables.waterfalls(findings),
        *(_narrow(s) for s in (overview.throughput(findings), overview.latency(findings)) if s is not None),
        *(_narrow(s) for s in (effects_tables.scaling(findings), effects_tables.pareto(findings)) if s is not None),
        details.samples(findings, MAX_SAMPLES),
        details.costs(findings),
        overview.origin(findings),
        _more(findings),
    ]
    title = findings.sweep.title or f"{findings.sweep.experiment}: results"
    return Document(title, tuple(chapter for chapter in chapters if chapter is not None))


def _decision(findings: Findings) -> Section:
    """The recommendation with its first candidates: of a large sweep the summary must not be pages away."""
    section = advice.recommendation(findings)
    blocks = []
    for block in section.blocks:
        if isinstance(block, Table) and len(block.rows) > MAX_CANDIDATES:
            chosen = [row for row in block.rows[MAX_CANDIDATES:] if CHOSEN in row[1]]
            rows = (*block.rows[:MAX_CANDIDATES], *chosen)
            note = f"{len(block.rows) - len(rows)} more took part: the other formats have them. {block.note}"
            block = Table(block.columns, rows, note)
        blocks.append(block)
    return Section(section.title, tuple(blocks))


def _summary(findings: Findings) -> Section:
    """The summary with a narrow column an axis, not the whole name of a variant in every row; one column of words."""
    section = overview.summary(findings, brief=True)
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    axes = [axis for axis, levels in findings.sweep.axes.items() if len(levels) > 1]
    if not 0 < len(axes) <= MAX_AXES:
        return section
    by_exp = {variant.short_name: variant for variant in findings.variants}
    place = table.columns.index("Config")
    rows = []
    for row in table.rows:
        levels = by_exp[row[0].split()[0]].axes
        *middle, status, notes = row[place + 1 :]
        told = notes if status == "completed" and notes else "; ".join(text for text in (status, notes) if text)
        rows.append((*row[:place], *(levels.get(axis, wording.NOTHING) for axis in axes), *middle, told))
    columns = (*table.columns[:place], *axes, *table.columns[place + 1 : -1])
    return Section(section.title, (Table(columns, tuple(rows), table.note).without(("Latency (s) warm",)),))


def _narrow(section: Section) -> Section:
    """After the summary the short name of a variant is enough."""
    blocks = tuple(_without_samples(block.without(("Config",))) if isinstance(block, Table) else block
                   for block in section.blocks)  # fmt: skip
    return Section(section.title, blocks, section.level)


def _without_samples(table: Table) -> Table:
    """The latency table has both kinds of samples; the tables of the axes, when brief, only one."""
    return table if "p99" in table.columns else table.without(("Samples",))


def _failures(findings: Findings) -> list[Section]:
    """One part for all runs that ended alike: the same outcome, reason (but for its numbers) and hint."""
    groups: dict[tuple[str, str, str], list[RunFinding]] = {}
    for run in findings.runs:
        if details.has_failed(run):
            key = (wording.outcome(run), re.sub(r"\d+", "0", run.reason), run.hint)
            groups.setdefault(key, []).append(run)
    parts = [_alike(findings, runs) for runs in groups.values()]
    return [Section("Failed runs", ()), *parts] if parts else []


def _alike(findings: Findings, runs: list[RunFinding]) -> Section:
    first = runs[0]
    of = f" ({first.label})" if len(runs) > 1 else ""
    lines = [f"{first.label}: {first.reason}" if of and first.reason else first.reason]
    lines += [f"Cause: {first.cause.value}"] if first.cause else []
    lines += [f"Decided by: {first.decided_by}"] if first.decided_by else []
    lines += [f"Exit code: {first.exit_code}"] if first.exit_code is not None else []
    lines += [f"What to change: {first.hint}"] if first.hint else []
    hosts = dict.fromkeys(run.host for run in runs if run.host)
    lines += [f"Host: {join_names(list(hosts))}"] if hosts else []
    lines += [f"Runs: {join_names([run.label for run in runs])}"] if of else []
    blocks: list[Block] = [Bullets(tuple(line for line in lines if line))]
    if first.evidence:
        blocks.append(Code("\n".join(details.telling(first.evidence))))
    names = join_names(list(dict.fromkeys(wording.exp(findings.variant(run.variant)) for run in runs)))
    return Section(f"{names}: {wording.outcome(first)}", tuple(blocks), 3)


def _more(findings: Findings) -> Section:
    sweep = findings.sweep.sweep
    return Section(
        "More",
        (
            Bullets(
                (
                    f"every sample, all log lines, commands and scripts: hpcsweep report {sweep} --format markdown",
                    f"plots, to sort and to filter: hpcsweep report {sweep} -o report.html",
                    f"one run: hpcsweep show {sweep}/RUN; as something to run: hpcsweep export best {sweep} --to slurm",
                )
            ),
        ),
    )

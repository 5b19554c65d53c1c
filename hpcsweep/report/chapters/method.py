"""The last chapters: cost; and the method: what was run, where, with which versions, commands and scripts."""

import shlex

from hpcsweep.analysis.compared.variants import join_names
from hpcsweep.analysis.findings import Findings
from hpcsweep.analysis.findings.measured import Figure
from hpcsweep.report import document, run_points, wording
from hpcsweep.report.document import Block, Bullets, Code, Paragraph, Section, Table
from hpcsweep.report.wording import NO_OBJECTIVE
from hpcsweep.spec.sweep import IMPORTED_FROM
from hpcsweep.units import counted

MAX_RUNS_LISTED = 200
"""A larger sweep is described by its tables: the commands of each run would bury them."""


def cost(findings: Findings) -> Section:
    """Return the GPU-hours by use."""
    costs = findings.costs
    lines: list[tuple[str, Figure]] = [
        ("Used", costs.used),
        ("Startup of completed runs", costs.startup),
        ("Measuring", costs.measured),
        ("Other", costs.other),
        ("Without a result", costs.wasted),
    ]
    rows: list[tuple[document.Cell, ...]] = [
        (wording.marked(findings, name, hours.simulated), _hours(hours), hours.note) for name, hours in lines
    ]
    rows += [
        (f"Without a result: {outcome}", wording.plain_number(value, f"{wording.hours(value)} GPU-hours", "h"), "")
        for outcome, value in costs.wasted_by.items()
    ]
    if costs.preparations.n:
        rows.append(("Preparations (in addition)", _hours(costs.preparations), costs.preparations.note))
    rows.append(("Waiting in queues", _hours(costs.queued_hours), costs.queued_hours.note))
    note = "GPUs x duration of the attempts, on their own clock."
    return Section("Cost", (Table(("Use", "Amount", "Note"), tuple(rows), note, run_points.cost(findings)),))


def _hours(hours: Figure) -> document.Quantity:
    text = f"{wording.hours(hours.value or 0.0)} {hours.unit} ({wording.counted(hours)})"
    return wording.plain_number(hours.value or 0.0, text, hours.unit)


def method(findings: Findings) -> list[Section]:
    """Return the chapter: what was run, then the commands and scripts."""
    parts = [Section("What was run", (Bullets(_what_was_run(findings)),), 3)]
    appendix = _commands(findings) if len(findings.runs) <= MAX_RUNS_LISTED else []
    if appendix:
        parts.append(Section("Commands and scripts", tuple(appendix), 3))
    return [Section("Method", ()), *parts]


def _what_was_run(findings: Findings) -> tuple[str, ...]:
    sweep = findings.sweep
    models = join_names(list(dict.fromkeys(variant.model for variant in findings.variants if variant.model)))
    engines = join_names(list(dict.fromkeys(variant.engine for variant in findings.variants)))
    completed = sum(run.measured for run in findings.runs)
    planned = sum(not run.planned_only for run in findings.runs)
    versions = [f"{name} {value}" for name, value in sweep.provenance.items() if value]
    return (
        f"Sweep {sweep.sweep} of experiment {sweep.experiment}, submitted {wording.moment(sweep.submitted_at)}",
        f"Cluster {sweep.cluster} ({sweep.scheduler}); model {models or 'not known'}; engine {engines or 'not known'}",
        f"{counted(len(findings.variants), 'variant')} in {counted(planned, 'run')}, of which {completed} completed",
        *_hardware(findings),
        f"Objective: {findings.recommendation.objective or NO_OBJECTIVE}",
        *([f"Provenance: {', '.join(versions)}"] if versions else []),
        *sweep.notes,
    )


def _hardware(findings: Findings) -> list[str]:
    """Return the hardware of the real runs: `Ran on 8 GPUs per run (NVIDIA H200): gpu01`; empty if there were none."""
    ran = [run for run in findings.runs if run.counts is not None and not run.simulated]
    if not ran or IMPORTED_FROM in findings.sweep.provenance:
        return []
    gpus = sorted({run.gpus for run in ran})
    kinds = sorted({name for run in ran if (name := run.gpu_name or run.gpu_type)})
    on = "CPUs, without a GPU" if gpus == [0] else f"{', '.join(map(str, gpus))} GPU{'s' * (gpus != [1])} per run"
    nodes = join_names(sorted({run.host for run in ran if run.host}))
    return [f"Ran on {on}" + (f" ({', '.join(kinds)})" if kinds else "") + (f": {nodes}" if nodes else "")]


def _commands(findings: Findings) -> list[Block]:
    blocks: list[Block] = []
    for run in findings.runs:
        if run.argv:
            name = wording.marked(findings, run.label, run.simulated)
            blocks += [Paragraph(f"{name}:"), Code(shlex.join(run.argv), "bash")]
    for path, text in findings.sweep.scripts.items():
        blocks += [Paragraph(f"{path}, as submitted:"), Code(text.rstrip("\n"), "bash")]
    return blocks

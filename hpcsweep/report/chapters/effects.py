"""The chapter on effects: what each setting does, interactions, and options added one after the other."""

from collections.abc import Iterator

from hpcsweep.analysis.compared.variants import level_name
from hpcsweep.analysis.findings import Findings
from hpcsweep.analysis.findings.compared import AxisFinding, Comparison, Effect, LevelFinding, Waterfall
from hpcsweep.analysis.findings.measured import SampleSet
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.analysis.measured.startup import SHORTEST_JUDGED_S
from hpcsweep.report import document, run_points, wording
from hpcsweep.report.document import Block, Bullets, Paragraph, Section, Table
from hpcsweep.report.wording import ALL_REQUESTS, CONDITION, NOTHING

_SHOWN = ("tps", "ttft_s", "e2e_s", "output_throughput")

_ONE_AT_A_TIME = (
    "Each variant differs from the baseline in this axis only. Brackets: 95 % CI. The verdict is corrected for the "
    "number of comparisons (Holm)."
)
_PROVISIONAL = " Provisional: one of the sides has a single run."
_ALL_PROVISIONAL = " All verdicts are provisional: one of the sides has a single run."
_MAIN = "Mean over all pairs of variants that differ in this axis only; n counts pairs."


def effects(findings: Findings) -> list[Section]:
    """Return the chapter: a part per axis that was varied, then interactions and options one after the other."""
    varied = [axis for axis in findings.axes if len(axis.levels) > 1]
    statements = tuple(statement for axis in varied for statement in axis.statements)
    parts = [_axis(findings, axis) for axis in varied]
    parts += [part for part in (_interactions(findings), _waterfalls(findings)) if part is not None]
    if not parts:
        return []
    intro: list[Block] = [Paragraph("Each level of an axis is compared with the reference level of that axis.")]
    if statements:
        intro.append(Bullets(statements))
    return [Section("Effects", tuple(intro)), *parts]


def _axis(findings: Findings, axis: AxisFinding) -> Section:
    blocks: list[Block] = []
    reference = NOTHING if axis.reference is None else level_name(axis.axis, axis.reference)
    counts = (
        (
            level_name(axis.axis, level.level),
            wording.plain_number(level.runs, str(level.runs)),
            wording.plain_number(level.completed, str(level.completed)),
            _outcomes(level),
        )
        for level in axis.levels
    )
    columns: tuple[str, ...] = (axis.axis, "Runs", "Completed", "Not completed")
    blocks.append(Table(columns, tuple(counts), f"Reference level: {reference}.", run_points.levels(axis)))
    alone = [
        (level, comparison)
        for level in axis.levels
        for comparison in level.one_at_a_time
        if _is_shown(findings, comparison)
    ]
    if alone:
        columns = (axis.axis, "Variant", "Workload", "Metric", "Samples", "Baseline", "This level", "Change")
        every = all(comparison.provisional for _, comparison in alone)
        rows = tuple(_alone_row(findings, axis.axis, level.level, comparison, not every) for level, comparison in alone)
        note = _ONE_AT_A_TIME + (_ALL_PROVISIONAL if every else _PROVISIONAL)
        point = run_points.changes(axis.axis, [(level.level, comparison) for level, comparison in alone])
        blocks.append(Table(columns, rows, note, point))
    main = tuple(row for level in axis.levels for row in _effect_rows(findings, axis.axis, level))
    if main:
        columns = (axis.axis, "Workload", "Metric", "Samples", "Mean change")
        point = run_points.changes(axis.axis, [(lv.level, e) for lv in axis.levels for e in _shown_effects(lv)])
        blocks.append(Table(columns, main, _MAIN, point))
    startup = tuple(row for level in axis.levels for row in _startup_rows(findings, axis.axis, level))
    if startup:
        note = (
            "Pairs of starts that found the same state of the compile cache; a start that compiles nothing pairs with "
            f"any. Load times count even if the start failed. Times below {SHORTEST_JUDGED_S:g} s are not compared."
        )
        columns = (axis.axis, "Startup time", "Compile cache", "Mean change")
        point = run_points.changes(axis.axis, [(lv.level, effect) for lv in axis.levels for effect in lv.startup])
        blocks.append(Table(columns, startup, note, point))
    return Section(
        f"{axis.axis}: {', '.join(level_name(axis.axis, level.level) for level in axis.levels)}", tuple(blocks), 3
    )


def _outcomes(level: LevelFinding) -> str:
    return ", ".join(f"{count} {word}" for word, count in level.outcomes.items()) or NOTHING


def _is_shown(findings: Findings, comparison: Comparison) -> bool:
    if comparison.metric not in _SHOWN and comparison.metric != findings.recommendation.metric:
        return False
    return comparison.reference_value.value is not None and comparison.variant_value.value is not None


def _requests(metric: str, condition: SampleSet) -> str:
    return CONDITION[condition] if METRICS[metric].of_samples else ALL_REQUESTS


def _alone_row(
    findings: Findings, axis: str, level: str, comparison: Comparison, marks: bool
) -> tuple[document.Cell, ...]:
    return (
        level_name(axis, level),
        wording.short_name(findings, comparison.variant),
        comparison.workload,
        f"{METRICS[comparison.metric].title} ({wording.unit(METRICS[comparison.metric].unit)})",
        _requests(comparison.metric, comparison.condition),
        wording.quantity(comparison.reference_value, metric=comparison.metric),
        wording.quantity(comparison.variant_value, metric=comparison.metric),
        wording.change(comparison.percent, wording.comparison(comparison, provisional=marks)),
    )


def _shown_effects(level: LevelFinding) -> list[Effect]:
    return [effect for effect in level.main_effects if effect.metric in _SHOWN]


def _effect_rows(findings: Findings, axis: str, level: LevelFinding) -> Iterator[tuple[document.Cell, ...]]:
    for effect in _shown_effects(level):
        yield (
            wording.marked(findings, level_name(axis, level.level), effect.percent.simulated),
            effect.workload or NOTHING,
            METRICS[effect.metric].title,
            _requests(effect.metric, effect.condition),
            wording.change(effect.percent, wording.effect(effect)),
        )


def _startup_rows(findings: Findings, axis: str, level: LevelFinding) -> Iterator[tuple[document.Cell, ...]]:
    for effect in level.startup:
        name = wording.marked(findings, level_name(axis, level.level), effect.percent.simulated)
        change = wording.change(effect.percent, wording.effect(effect))
        yield name, METRICS[effect.metric].title, effect.cache or NOTHING, change


def _interactions(findings: Findings) -> Section | None:
    """Return the pairs of settings whose joint effect is not the product of their own."""
    seen = [interaction for interaction in findings.interactions if interaction.seen]
    if not findings.interactions:
        return None
    metric = METRICS[findings.interactions[0].metric].title
    pairs = f"{len(findings.interactions)} pairs of levels could be examined on {metric}"
    if not seen:
        text = f"{pairs}; none shows a significant interaction. The effects of the axes multiply."
        return Section("Interactions", (Paragraph(text),), 3)
    rows = tuple(
        (
            wording.marked(
                findings,
                f"{interaction.axes[0]}={interaction.levels[0]}, {interaction.axes[1]}={interaction.levels[1]}",
                interaction.percent.simulated,
            ),
            interaction.workload,
            wording.change(
                interaction.percent, f"{wording.percent(interaction.percent)} {wording.counted(interaction.percent)}"
            ),
        )
        for interaction in seen
    )
    note = "Interaction: deviation of the joint change from the product of the two separate changes."
    point = f"{len(seen)} of {len(findings.interactions)} pairs of levels interact significantly on {metric}"
    table = Table(("Levels", "Workload", "Interaction"), rows, note, point)
    return Section("Interactions", (Paragraph(f"{pairs}."), table), 3)


def _waterfalls(findings: Findings) -> Section | None:
    """Return the options added one after the other, and which of them change the metric significantly."""
    blocks: list[Block] = []
    for waterfall in findings.waterfalls:
        if any(step.comparison is not None for step in waterfall.steps):
            blocks += _waterfall(findings, waterfall)
    return Section("Options one after the other", tuple(blocks), 3) if blocks else None


def _waterfall(findings: Findings, waterfall: Waterfall) -> list[Block]:
    start = findings.variant(waterfall.start)
    rows: list[tuple[document.Cell, ...]] = []
    for step in waterfall.steps:
        compared = step.comparison
        levels = [step.before] if compared is None else [step.before, step.after]
        rows.append(
            (
                step.axis,
                " -> ".join(level_name(step.axis, level) for level in levels),
                wording.short_name(findings, step.variant),
                NOTHING if compared is None else wording.change(compared.percent, wording.percent(compared.percent)),
                "yes" if step.kept else "no",
                step.reason,
            )
        )
    text = (
        f"{METRICS[waterfall.metric].title} on {waterfall.workload}, starting from "
        f"{wording.short_name(findings, start)} ({start.name}). All kept steps together: "
        f"{wording.percent(waterfall.total)}. All steps at their measured value: {wording.percent(waterfall.claimed)}."
    )
    note = "Each step takes the best level of an axis on top of the kept settings. It is kept if significantly better."
    columns = ("Axis", "Step", "Variant", "Change", "Kept", "Reason")
    return [Paragraph(text), Table(columns, tuple(rows), note, run_points.waterfall(waterfall))]

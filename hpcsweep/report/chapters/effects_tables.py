"""The chapters on what each setting does: axes, interactions, waterfall, same number of GPUs, Pareto front."""

from collections.abc import Iterator

from hpcsweep.analysis.compared.variants import level_name
from hpcsweep.analysis.findings import Findings
from hpcsweep.analysis.findings.compared import AxisFinding, Comparison, LevelFinding, Waterfall
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.analysis.measured.startup import SHORTEST_JUDGED_S
from hpcsweep.report import wording
from hpcsweep.report.document import Block, Bullets, Paragraph, Section, Table
from hpcsweep.report.wording import CONDITION, NOTHING

_SHOWN = ("tps", "ttft_s", "e2e_s", "output_throughput")

_ONE_AT_A_TIME = (
    "Each variant differs from the baseline in this axis alone. In brackets the 95% interval; the verdict is "
    "corrected for the number of comparisons (Holm)."
)
_PROVISIONAL = " Provisional: a single run on a side."
_ALL_PROVISIONAL = " All are provisional: a single run on a side."
_MAIN = "Mean over all pairs of variants that differ in this axis alone; n: pairs."


def axes(findings: Findings, *, brief: bool = False) -> list[Section]:
    """A chapter, and a part for every axis that was varied. `brief`: of single requests, the warm ones only."""
    varied = [axis for axis in findings.axes if len(axis.levels) > 1]
    if not varied:
        return []
    where = "only warm samples count" if brief else "which samples count stands beside every figure"
    intro = Paragraph(f"Startup, failures and speed of each level against its reference level; {where}.")
    told = () if brief else tuple(text for axis in varied for text in axis.statements)
    return [
        Section("Findings by axis", (intro, *((Bullets(told),) if told else ()))),
        *(_axis(findings, axis, brief) for axis in varied),
    ]


def _axis(findings: Findings, axis: AxisFinding, brief: bool) -> Section:
    blocks: list[Block] = []
    reference = NOTHING if axis.reference is None else level_name(axis.axis, axis.reference)
    counts = (
        (level_name(axis.axis, one.level), str(one.runs), str(one.completed), _outcomes(one)) for one in axis.levels
    )
    blocks.append(
        Table((axis.axis, "Runs", "Completed", "Not completed"), tuple(counts), f"Reference level: {reference}.")
    )
    alone = [(level, one) for level in axis.levels for one in level.one_at_a_time if _is_shown(findings, one, brief)]
    if alone:
        columns = (axis.axis, "Exp", "Dataset", "Metric", "Samples", "Baseline", "This level", "Change")
        every = all(one.provisional for _, one in alone)
        rows = tuple(_alone_row(findings, axis.axis, level.level, one, not every) for level, one in alone)
        blocks.append(Table(columns, rows, _ONE_AT_A_TIME + (_ALL_PROVISIONAL if every else _PROVISIONAL)))
    main = tuple(row for level in axis.levels for row in _effect_rows(axis.axis, level, brief))
    if main:
        blocks.append(Table((axis.axis, "Dataset", "Metric", "Samples", "Mean change"), main, _MAIN))
    startup = tuple(row for level in axis.levels for row in _startup_rows(axis.axis, level))
    if startup:
        note = (
            "Starts that met the same state of the compile cache are paired; one that compiles nothing stands beside "
            f"any. A load time counts even if the start failed. Below {SHORTEST_JUDGED_S:g} s nothing is judged."
        )
        blocks.append(Table((axis.axis, "Startup time", "Compile cache", "Mean change"), startup, note))
    return Section(
        f"{axis.axis}: {', '.join(level_name(axis.axis, one.level) for one in axis.levels)}", tuple(blocks), 3
    )


def _outcomes(level: LevelFinding) -> str:
    return ", ".join(f"{count} {word}" for word, count in level.outcomes.items()) or NOTHING


def _is_shown(findings: Findings, one: Comparison, brief: bool) -> bool:
    if one.metric not in _SHOWN and one.metric != findings.recommendation.metric:
        return False
    if one.reference_value.value is None or one.variant_value.value is None:
        return False  # the summary says n/a, or that it failed
    return not (brief and METRICS[one.metric].of_samples and one.condition != "warm")


def _alone_row(findings: Findings, axis: str, level: str, one: Comparison, marks: bool) -> tuple[str, ...]:
    return (
        level_name(axis, level),
        wording.exp(findings.variant(one.variant)),
        one.workload,
        f"{METRICS[one.metric].title} ({METRICS[one.metric].unit})",
        CONDITION[one.condition] if METRICS[one.metric].of_samples else "all requests",
        wording.figure(one.reference_value),
        wording.figure(one.variant_value),
        wording.comparison(one, provisional=marks),
    )


def _effect_rows(axis: str, level: LevelFinding, brief: bool) -> Iterator[tuple[str, ...]]:
    for one in level.main_effects:
        if one.metric in _SHOWN and not (brief and METRICS[one.metric].of_samples and one.condition != "warm"):
            yield (
                wording.marked(level_name(axis, level.level), one.percent.simulated),
                one.workload or NOTHING,
                METRICS[one.metric].title,
                CONDITION[one.condition] if METRICS[one.metric].of_samples else "all requests",
                wording.effect(one),
            )


def _startup_rows(axis: str, level: LevelFinding) -> Iterator[tuple[str, ...]]:
    for one in level.startup:
        name = wording.marked(level_name(axis, level.level), one.percent.simulated)
        yield name, METRICS[one.metric].title, one.cache or NOTHING, wording.effect(one)


def interactions(findings: Findings) -> Section | None:
    """Pairs of settings whose joint effect is not the product of their own."""
    seen = [one for one in findings.interactions if one.seen]
    if not findings.interactions:
        return None
    first = findings.interactions[0]
    text = f"{len(findings.interactions)} pairs of levels could be examined on {METRICS[first.metric].title}; "
    if not seen:
        text += "no interaction was seen: the effects of the axes multiply as far as this sweep can tell."
        return Section("Interactions", (Paragraph(text),))
    rows = tuple(
        (
            wording.marked(f"{one.axes[0]}={one.levels[0]}, {one.axes[1]}={one.levels[1]}", one.percent.simulated),
            one.workload,
            f"{wording.percent(one.percent)} {wording.counted(one.percent)}",
        )
        for one in seen
    )
    note = "How far the joint change is from the product of the two alone."
    return Section(
        "Interactions", (Paragraph(text + f"{len(seen)} seen."), Table(("Levels", "Dataset", "Off by"), rows, note))
    )


def waterfalls(findings: Findings) -> Section | None:
    """Options one after the other, and what of it is more than noise."""
    blocks: list[Block] = []
    for one in findings.waterfalls:
        if any(step.comparison is not None for step in one.steps):
            blocks += _waterfall(findings, one)
    return Section("Options one after the other", tuple(blocks)) if blocks else None


def _waterfall(findings: Findings, one: Waterfall) -> list[Block]:
    start = findings.variant(one.start)
    measure = METRICS[one.metric]
    rows = []
    for step in one.steps:
        change = NOTHING if step.comparison is None else wording.percent(step.comparison.percent)
        name = f"{level_name(step.axis, step.before)} -> {level_name(step.axis, step.after)}"
        rows.append(
            (
                step.axis,
                name if step.comparison is not None else level_name(step.axis, step.before),
                wording.exp(findings.variant(step.variant)),
                change,
                "kept" if step.kept else "not kept",
                step.reason,
            )
        )
    text = (
        f"{measure.title} on {one.workload}, from {wording.exp(start)} ({start.name}). Kept steps together: "
        f"{wording.percent(one.total)}. Every step at its face value: {wording.percent(one.claimed)}."
    )
    note = "At each axis the best level beside the settings kept so far; kept if better by more than noise."
    return [Paragraph(text), Table(("Axis", "Step", "Exp", "Change", "Kept", "Why"), tuple(rows), note)]


def scaling(findings: Findings) -> Section | None:
    """All variants on the same number of GPUs, as replicas."""
    if not findings.scaling:
        return None
    rows = tuple(
        (
            wording.exp(findings.variant(one.variant)),
            wording.config(findings.variant(one.variant)),
            one.workload,
            f"{one.replicas} x {one.gpus}",
            wording.figure(one.output_throughput),
            wording.figure(one.total_throughput),
            wording.figure(one.per_gpu),
        )
        for one in findings.scaling
    )
    columns = (
        "Exp",
        "Config",
        "Dataset",
        "Replicas x GPUs",
        "Output tokens/s",
        "Total tokens/s",
        "Output tokens/s/GPU",
    )
    total = findings.scaling[0].gpus_total
    note = f"Each variant on {total} GPUs. Replicas are assumed to share nothing: arithmetic, not a measurement."
    return Section("On the same number of GPUs", (Table(columns, rows, note),))


def pareto(findings: Findings) -> Section | None:
    """Speed for one user against throughput of a GPU."""
    if not findings.pareto:
        return None
    rows = tuple(
        (
            wording.exp(findings.variant(one.variant)),
            wording.config(findings.variant(one.variant)),
            one.workload,
            wording.figure(one.tps_per_user),
            wording.figure(one.tps_per_gpu),
            "yes" if one.dominated_by is None else f"no: {wording.exp(findings.variant(one.dominated_by))} is better",
        )
        for one in findings.pareto
    )
    note = "Tokens/s/user: mean of 1 / TPOT. On the front: no variant of this workload is better in both means."
    return Section(
        "Speed for one user against throughput",
        (Table(("Exp", "Config", "Dataset", "Tokens/s/user", "Tokens/s/GPU", "On the front"), rows, note),),
    )

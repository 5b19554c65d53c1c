"""Effects of each axis: one level at a time from the baseline, and main effects over the grid."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hpcsweep.analysis.compared.compare import MetricTable, incomparable
from hpcsweep.analysis.compared.ratios import basis, joint_df, percent_figure, verdict_of
from hpcsweep.analysis.compared.variant_index import VariantIndex
from hpcsweep.analysis.compared.variants import level_name
from hpcsweep.analysis.findings import RunFinding
from hpcsweep.analysis.findings.compared import AxisFinding, Comparison, Effect, LevelFinding, Verdict
from hpcsweep.analysis.findings.measured import SampleSet
from hpcsweep.analysis.measured.metrics import STARTUP_METRICS
from hpcsweep.analysis.measured.results import ASSUMED_RUN_SPREAD, Estimate
from hpcsweep.analysis.measured.startup import ASSUMED_STARTUP_SPREAD, StartupTimes
from hpcsweep.analysis.outcomes import outcome_text
from hpcsweep.analysis.stats.distribution import holm

MIN_PAIRS = 2
"""A main effect is a mean over at least this many pairs; one pair is the comparison one level at a time."""


def build_axes(
    index: VariantIndex,
    runs: Sequence[RunFinding],
    tables: Sequence[MetricTable],
    comparisons: Sequence[Comparison],
    times: StartupTimes,
) -> tuple[AxisFinding, ...]:
    """Return one finding per axis, with verdicts corrected over all levels and axes of the same metric."""
    mains = _by_level(_corrected([e for axis in index.axes for e in _main_effects(index, axis, tables)]))
    starts = _by_level(_corrected([e for axis in index.axes for e in _startup_effects(index, axis, times)]))
    alone: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        alone.setdefault(comparison.variant, []).append(comparison)
    with_level: dict[tuple[str, str], list[RunFinding]] = {}
    for run in runs:
        for item in () if run.planned_only else run.axes.items():
            with_level.setdefault(item, []).append(run)
    findings = []
    for axis, labels in index.axes.items():
        levels = []
        for level in labels:
            changed = [variant for variant in index.having(axis, level) if variant.changed == (axis,)]
            of_level = with_level.get((axis, level), [])
            levels.append(
                LevelFinding(
                    level=level,
                    is_reference=level == index.reference[axis],
                    runs=len(of_level),
                    completed=sum(run.measured for run in of_level),
                    outcomes=_outcomes(of_level),
                    one_at_a_time=tuple(c for v in changed for c in alone.get(v.variant, ())),
                    main_effects=tuple(mains.get((axis, level), ())),
                    startup=tuple(starts.get((axis, level), ())),
                )
            )
        findings.append(AxisFinding(axis, index.reference[axis], tuple(levels), tuple(_statements(axis, levels))))
    return tuple(findings)


def _by_level(effects: Sequence[Effect]) -> dict[tuple[str, str], list[Effect]]:
    grouped: dict[tuple[str, str], list[Effect]] = {}
    for effect in effects:
        grouped.setdefault((effect.axis, effect.level), []).append(effect)
    return grouped


def _outcomes(runs: Sequence[RunFinding]) -> dict[str, int]:
    """Return outcome -> number of runs, without the completed ones."""
    ended = [run for run in runs if run.outcome is not None and not run.measured]
    return dict(Counter(outcome_text(run.outcome, run.phase) for run in ended).most_common())


def _statements(axis: str, levels: Sequence[LevelFinding]) -> Iterator[str]:
    for level in levels:
        if level.outcomes:
            outcomes = ", ".join(f"{count} {outcome}" for outcome, count in level.outcomes.items())
            name = level_name(axis, level.level)
            yield f"{axis}={name}: {level.completed} of {level.runs} runs completed; {outcomes}"


def _main_effects(index: VariantIndex, axis: str, tables: Sequence[MetricTable]) -> Iterator[Effect]:
    for level in index.axes[axis]:
        pairs = list(index.pairs(axis, level))
        if level == index.reference[axis] or len(pairs) < MIN_PAIRS:
            continue
        for table in tables:
            usable = [
                (table.arms[a], table.arms[b])
                for a, b in pairs
                if a in table.arms and b in table.arms and not incomparable(table.arms[a], table.arms[b])
            ]
            known = [(a.estimate, b.estimate) for a, b in usable if a.estimate is not None and b.estimate is not None]
            if len(known) >= MIN_PAIRS:
                simulated = any(arm.result.simulated for pair in usable for arm in pair)
                yield _effect(index, axis, level, table, known, simulated)


def _startup_effects(index: VariantIndex, axis: str, times: StartupTimes) -> Iterator[Effect]:
    """Yield the same for startup times, per state of the compile cache; one pair is enough."""
    for metric in STARTUP_METRICS:
        for level in index.axes[axis]:
            if level == index.reference[axis]:
                continue
            by_cache: dict[str | None, list[tuple[Estimate, Estimate]]] = {}
            for a, b in index.pairs(axis, level):
                for cache, pair in times.pairs(metric, a, b).items():
                    by_cache.setdefault(cache, []).append(pair)
            for cache, pairs in by_cache.items():
                yield replace(_effect(index, axis, level, metric, pairs, times.simulated), cache=cache)


def _effect(
    index: VariantIndex,
    axis: str,
    level: str,
    of: MetricTable | str,
    pairs: Sequence[tuple[Estimate, Estimate]],
    simulated: bool,
) -> Effect:
    """Return the mean of the log ratios over these pairs, with its measurement error.

    `of`: the table of a workload, or the name of a startup time.
    """
    every = [estimate for pair in pairs for estimate in pair]
    assumed = any(estimate.assumed for estimate in every)
    condition: SampleSet = "all" if isinstance(of, str) else of.condition
    figure, p_value = percent_figure(
        sum(b.log_mean - a.log_mean for a, b in pairs) / len(pairs),
        math.sqrt(sum(estimate.se**2 for estimate in every)) / len(pairs),
        joint_df(every),
        n=len(pairs),
        of="pairs",
        condition=condition,
        method=basis(assumed, ASSUMED_STARTUP_SPREAD if isinstance(of, str) else ASSUMED_RUN_SPREAD),
        simulated=simulated,
    )
    return Effect(
        axis=axis,
        level=level,
        reference=index.reference[axis],
        workload=None if isinstance(of, str) else of.workload,
        metric=of if isinstance(of, str) else of.metric,
        condition=condition,
        percent=figure,
        verdict=Verdict.NO_DIFFERENCE,
        p_value=p_value,
        p_adjusted=p_value,
    )


def _corrected(effects: Sequence[Effect]) -> list[Effect]:
    """Return the effects with verdicts corrected by Holm over one metric and sample set."""
    families: dict[tuple[str, str], list[int]] = {}
    for number, effect in enumerate(effects):
        families.setdefault((effect.metric, effect.condition), []).append(number)
    corrected = list(effects)
    for numbers in families.values():
        for number, p_value in zip(numbers, holm([effects[p].p_value for p in numbers]), strict=True):
            corrected[number] = replace(
                effects[number],
                p_adjusted=p_value,
                verdict=verdict_of(effects[number].metric, effects[number].percent, p_value),
            )
    return corrected

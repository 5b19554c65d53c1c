"""Two variants on one workload: the difference with its interval, and a verdict.

Comparisons are made on the logarithmic scale, so that the interval is one of the ratio. The intervals shown are 95%
each; a verdict of better or worse needs p < 0.05 after Holm's correction over its family.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hpcsweep.analysis.findings.compared import Comparison, Verdict
from hpcsweep.analysis.findings.measured import Cell, Figure, Result, SampleSet
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.analysis.measured.provenance import Provenance, differing, provenance_of
from hpcsweep.analysis.measured.results import (
    ASSUMED_RUN_SPREAD,
    Estimate,
    RunSpread,
    counting,
    estimate,
    observations_by_variant,
    pool,
)
from hpcsweep.analysis.stats.distribution import holm
from hpcsweep.analysis.stats.ratios import basis, joint_df, percent_figure, verdict_of


@dataclass(frozen=True)
class Arm:
    """One arm of a comparison: a result, what it was measured on, and how well its mean is known (None: not)."""

    result: Result
    conditions: Provenance
    estimate: Estimate | None


@dataclass(frozen=True)
class MetricTable:
    """One metric of one workload over all variants, ready for comparisons."""

    workload: str
    metric: str
    condition: SampleSet
    arms: dict[str, Arm]
    spread: RunSpread


class MetricTables:
    """The tables of a sweep by workload, metric and condition, each built when it is first asked for.

    `measured`: the workloads of which at least one result counts.
    """

    def __init__(self, results: Sequence[Result], cells: Sequence[Cell]) -> None:
        self._results, self._cells = results, cells
        self._built: dict[tuple[str, str, SampleSet], MetricTable] = {}
        self.workloads = tuple(dict.fromkeys(cell.workload for cell in cells))
        self.measured = tuple(dict.fromkeys(cell.workload for cell in counting(cells)))
        grouped: dict[tuple[str, str], list[Cell]] = {}
        for cell in cells:
            grouped.setdefault((cell.variant, cell.workload), []).append(cell)
        self._conditions = {key: provenance_of(group) for key, group in grouped.items()}

    def get(self, workload: str, metric: str, condition: SampleSet) -> MetricTable:
        """The table; without arms where nothing was sent."""
        key = (workload, metric, condition)
        if key not in self._built:
            self._built[key] = self._build(workload, metric, condition)
        return self._built[key]

    def _build(self, workload: str, metric: str, condition: SampleSet) -> MetricTable:
        seen = observations_by_variant(self._cells, workload, metric, condition)
        spread = pool(seen.values())
        of_samples = METRICS[metric].of_samples
        if of_samples and spread.sample_sd is None:
            spread = replace(spread, sample_sd=self._sample_spread(metric, condition))
        arms = {
            result.variant: Arm(
                result,
                self._conditions[result.variant, workload],
                estimate(seen.get(result.variant, ()), spread, of_samples=of_samples),
            )
            for result in self._results
            if result.workload == workload
        }
        return MetricTable(workload, metric, condition, arms, spread)

    def _sample_spread(self, metric: str, condition: SampleSet) -> float | None:
        """The relative spread of single requests over all workloads: for one of which no server has two samples."""
        everywhere = [
            observations
            for workload in self.workloads
            for observations in observations_by_variant(self._cells, workload, metric, condition).values()
        ]
        return pool(everywhere).sample_sd


@dataclass(frozen=True)
class _Draft:
    """A comparison before the correction. `percent` without a p value: no interval could be given."""

    table: MetricTable
    reference: Arm
    variant: Arm
    old: Figure
    new: Figure
    percent: Figure
    p_value: float | None
    reason: str


def compare_family(pairs: Iterable[tuple[MetricTable, str, str]]) -> list[Comparison]:
    """Each variant of (table, reference, variant) against its reference; verdicts are corrected by Holm."""
    drafts = [_draft(table, table.arms[reference], table.arms[variant]) for table, reference, variant in pairs]
    p_values = [draft.p_value for draft in drafts if draft.p_value is not None]
    adjusted = iter(holm(p_values))
    return [_comparison(draft, None if draft.p_value is None else next(adjusted)) for draft in drafts]


def _draft(table: MetricTable, reference: Arm, variant: Arm) -> _Draft:
    simulated = reference.result.simulated or variant.result.simulated
    empty = Figure(None, METRICS[table.metric].unit, condition=table.condition, simulated=simulated)
    old = reference.result.mean(table.metric, table.condition) or empty
    new = variant.result.mean(table.metric, table.condition) or empty
    n, of = old.n + new.n, old.of if old.of == new.of else f"{old.of} and {new.of}"
    a, b = reference.estimate, variant.estimate
    problem = incomparable(reference, variant)
    if not problem and (old.value is None or new.value is None):
        problem = _missing(table, old)
    elif not problem and (a is None or b is None):
        problem = "one sample in one arm, and no other server of this sweep shows their spread"
    if problem or a is None or b is None or not old.value or new.value is None:
        ratio = None if not old.value or new.value is None else 100 * (new.value / old.value - 1)
        percent = Figure(ratio, "%", n, of, table.condition, simulated=simulated)
        return _Draft(table, reference, variant, old, new, percent, None, problem or "the reference is 0")
    # The centre is the ratio of the means as shown; the width comes from the estimates.
    assumed = a.assumed or b.assumed
    percent, p_value = percent_figure(
        math.log(new.value / old.value),
        math.hypot(a.se, b.se),
        joint_df((a, b)),
        n=n,
        of=of,
        condition=table.condition,
        method=basis(assumed, ASSUMED_RUN_SPREAD),
        simulated=simulated,
    )
    return _Draft(table, reference, variant, old, new, percent, p_value, _basis(a, b, assumed))


def _comparison(draft: _Draft, p_adjusted: float | None) -> Comparison:
    table, percent, old, new = draft.table, draft.percent, draft.old, draft.new
    change = None if old.value is None or new.value is None else new.value - old.value
    low, high = (
        None if bound is None or old.value is None else old.value * bound / 100 for bound in (percent.low, percent.high)
    )
    estimates = [arm.estimate for arm in (draft.reference, draft.variant) if arm.estimate is not None]
    return Comparison(
        workload=table.workload,
        metric=table.metric,
        higher_is_better=METRICS[table.metric].higher_is_better,
        condition=table.condition,
        reference=draft.reference.result.variant,
        variant=draft.variant.result.variant,
        reference_value=old,
        variant_value=new,
        difference=Figure(
            change,
            old.unit,
            percent.n,
            percent.of,
            table.condition,
            low,
            high,
            method=percent.method,
            simulated=percent.simulated,
        ),
        percent=percent,
        verdict=Verdict.NOT_COMPARABLE if p_adjusted is None else verdict_of(table.metric, percent, p_adjusted),
        reason=draft.reason,
        p_value=draft.p_value,
        p_adjusted=p_adjusted,
        provisional=p_adjusted is not None and any(one.single or one.assumed for one in estimates),
        simulated=percent.simulated,
    )


def _missing(table: MetricTable, old: Figure) -> str:
    arm = "the reference" if old.value is None else "the variant"
    return f"{arm} has no {'warm ' if table.condition == 'warm' else ''}value of {table.metric}"


def _basis(a: Estimate, b: Estimate, assumed: bool) -> str:
    runs = f"{a.runs} against {b.runs} {'run' if a.runs == b.runs == 1 else 'runs'}"
    if assumed:
        return f"{runs}; the spread between server starts is not known, {ASSUMED_RUN_SPREAD:.0%} is assumed"
    return f"{runs}; spread between server starts measured by repeats"


def incomparable(reference: Arm, variant: Arm) -> str:
    """Why two results must not be set against each other; empty: they may."""
    for arm, word in ((reference, "the reference"), (variant, "the variant")):
        if arm.result.left_out is not None:
            return f"{word}: n/a: {arm.result.left_out}"
        if arm.result.validity.status == "invalid":
            return f"{word} is set aside: " + "; ".join(r.text for r in arm.result.validity.reasons)
    return differing(reference.conditions, variant.conditions)

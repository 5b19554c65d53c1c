"""Comparisons of two variants on one workload: the difference with its interval, and a verdict.

Comparisons use the logarithmic scale, so that each interval is one of the ratio. Intervals are 95 % each and not
corrected; a verdict of better or worse needs p < 0.05 after Holm's correction over its family.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hpcsweep.analysis.compared.ratios import basis, joint_df, percent_figure, verdict_of
from hpcsweep.analysis.findings.compared import Comparison, Verdict
from hpcsweep.analysis.findings.measured import Cell, Figure, Result, SampleSet
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.analysis.measured.provenance import Problem, Provenance, differing, provenance_of
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

COLD_SHARE = 0.01
"""A throughput that cold requests lower by a larger share yields no verdict."""


@dataclass(frozen=True)
class Arm:
    """One arm of a comparison: a result, its provenance, and its mean with the error (None: not known).

    `cold_share`: how much cold requests lower the metric, as a share; 0 for a metric without cold requests in it.
    """

    result: Result
    provenance: Provenance
    estimate: Estimate | None
    cold_share: float = 0.0


@dataclass(frozen=True)
class MetricTable:
    """One metric of one workload over all variants, prepared for comparisons."""

    workload: str
    metric: str
    condition: SampleSet
    arms: dict[str, Arm]
    spread: RunSpread


class MetricTables:
    """The tables of a sweep by workload, metric and sample set, each built on first use.

    `measured`: the workloads with at least one valid or provisional cell.
    """

    def __init__(self, results: Sequence[Result], cells: Sequence[Cell]) -> None:
        self._results, self._cells = results, cells
        self._built: dict[tuple[str, str, SampleSet], MetricTable] = {}
        self.workloads = tuple(dict.fromkeys(cell.workload for cell in cells))
        self.measured = tuple(dict.fromkeys(cell.workload for cell in counting(cells)))
        grouped: dict[tuple[str, str], list[Cell]] = {}
        for cell in cells:
            grouped.setdefault((cell.variant, cell.workload), []).append(cell)
        self._provenance = {key: provenance_of(group) for key, group in grouped.items()}
        self._cold_share = {
            key: max((cell.cold_share for cell in counting(group)), default=0.0) for key, group in grouped.items()
        }

    def get(self, workload: str, metric: str, condition: SampleSet) -> MetricTable:
        """Return the table; it has no arms where nothing was sent."""
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
                self._provenance[result.variant, workload],
                estimate(seen.get(result.variant, ()), spread, of_samples=of_samples),
                0.0 if of_samples else self._cold_share[result.variant, workload],
            )
            for result in self._results
            if result.workload == workload
        }
        return MetricTable(workload, metric, condition, arms, spread)

    def _sample_spread(self, metric: str, condition: SampleSet) -> float | None:
        """Return the relative spread of single requests, pooled over all workloads; None: not known."""
        everywhere = [
            observations
            for workload in self.workloads
            for observations in observations_by_variant(self._cells, workload, metric, condition).values()
        ]
        return pool(everywhere).sample_sd


@dataclass(frozen=True)
class _Draft:
    """A comparison before the correction. `p_value` None: not compared, because of `code`."""

    table: MetricTable
    reference: Arm
    variant: Arm
    old: Figure
    new: Figure
    percent: Figure
    p_value: float | None
    reason: str
    code: str = ""


def compare_family(pairs: Iterable[tuple[MetricTable, str, str]]) -> list[Comparison]:
    """Compare the variant of each (table, reference, variant) with its reference; Holm corrects the verdicts."""
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
    if problem is None and (old.value is None or new.value is None):
        problem = _missing(table, old)
    elif problem is None and (a is None or b is None):
        text = "one of the two has a single sample, and no server of this sweep has two"
        problem = Problem("spread_not_known", text)
    if problem is not None or a is None or b is None or not old.value or new.value is None:
        ratio = None if not old.value or new.value is None else 100 * (new.value / old.value - 1)
        percent = Figure(ratio, "%", n, of, table.condition, simulated=simulated)
        problem = problem or Problem("reference_is_zero", "the reference is 0")
        return _Draft(table, reference, variant, old, new, percent, None, problem.text, problem.code)
    # The centre is the ratio of the means in the report; the width comes from the estimates.
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
        provisional=p_adjusted is not None and any(estimate.single or estimate.assumed for estimate in estimates),
        simulated=percent.simulated,
        code=draft.code,
    )


def _missing(table: MetricTable, old: Figure) -> Problem:
    arm = "the reference" if old.value is None else "the variant"
    text = f"{arm} has no {'warm ' if table.condition == 'warm' else ''}value of {table.metric}"
    return Problem("no_value", text)


def _basis(a: Estimate, b: Estimate, assumed: bool) -> str:
    runs = f"{a.runs} against {b.runs} {'run' if a.runs == b.runs == 1 else 'runs'}"
    if assumed:
        return f"{runs}; the spread between server starts is not known, {ASSUMED_RUN_SPREAD:.0%} is assumed"
    return f"{runs}; spread between server starts measured by repeats"


def incomparable(reference: Arm, variant: Arm) -> Problem | None:
    """Return why two results must not be compared; None: they may.

    A throughput that cold requests lower by more than `COLD_SHARE` is not compared: the difference would mainly be that
    of the cold requests.
    """
    for arm, name in ((reference, "the reference"), (variant, "the variant")):
        if arm.result.left_out is not None:
            return Problem("left_out", f"{name}: n/a: {arm.result.left_out}")
        if arm.result.validity.status == "invalid":
            reasons = "; ".join(reason.text for reason in arm.result.validity.reasons)
            return Problem("invalid", f"{name} is excluded: {reasons}")
    problem = differing(reference.provenance, variant.provenance)
    share = max(reference.cold_share, variant.cold_share)
    if problem is None and share > COLD_SHARE:
        return Problem("cold_requests", f"cold requests lower the throughput by up to {share:.0%}; compare warm TPS")
    return problem

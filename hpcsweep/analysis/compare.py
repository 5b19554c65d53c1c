"""Two variants on one workload: the difference with its interval, and a verdict.

Comparisons are made on the logarithmic scale, so that the interval is one of the ratio. The intervals shown are 95%
each; a verdict of better or worse needs p < 0.05 after Holm's correction over its family.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hpcsweep.analysis.conditions import Conditions, conditions_of, differing
from hpcsweep.analysis.findings_compared import Comparison, Verdict
from hpcsweep.analysis.findings_measured import Cell, Condition, Figure, Result
from hpcsweep.analysis.measures import MEASURES
from hpcsweep.analysis.ratios import basis, joint_df, percent_figure, verdict_of
from hpcsweep.analysis.results import (
    ASSUMED_RUN_SPREAD,
    Estimate,
    Spread,
    counting,
    estimate,
    observations_by_variant,
    pool,
)
from hpcsweep.analysis.statistics import holm


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a result, what it was measured on, and how well its mean is known (None: not)."""

    result: Result
    conditions: Conditions
    estimate: Estimate | None

    @property
    def name(self) -> str:
        """The variant."""
        return self.result.variant


@dataclass(frozen=True)
class Field:
    """One metric of one workload over all variants, ready for comparisons."""

    workload: str
    metric: str
    condition: Condition
    sides: dict[str, Side]
    spread: Spread


class Fields:
    """The fields of a sweep by workload, metric and condition, each built when it is first asked for.

    `measured`: the workloads of which at least one result counts.
    """

    def __init__(self, results: Sequence[Result], cells: Sequence[Cell]) -> None:
        self._results, self._cells = results, cells
        self._built: dict[tuple[str, str, Condition], Field] = {}
        self.workloads = tuple(dict.fromkeys(cell.workload for cell in cells))
        self.measured = tuple(dict.fromkeys(cell.workload for cell in counting(cells)))
        grouped: dict[tuple[str, str], list[Cell]] = {}
        for cell in cells:
            grouped.setdefault((cell.variant, cell.workload), []).append(cell)
        self._conditions = {key: conditions_of(group) for key, group in grouped.items()}

    def get(self, workload: str, metric: str, condition: Condition) -> Field:
        """The field; without sides where nothing was sent."""
        key = (workload, metric, condition)
        if key not in self._built:
            self._built[key] = self._build(workload, metric, condition)
        return self._built[key]

    def _build(self, workload: str, metric: str, condition: Condition) -> Field:
        seen = observations_by_variant(self._cells, workload, metric, condition)
        spread = pool(seen.values())
        of_samples = MEASURES[metric].of_samples
        if of_samples and spread.sample_sd is None:
            spread = replace(spread, sample_sd=self._sample_spread(metric, condition))
        sides = {
            result.variant: Side(
                result,
                self._conditions[result.variant, workload],
                estimate(seen.get(result.variant, ()), spread, of_samples=of_samples),
            )
            for result in self._results
            if result.workload == workload
        }
        return Field(workload, metric, condition, sides, spread)

    def _sample_spread(self, metric: str, condition: Condition) -> float | None:
        """The relative spread of single requests over all workloads: for one of which no server has two samples."""
        everywhere = [
            observations
            for workload in self.workloads
            for observations in observations_by_variant(self._cells, workload, metric, condition).values()
        ]
        return pool(everywhere).sample_sd


def compare(
    field: Field, reference: str, variant: str, *, across: Callable[[Side, Side], str] | None = None
) -> Comparison:
    """`variant` against `reference`, not yet corrected for the number of comparisons: see `corrected`.

    `across`: a further check that gives a reason why the two do not compare, or an empty string.
    """
    return compare_sides(field.metric, field.condition, field.sides[reference], field.sides[variant], across=across)


def compare_sides(
    metric: str,
    condition: Condition,
    reference: Side,
    variant: Side,
    *,
    across: Callable[[Side, Side], str] | None = None,
) -> Comparison:
    """The same, for sides that may come from two sweeps."""
    measure = MEASURES[metric]
    simulated = reference.result.simulated or variant.result.simulated
    empty = Figure(None, measure.unit, condition=condition, simulated=simulated)
    old = reference.result.mean(metric, condition) or empty
    new = variant.result.mean(metric, condition) or empty
    problem = incomparable(reference, variant) or (across(reference, variant) if across else "")
    difference, percent = _differences(old, new, condition, simulated)
    found = Comparison(
        workload=variant.result.workload,
        metric=metric,
        higher_is_better=measure.higher_is_better,
        condition=condition,
        reference=reference.name,
        variant=variant.name,
        reference_value=old,
        variant_value=new,
        difference=difference,
        percent=percent,
        verdict=Verdict.NOT_COMPARABLE,
        reason=problem,
        p_value=None,
        p_adjusted=None,
        provisional=False,
        simulated=simulated,
    )
    a, b = reference.estimate, variant.estimate
    if problem:
        return found
    if old.value is None or new.value is None:
        return replace(found, reason=_missing(metric, condition, old))
    if a is None or b is None:
        return replace(found, reason="one sample on a side, and no other server of this workload shows their spread")
    return _judged(found, a, b)


def _differences(old: Figure, new: Figure, condition: Condition, simulated: bool) -> tuple[Figure, Figure]:
    if old.value is None or new.value is None:
        return (
            Figure(None, old.unit, condition=condition, simulated=simulated),
            Figure(None, "%", condition=condition, simulated=simulated),
        )
    n = old.n + new.n
    of = old.of if old.of == new.of else f"{old.of} and {new.of}"
    difference = Figure(new.value - old.value, old.unit, n, of, condition, simulated=simulated)
    ratio = None if old.value == 0 else 100 * (new.value / old.value - 1)
    return difference, Figure(ratio, "%", n, of, condition, simulated=simulated)


def _missing(metric: str, condition: Condition, old: Figure) -> str:
    side = "the reference" if old.value is None else "the variant"
    return f"{side} has no {'warm ' if condition == 'warm' else ''}value of {metric}"


def _judged(found: Comparison, a: Estimate, b: Estimate) -> Comparison:
    """With interval and p value. The centre is the ratio of the means as shown; the width comes from the estimates."""
    old, new = found.reference_value.value, found.variant_value.value
    if old is None or new is None:
        return found
    assumed = a.assumed or b.assumed
    figure, p_value = percent_figure(
        math.log(new / old),
        math.hypot(a.se, b.se),
        joint_df((a, b)),
        n=found.percent.n,
        of=found.percent.of,
        condition=found.condition,
        method=basis(assumed, ASSUMED_RUN_SPREAD),
        simulated=found.simulated,
    )
    low, high = (None if bound is None else old * bound / 100 for bound in (figure.low, figure.high))
    return replace(
        found,
        difference=replace(found.difference, low=low, high=high, method=figure.method),
        percent=figure,
        p_value=p_value,
        p_adjusted=p_value,
        provisional=a.single or b.single or assumed,
        verdict=verdict_of(found.metric, figure, p_value),
        reason=_basis(a, b, assumed),
    )


def _basis(a: Estimate, b: Estimate, assumed: bool) -> str:
    runs = f"{a.runs} against {b.runs} {'run' if a.runs == b.runs == 1 else 'runs'}"
    if assumed:
        return f"{runs}; the spread between server starts is not known, {ASSUMED_RUN_SPREAD:.0%} is assumed"
    return f"{runs}; spread between server starts measured by repeats"


def corrected(family: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of one family, with p values and verdicts corrected for their number (Holm)."""
    judged = [place for place, one in enumerate(family) if one.p_value is not None]
    adjusted = holm([family[place].p_value or 0.0 for place in judged])
    found = list(family)
    for place, p_value in zip(judged, adjusted, strict=True):
        found[place] = replace(
            found[place], p_adjusted=p_value, verdict=verdict_of(found[place].metric, found[place].percent, p_value)
        )
    return found


def incomparable(reference: Side, variant: Side) -> str:
    """Why two results must not be set against each other; empty: they may."""
    for side, word in ((reference, "the reference"), (variant, "the variant")):
        if side.result.left_out is not None:
            return f"{word}: n/a: {side.result.left_out}"
        if side.result.validity.status == "invalid":
            return f"{word} is set aside: " + "; ".join(r.text for r in side.result.validity.reasons)
    return differing(reference.conditions, variant.conditions)

"""What would settle the decision: the further repeats that distinguish the best variants, and their cost.

The two-sided t test of the difference of two mean log scores has the power P(|T| > t), where T follows the noncentral
t distribution with the noncentrality difference / standard error (Cohen, Statistical Power Analysis for the Behavioral
Sciences, 2nd ed., 1988, sections 2.3 and 12.4). The standard error is spread x sqrt(1/n1 + 1/n2) with the spread
between runs pooled over all repeated variants. Holm's correction over more than two variants is not included.
"""

import math
from collections.abc import Mapping, Sequence

from hpcsweep.analysis.compared.variants import join_names
from hpcsweep.analysis.decision.choice import Decision
from hpcsweep.analysis.decision.objective import Goal, Score
from hpcsweep.analysis.findings import Variant
from hpcsweep.analysis.findings.compared import NextStep
from hpcsweep.analysis.measured.results import MIN_POOLED_DF
from hpcsweep.analysis.rows import RunRow
from hpcsweep.analysis.stats.distribution import power_of_t_test
from hpcsweep.spec.phases import OutcomeKind

POWER = 0.80
ALPHA = 0.05

DIFFERENCES = (0.02, 0.05, 0.10, 0.20)
"""Differences that a next step may resolve: the smallest one that at most `MAX_REPEATS` further repeats resolve."""

MAX_REPEATS = 10


def further_repeats(
    spread: float, df: float, runs: tuple[int, int], difference: float, *, at_most: int = 1000
) -> int | None:
    """Return the number of further runs of each of two variants that resolve a relative difference.

    `spread`: relative standard deviation between runs, known with `df` degrees of freedom. `runs`: runs so far. Each
    further pair of runs adds two degrees of freedom. None: more than `at_most`.
    """
    for more in range(at_most + 1):
        n1, n2 = (count + more for count in runs)
        if min(n1, n2) < 1 or df + 2 * more <= 0:
            continue
        error = spread * math.sqrt(1 / n1 + 1 / n2)
        shift = math.inf if error == 0 else math.log1p(difference) / error
        if not math.isfinite(shift) or power_of_t_test(shift, df + 2 * more, ALPHA) >= POWER:
            return more
    return None


def next_steps(
    goal: Goal, decision: Decision, variants: Sequence[Variant], runs: Sequence[RunRow]
) -> tuple[NextStep, ...]:
    """Return the runs that would settle the choice; empty: nothing is chosen, or nothing is left to settle.

    Where the spread between runs is not known, the step is to measure it, and no difference is stated.
    """
    chosen = decision.chosen
    if chosen is None:
        return ()
    group = [chosen, *(name for name in decision.equal if name != chosen)]
    spread = _score_spread(goal, decision.scores[chosen])
    counts = {name: min(estimate.runs for estimate in decision.scores[name].estimates) for name in group}
    by_id = {variant.variant: variant for variant in variants}
    if spread is None:
        lacking = MIN_POOLED_DF - sum(count - 1 for count in counts.values())
        return (_step(by_id, runs, group, max(1, math.ceil(lacking / len(group))), None, None),)
    if len(group) < 2:
        return ()
    sd, df = spread
    fewest = sorted(counts.values())[:2]
    for difference in DIFFERENCES:
        repeats = further_repeats(sd, df, (fewest[0], fewest[1]), difference, at_most=MAX_REPEATS)
        if repeats == 0 and difference == DIFFERENCES[0]:
            return ()  # a difference that matters would have been seen already
        if repeats:
            return (_step(by_id, runs, group, repeats, difference, sd),)
    return ()


def _score_spread(goal: Goal, score: Score) -> tuple[float, float] | None:
    """Return the spread of the score between runs and its degrees of freedom; None: a term's spread is assumed.

    The terms of one run come from the same server, so their deviations are added as if fully correlated. This is an
    upper bound.
    """
    if any(estimate.assumed for estimate in score.estimates):
        return None
    spreads = (
        term.weight * estimate.se * math.sqrt(estimate.runs)
        for term, estimate in zip(goal.terms, score.estimates, strict=True)
    )
    return sum(spreads) / goal.weight, min(estimate.df for estimate in score.estimates)


def _step(
    by_id: Mapping[str, Variant],
    runs: Sequence[RunRow],
    group: Sequence[str],
    repeats: int,
    difference: float | None,
    spread: float | None,
) -> NextStep:
    hours = [_gpu_hours(runs, name) for name in group]
    known = [value for value in hours if value is not None]
    total = repeats * sum(known) if len(known) == len(hours) else None
    names = join_names([by_id[name].short_name for name in group])
    what = f"{repeats} more {'repeat' if repeats == 1 else 'repeats'} of {names}"
    cost = "" if total is None else f" (about {total:.1f} GPU-hours)"
    if difference is None:
        text = f"{what}{cost} would measure the spread between runs, which is not known yet"
    else:
        text = f"{what}{cost} would resolve a difference of {difference:.0%}"
    return NextStep(
        code="measure_spread" if difference is None else "resolve_difference",
        variants=tuple(group),
        repeats=repeats,
        difference_percent=None if difference is None else 100 * difference,
        spread_percent=None if spread is None else 100 * spread,
        gpu_hours=total,
        power=POWER,
        alpha=ALPHA,
        text=text,
        simulated=any(by_id[name].simulated for name in group),
    )


def _gpu_hours(runs: Sequence[RunRow], variant: str) -> float | None:
    """Return the mean GPU-hours of a completed run of this variant, from start to teardown; None: not known."""
    hours = [
        run.gpus * run.last.duration_s / 3600
        for run in runs
        if run.variant_id == variant
        and run.last is not None
        and run.last.outcome is OutcomeKind.COMPLETED
        and run.last.duration_s is not None
    ]
    return sum(hours) / len(hours) if hours else None

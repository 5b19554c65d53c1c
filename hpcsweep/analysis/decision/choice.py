"""The choice by a goal: the best variant, those not significantly different from it, and the preferred one of these."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcsweep.analysis.compared.compare import MetricTables, incomparable
from hpcsweep.analysis.compared.ratios import SIGNIFICANCE, basis, joint_df, percent_figure
from hpcsweep.analysis.decision.objective import Goal, Score, score_of
from hpcsweep.analysis.findings import Variant
from hpcsweep.analysis.findings.compared import Candidate
from hpcsweep.analysis.findings.measured import Figure, Validity
from hpcsweep.analysis.measured.provenance import Problem
from hpcsweep.analysis.measured.results import ASSUMED_RUN_SPREAD
from hpcsweep.analysis.measured.startup import ASSUMED_STARTUP_SPREAD, StartupTimes
from hpcsweep.analysis.stats.distribution import chances_to_be_best, holm


@dataclass(frozen=True)
class Decision:
    """The variants scored by a goal.

    `scores`: of the variants with a usable result. `ranked`: those that are compared with each other, the best first.
    `equal`: the best, and those not significantly different from it. `chosen`: the simplest or cheapest of `equal`.
    `best`, `chosen` None: no variant has a score.
    """

    scores: Mapping[str, Score]
    validity: Mapping[str, Validity]
    candidates: tuple[Candidate, ...]
    ranked: tuple[str, ...]
    best: str | None
    chosen: str | None
    equal: tuple[str, ...]


def decide(goal: Goal, tables: MetricTables, variants: Sequence[Variant], times: StartupTimes) -> Decision:
    """Decide by `goal`. Provisional results are compared only where no result is valid."""
    scores: dict[str, Score] = {}
    validity: dict[str, Validity] = {}
    for variant in variants:
        validity[variant.variant], score = score_of(goal, tables, variant, times)
        if score is not None and validity[variant.variant].status != "invalid":
            scores[variant.variant] = score
    pool = [name for name in scores if validity[name].ranked] or list(scores)
    ranked = tuple(sorted(pool, key=lambda name: -scores[name].log))
    candidates = _candidates(goal, variants, scores, validity, ranked, tables)
    equal = tuple(candidate.variant for candidate in candidates if candidate.equal_to_best)
    by_id = {variant.variant: variant for variant in variants}
    chosen = min(equal, key=lambda name: _simplicity(by_id[name], times)) if equal else None
    return Decision(scores, validity, candidates, ranked, ranked[0] if ranked else None, chosen, equal)


def _candidates(
    goal: Goal,
    variants: Sequence[Variant],
    scores: Mapping[str, Score],
    validity: Mapping[str, Validity],
    ranked: Sequence[str],
    tables: MetricTables,
) -> tuple[Candidate, ...]:
    """Return all variants, the best first; those without a score last, in the order of the grid."""
    best = ranked[0] if ranked else None
    chances = _chances([scores[name] for name in ranked])
    against = {name: _against(goal, scores[ranked[0]], scores[name]) for name in ranked[1:]}
    adjusted = dict(zip(against, holm([p for _, p in against.values()]), strict=True))
    rest = [variant.variant for variant in variants if variant.variant not in ranked]
    rest.sort(key=lambda name: -scores[name].log if name in scores else math.inf)
    candidates = []
    for name in (*ranked, *rest):
        problem = _problem(goal, tables, ranked[0], name) if name in against else None
        score = scores.get(name)
        position = ranked.index(name) if name in ranked else None
        reasons = [problem.text] if problem else [reason.text for reason in validity[name].reasons]
        candidates.append(
            Candidate(
                variant=name,
                score=Figure(None, "", note="no score") if score is None else score.figure,
                rank=None if position is None or not validity[name].ranked else position + 1,
                chance_best=None if position is None else chances[position],
                validity=validity[name],
                against_best=against[name][0] if name in against else None,
                equal_to_best=name == best or (problem is None and adjusted.get(name, 0.0) >= SIGNIFICANCE),
                reason="; ".join(reasons),
                comparable=problem is None,
            )
        )
    return tuple(candidates)


def _chances(scores: Sequence[Score]) -> Sequence[float | None]:
    """Return each score's chance to be the best; None for a single one, which was compared with nothing."""
    if len(scores) < 2:
        return [None] * len(scores)
    return chances_to_be_best([s.log for s in scores], [s.se for s in scores], [s.df for s in scores])


def _against(goal: Goal, best: Score, other: Score) -> tuple[Figure, float]:
    """Return how much higher or lower the other score is, percent of the metric where there is one, and its p value."""
    estimates = (*best.estimates, *other.estimates)
    assumed = any(estimate.assumed for estimate in estimates)
    share = ASSUMED_STARTUP_SPREAD if all(term.workload is None for term in goal.terms) else ASSUMED_RUN_SPREAD
    return percent_figure(
        goal.sign * (other.log - best.log) / goal.weight,
        math.hypot(best.se, other.se) / goal.weight,
        joint_df(estimates),
        n=len(estimates),
        of="values",
        condition=goal.condition,
        method=basis(assumed, share),
        simulated=best.figure.simulated or other.figure.simulated,
    )


def _problem(goal: Goal, tables: MetricTables, best: str, name: str) -> Problem | None:
    for term in goal.terms:
        if term.workload is not None:
            arms = tables.get(term.workload, term.metric, term.condition).arms
            problem = incomparable(arms[best], arms[name])
            if problem is not None:
                return Problem(problem.code, f"not comparable with the best: {problem.text}")
    return None


def _simplicity(variant: Variant, times: StartupTimes) -> tuple[int, int, float]:
    """Return the order of preference: fewer GPUs, then fewer settings changed, then the shorter startup."""
    return variant.gpus, len(variant.changed), times.mean_s(variant.variant)

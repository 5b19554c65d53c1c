"""Which variant is best by a goal, which ones cannot be told apart from it, and which of those is preferred."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcsweep.analysis.compared.compare import MetricTables, incomparable
from hpcsweep.analysis.decision.objective import Goal, Score, score_of
from hpcsweep.analysis.findings import Variant
from hpcsweep.analysis.findings.compared import Candidate
from hpcsweep.analysis.findings.measured import Figure, Validity
from hpcsweep.analysis.measured.results import ASSUMED_RUN_SPREAD
from hpcsweep.analysis.measured.startup import ASSUMED_STARTUP_SPREAD, StartupTimes
from hpcsweep.analysis.stats.distribution import chances_to_be_best, holm
from hpcsweep.analysis.stats.ratios import SIGNIFICANCE, basis, joint_df, percent_figure

NOT_COMPARABLE = "not comparable with the best: "
"""How the reason of such a candidate begins."""


@dataclass(frozen=True)
class Decision:
    """`scores`: of the variants that take part. `equal`: the best, and what cannot be told apart from it.

    `chosen`: the simplest or cheapest of `equal`. None: no variant has a valid score.
    """

    scores: Mapping[str, Score]
    validity: Mapping[str, Validity]
    candidates: tuple[Candidate, ...]
    best: str | None
    chosen: str | None
    equal: tuple[str, ...]


def decide(goal: Goal, tables: MetricTables, variants: Sequence[Variant], times: StartupTimes) -> Decision:
    """The decision by `goal`. Valid results take part; provisional ones only where there is no valid one."""
    scores: dict[str, Score] = {}
    validity: dict[str, Validity] = {}
    for variant in variants:
        validity[variant.variant], score = score_of(goal, tables, variant, times)
        if score is not None and validity[variant.variant].status != "invalid":
            scores[variant.variant] = score
    pool = [name for name in scores if validity[name].ranked] or list(scores)
    best = max(pool, key=lambda name: scores[name].log) if pool else None
    candidates = _candidates(goal, variants, scores, validity, best, pool, tables)
    equal = tuple(c.variant for c in candidates if c.equal_to_best)
    by_id = {variant.variant: variant for variant in variants}
    chosen = min(equal, key=lambda name: _simplicity(by_id[name], times)) if equal else None
    return Decision(scores, validity, candidates, best, chosen, equal)


def _candidates(
    goal: Goal,
    variants: Sequence[Variant],
    scores: Mapping[str, Score],
    validity: Mapping[str, Validity],
    best: str | None,
    pool: Sequence[str],
    tables: MetricTables,
) -> tuple[Candidate, ...]:
    """All variants, the best first; those without a score last, in the order of the grid."""
    chances = dict(
        zip(
            pool,
            chances_to_be_best(
                [scores[n].log for n in pool], [scores[n].se for n in pool], [scores[n].df for n in pool]
            ),
            strict=True,
        )
    )
    order = sorted(pool, key=lambda name: -scores[name].log)
    against = {name: _against(goal, scores[best], scores[name]) for name in order if best is not None and name != best}
    adjusted = dict(zip(against, holm([p for _, p in against.values()]), strict=True))
    rest = [v.variant for v in variants if v.variant not in chances]
    rest.sort(key=lambda name: -scores[name].log if name in scores else math.inf)
    found = []
    for name in (*order, *rest):
        problem = _problem(goal, tables, best, name) if name in against else ""
        equal = name == best or (name in adjusted and adjusted[name] >= SIGNIFICANCE and not problem)
        score = scores.get(name)
        found.append(
            Candidate(
                variant=name,
                score=Figure(None, "", note="no score") if score is None else score.figure,
                rank=order.index(name) + 1 if validity[name].ranked and name in chances else None,
                chance_best=chances.get(name),
                validity=validity[name],
                against_best=against[name][0] if name in against else None,
                equal_to_best=equal,
                reason=problem or "; ".join(reason.text for reason in validity[name].reasons),
            )
        )
    return tuple(found)


def _against(goal: Goal, best: Score, other: Score) -> tuple[Figure, float]:
    """How much higher or lower the other scores, percent of the metric where there is one, and its p value."""
    estimates = (*best.estimates, *other.estimates)
    assumed = any(one.assumed for one in estimates)
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


def _problem(goal: Goal, tables: MetricTables, best: str | None, name: str) -> str:
    for term in goal.terms:
        if term.workload is not None and best is not None:
            arms = tables.get(term.workload, term.metric, term.condition).arms
            problem = incomparable(arms[best], arms[name])
            if problem:
                return f"{NOT_COMPARABLE}{problem}"
    return ""


def _simplicity(variant: Variant, times: StartupTimes) -> tuple[int, int, float]:
    """Fewer GPUs, then fewer settings changed from the baseline, then the quicker start."""
    return variant.gpus, len(variant.changed), times.mean_s(variant.variant)

"""The recommendation: the best by the stated objective, what cannot be told apart from it, and what is not known."""

import math
from collections.abc import Iterator, Mapping, Sequence

from hpcsweep.analysis.commands import serve_command, shell_text
from hpcsweep.analysis.compare import Fields, incomparable
from hpcsweep.analysis.findings import RunFinding, Variant
from hpcsweep.analysis.findings_compared import Candidate, Recommendation
from hpcsweep.analysis.findings_measured import Figure, Startup, Validity
from hpcsweep.analysis.objective import Goal, Score, score_of
from hpcsweep.analysis.ratios import SIGNIFICANCE, basis, joint_df, percent_figure
from hpcsweep.analysis.results import ASSUMED_RUN_SPREAD
from hpcsweep.analysis.rows import RunRow
from hpcsweep.analysis.startup import ASSUMED_STARTUP_SPREAD, startup_estimates
from hpcsweep.analysis.statistics import chances_to_be_best, holm


def recommend(
    goal: Goal,
    fields: Fields,
    variants: Sequence[Variant],
    runs: Sequence[RunRow],
    findings: Sequence[RunFinding],
    startups: Sequence[Startup],
    axes: Mapping[str, Sequence[str]],
) -> Recommendation:
    """What to run, by `goal`."""
    startup = startup_estimates(startups, "startup_s")
    scores: dict[str, Score] = {}
    validity: dict[str, Validity] = {}
    for variant in variants:
        validity[variant.variant], score = score_of(goal, fields, variant, startups, startup)
        if score is not None and validity[variant.variant].status != "invalid":
            scores[variant.variant] = score
    ranked = [name for name in scores if validity[name].ranked]
    pool = ranked or list(scores)
    best = max(pool, key=lambda name: scores[name].log) if pool else None
    candidates = _candidates(goal, variants, scores, validity, best, pool, fields)
    equal = [c.variant for c in candidates if c.equal_to_best]
    by_id = {variant.variant: variant for variant in variants}
    chosen = min(equal, key=lambda name: _simplicity(by_id[name], startups)) if equal else None
    why = _why(by_id, scores, validity, best, chosen, equal, startups)
    command = next((serve_command(run) for run in runs if run.variant_id == chosen), None) if chosen else None
    if command is not None and command.trouble:
        why.append(f"no command can be given: {command.trouble}")
    argv, env = (command.argv, dict(command.env or {})) if command is not None else ((), {})
    return Recommendation(
        objective=goal.text,
        metric=goal.metric,
        workload=goal.workload,
        condition=goal.condition,
        chosen=chosen,
        best=best,
        why=tuple(why),
        candidates=candidates,
        not_measured=tuple(_not_measured(variants, findings, validity, axes)),
        provisional=bool(chosen) and not validity[str(chosen)].ranked,
        argv=argv,
        env=env,
        files=dict(command.files or {}) if command is not None else {},
        command=shell_text(argv, env) if argv else "",
        simulated=any(variant.simulated for variant in variants if variant.variant in (best, chosen)),
    )


def _candidates(
    goal: Goal,
    variants: Sequence[Variant],
    scores: Mapping[str, Score],
    validity: Mapping[str, Validity],
    best: str | None,
    pool: Sequence[str],
    fields: Fields,
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
        problem = _problem(goal, fields, best, name) if name in against else ""
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


def _problem(goal: Goal, fields: Fields, best: str | None, name: str) -> str:
    for term in goal.terms:
        if term.workload is not None and best is not None:
            sides = fields.get(term.workload, term.metric, term.condition).sides
            problem = incomparable(sides[best], sides[name])
            if problem:
                return f"not comparable with the best: {problem}"
    return ""


def _startup_s(variant: str, startups: Sequence[Startup]) -> float:
    """The mean startup of a variant, seconds; infinite where none was seen."""
    known = [one.startup_s for one in startups if one.variant == variant and one.startup_s is not None]
    return sum(known) / len(known) if known else math.inf


def _simplicity(variant: Variant, startups: Sequence[Startup]) -> tuple[int, int, float]:
    """Fewer GPUs, then fewer settings changed from the baseline, then the quicker start."""
    return variant.gpus, len(variant.changed), _startup_s(variant.variant, startups)


def _why(
    by_id: Mapping[str, Variant],
    scores: Mapping[str, Score],
    validity: Mapping[str, Validity],
    best: str | None,
    chosen: str | None,
    equal: Sequence[str],
    startups: Sequence[Startup],
) -> list[str]:
    """Sentences, the decision first."""
    if best is None or chosen is None:
        return ["no variant has a valid value of the objective: nothing can be recommended"]
    sentences = []
    others = [by_id[name].exp for name in equal if name != best]
    if others:
        sentences.append(f"{by_id[best].exp} scores best; no difference from {', '.join(others)} was seen")
    else:
        sentences.append(
            f"{by_id[best].exp} scores best, and every other variant with a score is distinguishably worse"
        )
    if len(scores) == 1:
        sentences = [f"{by_id[best].exp} is the only variant with a value of the objective"]
    if chosen != best:
        sentences.append(f"{by_id[chosen].exp} is preferred: {_simpler(by_id[chosen], by_id[best], startups)}")
    if not validity[chosen].ranked:
        reasons = "; ".join(reason.text for reason in validity[chosen].reasons)
        sentences.append(f"provisional: {reasons}")
    return sentences


def _simpler(chosen: Variant, best: Variant, startups: Sequence[Startup]) -> str:
    if chosen.gpus < best.gpus:
        return f"it needs {chosen.gpus} GPUs, not {best.gpus}"
    if len(chosen.changed) < len(best.changed):
        return "it is the baseline" if chosen.is_baseline else f"it changes fewer settings: {', '.join(chosen.changed)}"
    return f"it starts in {_startup_s(chosen.variant, startups):.0f} s, not {_startup_s(best.variant, startups):.0f} s"


def _not_measured(
    variants: Sequence[Variant],
    runs: Sequence[RunFinding],
    validity: Mapping[str, Validity],
    axes: Mapping[str, Sequence[str]],
) -> Iterator[str]:
    """What could change the answer and was not measured."""
    for variant in variants:
        own = [run for run in runs if run.variant == variant.variant]
        if variant.completed == 0 and own:
            last = own[-1]
            what = last.outcome.value if last.outcome is not None else last.state.value
            phase = f" in {last.phase.value}" if last.phase is not None else ""
            more = f": {last.reason}" if last.reason else ""
            yield f"{variant.exp} ({variant.name}) gave no result: {what}{phase}{more}"
    for name, of in validity.items():
        for reason in of.reasons:
            if reason.kind == "not_measured" and any(v.variant == name and v.completed for v in variants):
                exp = next(v.exp for v in variants if v.variant == name)
                yield f"{exp}: {reason.text}"
    full = math.prod(len(levels) for levels in axes.values())
    if full > len(variants) and len(axes) > 1:
        yield f"{full - len(variants)} of {full} combinations of the axes are not in the sweep: interactions not known"
    for run in runs:
        if run.planned_only:
            yield f"{run.label} was not run: {run.reason or 'no reason is stated'}"

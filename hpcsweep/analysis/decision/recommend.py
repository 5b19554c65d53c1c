"""The recommendation: the decision by the stated objective, its command, and what is not known."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hpcsweep.analysis.compared.compare import MetricTables
from hpcsweep.analysis.compared.variants import join_names
from hpcsweep.analysis.decision.choice import NOT_COMPARABLE, Decision, decide
from hpcsweep.analysis.decision.commands import ServeCommand, serve_command, shell_text
from hpcsweep.analysis.decision.objective import Goal
from hpcsweep.analysis.findings import RunFinding, Variant
from hpcsweep.analysis.findings.compared import Recommendation, WorkloadBest
from hpcsweep.analysis.findings.measured import Validity
from hpcsweep.analysis.measured.startup import StartupTimes
from hpcsweep.analysis.rows import RunRow

MAX_STRANGERS = 3
"""Results named one by one because they do not compare with the best."""


def recommend(
    goal: Goal,
    tables: MetricTables,
    variants: Sequence[Variant],
    runs: Sequence[RunRow],
    findings: Sequence[RunFinding],
    times: StartupTimes,
    axes: Mapping[str, Sequence[str]],
) -> Recommendation:
    """What to run, by `goal`."""
    decision = decide(goal, tables, variants, times)
    chosen = decision.chosen
    why = _why({variant.variant: variant for variant in variants}, decision, times)
    command = next((serve_command(run) for run in runs if run.variant_id == chosen), ServeCommand())
    if chosen is not None and command.trouble:
        why.append(f"no command can be given: {command.trouble}")
    if command.secrets:
        why.append(f"the command needs {', '.join(command.secrets)} in its environment, which no report writes down")
    return Recommendation(
        objective=goal.text,
        metric=goal.metric,
        workload=goal.workload,
        condition=goal.condition,
        chosen=chosen,
        best=decision.best,
        why=tuple(why),
        candidates=decision.candidates,
        by_workload=tuple(_by_workload(goal, tables, variants, times)),
        not_measured=(*_not_scored(goal, tables), *_not_measured(variants, findings, decision.validity, axes)),
        provisional=chosen is not None and not decision.validity[chosen].ranked,
        argv=command.argv,
        env=dict(command.env),
        files=dict(command.files),
        command=shell_text(command.argv, command.env) if command.argv else "",
        simulated=any(variant.simulated for variant in variants if variant.variant in (decision.best, chosen)),
    )


def _by_workload(
    goal: Goal, tables: MetricTables, variants: Sequence[Variant], times: StartupTimes
) -> Iterator[WorkloadBest]:
    """The decision for each workload of the goal alone; nothing where there is only one."""
    workloads = list(dict.fromkeys(term.workload for term in goal.terms if term.workload is not None))
    for workload in workloads if len(workloads) > 1 else ():
        terms = tuple(term for term in goal.terms if term.workload == workload)
        alone = decide(replace(goal, workload=workload, terms=terms), tables, variants, times)
        if alone.best is not None and alone.chosen is not None:
            equal = tuple(name for name in alone.equal if name != alone.best)
            yield WorkloadBest(workload, alone.best, alone.chosen, equal, alone.scores[alone.best].figure)


def _why(by_id: Mapping[str, Variant], decision: Decision, times: StartupTimes) -> list[str]:
    """Sentences, the decision first."""
    best, chosen, scores, validity = decision.best, decision.chosen, decision.scores, decision.validity
    if best is None or chosen is None:
        return ["no variant has a valid value of the objective: nothing can be recommended"]
    took_part = [one.variant for one in decision.candidates if one.chance_best is not None]
    held_back = [by_id[name].short_name for name in scores if name not in took_part]
    strangers = {c.variant: c.reason for c in decision.candidates if c.reason.startswith(NOT_COMPARABLE)}
    others = [by_id[name].short_name for name in decision.equal if name != best]
    if len(took_part) == 1:
        kind = "valid " if validity[best].ranked else ""
        sentences = [f"{by_id[best].short_name} is the only variant with a {kind}value of the objective"]
    elif others:
        sentences = [f"{by_id[best].short_name} scores best; no difference from {join_names(others)} was seen"]
    elif len(took_part) > 1 + len(strangers):
        sentences = [f"{by_id[best].short_name} scores best; all others that compare with it are distinguishably worse"]
    else:
        sentences = [f"{by_id[best].short_name} scores best, and no other result compares with it"]
    for name, reason in list(strangers.items())[:MAX_STRANGERS]:
        sentences.append(f"{by_id[name].short_name} may be better or worse: {reason}")
    if len(strangers) > MAX_STRANGERS:
        sentences.append(f"{len(strangers) - MAX_STRANGERS} more are not comparable with the best")
    if held_back:
        sentences.append(f"not compared, because their results are only provisional: {join_names(held_back)}")
    if chosen != best:
        sentences.append(f"{by_id[chosen].short_name} is preferred: {_simpler(by_id[chosen], by_id[best], times)}")
    if not validity[chosen].ranked:
        reasons = "; ".join(reason.text for reason in validity[chosen].reasons)
        sentences.append(f"provisional: {reasons}")
    return sentences


def _simpler(chosen: Variant, best: Variant, times: StartupTimes) -> str:
    if chosen.gpus < best.gpus:
        return f"it needs {chosen.gpus} GPUs, not {best.gpus}"
    if len(chosen.changed) < len(best.changed):
        changed = ", ".join(chosen.changed)
        return "it is the baseline" if chosen.is_baseline else f"it changes less of the baseline ({changed})"
    seconds = [times.mean_s(variant.variant) for variant in (chosen, best)]
    return f"it starts in {seconds[0]:.0f} s, not {seconds[1]:.0f} s"


def _not_scored(goal: Goal, tables: MetricTables) -> Iterator[str]:
    for workload in tables.workloads:
        if workload not in tables.measured and goal.workload in (None, workload):
            yield f"workload {workload} has no valid result of any variant, and is not in the score"


def _no_result(
    without: Sequence[Variant], variants: Sequence[Variant], latest: Mapping[str, RunFinding]
) -> Iterator[str]:
    """The variants that gave nothing: one sentence for all that ended alike, with the levels that only they have."""
    groups: dict[str, list[Variant]] = {}
    for variant in without:
        last = latest[variant.variant]
        what = last.outcome.value if last.outcome is not None else last.state.value
        phase = f" in {last.phase.value}" if last.phase is not None else ""
        groups.setdefault(what + phase, []).append(variant)
    for what, group in groups.items():
        reason = latest[group[0].variant].reason
        if len(group) == 1:
            yield f"{group[0].short_name} ({group[0].name}) gave no result: {what}{f': {reason}' if reason else ''}"
            continue
        shared = [f"{axis}={level}" for axis, level in group[0].axes.items() if _only_in(axis, level, group, variants)]
        every = f" (every variant with {' and '.join(shared)})" if shared else ""
        more = f"; {group[0].short_name}: {reason}" if reason else ""
        yield f"{join_names([one.short_name for one in group])}{every} gave no result: {what}{more}"


def _only_in(axis: str, level: str, group: Sequence[Variant], variants: Sequence[Variant]) -> bool:
    """Whether the variants with this level are this group, and no others."""
    having = [variant.variant for variant in variants if variant.axes.get(axis) == level]
    return having == [variant.variant for variant in group]


def _not_measured(
    variants: Sequence[Variant],
    runs: Sequence[RunFinding],
    validity: Mapping[str, Validity],
    axes: Mapping[str, Sequence[str]],
) -> Iterator[str]:
    """What could change the answer and was not measured."""
    latest = {run.variant: run for run in runs}
    by_id = {variant.variant: variant for variant in variants}
    yield from _no_result([v for v in variants if v.completed == 0 and v.variant in latest], variants, latest)
    for name, of in validity.items():
        for reason in of.reasons:
            if reason.code == "not_measured" and by_id[name].completed:
                yield f"{by_id[name].short_name}: {reason.text}"
    full = math.prod(len(levels) for levels in axes.values())
    if full > len(variants) and len(axes) > 1:
        yield f"{full - len(variants)} of {full} combinations of the axes are not in the sweep: interactions not known"
    for why, labels in planned_only(runs).items():
        yield f"{join_names(labels)} {'was' if len(labels) == 1 else 'were'} not run: {why}"


def planned_only(runs: Sequence[RunFinding]) -> dict[str, list[str]]:
    """What stands in the experiment as not to be run: reason -> labels. A grid cut by `only` has many of one reason."""
    groups: dict[str, list[str]] = {}
    for run in runs:
        if run.planned_only:
            groups.setdefault(run.reason or "no reason is stated", []).append(run.label)
    return groups

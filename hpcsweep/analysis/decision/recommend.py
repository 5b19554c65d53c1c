"""The recommendation: the decision by the stated objective, its command, and what was not measured."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hpcsweep.analysis.compared.compare import MetricTables
from hpcsweep.analysis.compared.variants import join_names
from hpcsweep.analysis.decision.choice import Decision, decide
from hpcsweep.analysis.decision.commands import ServeCommand, serve_command, shell_text
from hpcsweep.analysis.decision.confidence import confidence_of
from hpcsweep.analysis.decision.objective import Goal
from hpcsweep.analysis.findings import RunFinding, Variant
from hpcsweep.analysis.findings.compared import Recommendation, Statement, WorkloadBest
from hpcsweep.analysis.findings.measured import Validity
from hpcsweep.analysis.measured.startup import StartupTimes
from hpcsweep.analysis.outcomes import outcome_text
from hpcsweep.analysis.rows import RunRow

MAX_STRANGERS = 3
"""Variants named one by one because they are not comparable with the best."""

_UNMEASURED = ("not_measured", "excluded")


def recommend(
    goal: Goal,
    decision: Decision,
    tables: MetricTables,
    variants: Sequence[Variant],
    runs: Sequence[RunRow],
    findings: Sequence[RunFinding],
    times: StartupTimes,
    axes: Mapping[str, Sequence[str]],
) -> Recommendation:
    """Return what to run by `goal`, and why."""
    chosen = decision.chosen
    by_id = {variant.variant: variant for variant in variants}
    by_workload = tuple(_by_workload(goal, tables, variants, times))
    measured = next((run for run in runs if run.variant_id == chosen), None)
    command = serve_command(measured) if measured is not None else ServeCommand()
    return Recommendation(
        objective=goal.text,
        metric=goal.metric,
        workload=goal.workload,
        condition=goal.condition,
        chosen=chosen,
        best=decision.best,
        statements=(*_why(by_id, decision, times), *_about_command(chosen, command, measured)),
        candidates=decision.candidates,
        by_workload=by_workload,
        per_workload=len(decision.ranked) == 1 and len(variants) > 1 and bool(by_workload),
        missing=(*_not_scored(goal, tables), *_not_measured(variants, findings, decision.validity, axes)),
        confidence=confidence_of(decision, variants),
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
    """Yield the decision for each workload of the goal alone; nothing where there is only one."""
    workloads = list(dict.fromkeys(term.workload for term in goal.terms if term.workload is not None))
    for workload in workloads if len(workloads) > 1 else ():
        terms = tuple(term for term in goal.terms if term.workload == workload)
        alone = decide(replace(goal, workload=workload, terms=terms), tables, variants, times)
        if alone.best is not None and alone.chosen is not None:
            yield WorkloadBest(
                workload,
                alone.best,
                alone.chosen,
                tuple(name for name in alone.equal if name != alone.best),
                alone.scores[alone.best].figure,
                tuple(v.variant for v in variants if v.completed and v.variant not in alone.scores),
            )


def _why(by_id: Mapping[str, Variant], decision: Decision, times: StartupTimes) -> list[Statement]:
    """Return the reasons of the decision, the decision first."""
    best, chosen = decision.best, decision.chosen
    if best is None or chosen is None:
        return [Statement("no_valid_result", "no variant has a valid result for the objective")]
    statements = [_headline(by_id, decision, best)]
    if len(decision.ranked) == 1:
        statements += _without_result(by_id, decision)
    statements += _strangers(by_id, decision)
    provisional = [name for name in decision.scores if name not in decision.ranked]
    if provisional:
        names = join_names([by_id[name].short_name for name in provisional])
        text = f"not compared, because their results are provisional: {names}"
        statements.append(Statement("only_provisional", text, {"variants": provisional}))
    if chosen != best:
        code, why = _simpler(by_id[chosen], by_id[best], times)
        text = f"{by_id[chosen].short_name} is preferred: {why}"
        statements.append(Statement(code, text, {"variant": chosen, "best": best}))
    reasons = decision.validity[chosen].reasons
    if reasons:
        text = f"provisional: {'; '.join(reason.text for reason in reasons)}"
        statements.append(Statement("provisional", text, {"codes": [reason.code for reason in reasons]}))
    return statements


def _headline(by_id: Mapping[str, Variant], decision: Decision, best: str) -> Statement:
    name = by_id[best].short_name
    others = [other for other in decision.equal if other != best]
    strangers = sum(not candidate.comparable for candidate in decision.candidates)
    if len(decision.ranked) == 1:
        valid = "valid " if decision.validity[best].ranked else ""
        text = f"{name} is the only variant with a {valid}result for the whole objective"
        return Statement("only_variant", text, {"variant": best})
    if others:
        names = join_names([by_id[other].short_name for other in others])
        text = (
            f"{name} has the highest score; {names} {'is' if len(others) == 1 else 'are'} not significantly different"
        )
        return Statement("best_not_distinct", text, {"variant": best, "variants": others})
    if len(decision.ranked) > 1 + strangers:
        text = f"{name} has the highest score; all comparable variants are significantly worse"
        return Statement("best_distinct", text, {"variant": best})
    return Statement(
        "best_not_compared", f"{name} has the highest score; no other result is comparable", {"variant": best}
    )


def _without_result(by_id: Mapping[str, Variant], decision: Decision) -> Iterator[Statement]:
    """Yield which completed variants lack a result on which workload, and why."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for name, validity in decision.validity.items():
        if not by_id[name].completed:
            continue
        for reason in validity.reasons:
            if "workload" in reason.values:
                lacking.setdefault((str(reason.values["workload"]), reason.code), []).append(name)
    for (workload, code), names in lacking.items():
        shown = join_names([by_id[name].short_name for name in names])
        plural = len(names) > 1
        if code == "zero":
            text = f"{shown} {'score' if plural else 'scores'} 0 on workload {workload}"
        else:
            lacks = f"{'have' if plural else 'has'} no result on workload {workload}"
            text = f"{shown} {lacks} ({code.replace('_', ' ')})"
        yield Statement("no_result_on_workload", text, {"workload": workload, "reason": code, "variants": names})


def _strangers(by_id: Mapping[str, Variant], decision: Decision) -> Iterator[Statement]:
    strangers = [candidate for candidate in decision.candidates if not candidate.comparable]
    for candidate in strangers[:MAX_STRANGERS]:
        text = f"{by_id[candidate.variant].short_name} may be better or worse: {candidate.reason}"
        yield Statement("not_comparable", text, {"variant": candidate.variant})
    more = [candidate.variant for candidate in strangers[MAX_STRANGERS:]]
    if more:
        text = f"{len(more)} more {'is' if len(more) == 1 else 'are'} not comparable with the best"
        yield Statement("more_not_comparable", text, {"variants": more})


def _simpler(chosen: Variant, best: Variant, times: StartupTimes) -> tuple[str, str]:
    """Return (code, text) of why `chosen` is preferred to an equally good `best`."""
    if chosen.gpus < best.gpus:
        return "fewer_gpus", f"it needs {chosen.gpus} instead of {best.gpus} GPUs"
    if chosen.is_baseline and best.changed:
        return "is_baseline", "it is the baseline"
    if len(chosen.changed) < len(best.changed):
        return "fewer_changes", f"it changes fewer settings of the baseline ({', '.join(chosen.changed)})"
    seconds = [times.mean_s(variant.variant) for variant in (chosen, best)]
    return "starts_sooner", f"it starts in {seconds[0]:.0f} s instead of {seconds[1]:.0f} s"


def _about_command(chosen: str | None, command: ServeCommand, measured: RunRow | None) -> Iterator[Statement]:
    if chosen is not None and command.trouble:
        yield Statement("no_command", f"the serve command is not available: {command.trouble}")
    if command.secrets:
        text = f"set {', '.join(command.secrets)} in the environment first; the values are not stored"
        yield Statement("secrets", text, {"names": list(command.secrets)})
    if command.parts:
        nodes = len(command.parts)
        text = f"it runs on {nodes} nodes: `hpcsweep export best --to slurm` or `--to pbs` writes a script for them"
        yield Statement("several_nodes", text, {"nodes": nodes})
    container = measured.last.fact("container") if measured is not None and measured.last is not None else None
    if container is not None and not command.trouble:
        text = (
            f"measured in a container ({container.value}): the command is for its image; `hpcsweep export best` "
            "writes it with the container"
        )
        yield Statement("container", text, {"container": str(container.value)})


def _not_scored(goal: Goal, tables: MetricTables) -> Iterator[Statement]:
    for workload in tables.workloads:
        if workload not in tables.measured and goal.workload in (None, workload):
            text = f"no variant has a valid result on workload {workload}, so it is not part of the score"
            yield Statement("workload_without_result", text, {"workload": workload})


def _no_result(
    without: Sequence[Variant], variants: Sequence[Variant], latest: Mapping[str, RunFinding]
) -> Iterator[Statement]:
    """Yield one statement for all variants that ended alike, with the levels that only they have."""
    groups: dict[str, list[Variant]] = {}
    for variant in without:
        run = latest[variant.variant]
        outcome = run.state.value if run.outcome is None else outcome_text(run.outcome, run.phase)
        groups.setdefault(outcome, []).append(variant)
    for outcome, group in groups.items():
        reason = latest[group[0].variant].reason
        if len(group) == 1:
            text = f"{group[0].short_name} ({group[0].name}) has no result: {outcome}{f': {reason}' if reason else ''}"
        else:
            shared = [f"{a}={level}" for a, level in group[0].axes.items() if _only_in(a, level, group, variants)]
            every = f" (every variant with {' and '.join(shared)})" if shared else ""
            more = f"; {group[0].short_name}: {reason}" if reason else ""
            text = f"{join_names([v.short_name for v in group])}{every} have no result: {outcome}{more}"
        yield Statement("no_result", text, {"outcome": outcome, "variants": [v.variant for v in group]})


def _only_in(axis: str, level: str, group: Sequence[Variant], variants: Sequence[Variant]) -> bool:
    """Return whether exactly the variants of this group have this level."""
    having = [variant.variant for variant in variants if variant.axes.get(axis) == level]
    return having == [variant.variant for variant in group]


def _not_measured(
    variants: Sequence[Variant],
    runs: Sequence[RunFinding],
    validity: Mapping[str, Validity],
    axes: Mapping[str, Sequence[str]],
) -> Iterator[Statement]:
    """Yield what was not measured and could change the decision."""
    latest = {run.variant: run for run in runs}
    by_id = {variant.variant: variant for variant in variants}
    yield from _no_result([v for v in variants if v.completed == 0 and v.variant in latest], variants, latest)
    for name, of in validity.items():
        for reason in of.reasons:
            if reason.code in _UNMEASURED and by_id[name].completed:
                text = f"{by_id[name].short_name}: {reason.text}"
                yield Statement(reason.code, text, {"variant": name, **reason.values})
    full = math.prod(len(levels) for levels in axes.values())
    if full > len(variants) and len(axes) > 1:
        lacking = full - len(variants)
        text = f"{lacking} of {full} combinations of the axes are not in the sweep, so interactions are not known"
        yield Statement("combinations_missing", text, {"missing": lacking, "combinations": full})
    for why, labels in planned_only(runs).items():
        text = f"{join_names(labels)} {'was' if len(labels) == 1 else 'were'} not run: {why}"
        yield Statement("not_run", text, {"reason": why, "labels": labels})


def planned_only(runs: Sequence[RunFinding]) -> dict[str, list[str]]:
    """Return the variants that the experiment documents as not run: reason -> labels."""
    groups: dict[str, list[str]] = {}
    for run in runs:
        if run.planned_only:
            groups.setdefault(run.reason or "no reason is stated", []).append(run.label)
    return groups

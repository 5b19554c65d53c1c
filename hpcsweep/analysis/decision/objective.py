"""The objective of an experiment as a score: a weighted geometric mean of metrics, with its standard error."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcsweep.analysis.compared.compare import Arm, MetricTables
from hpcsweep.analysis.compared.ratios import joint_df
from hpcsweep.analysis.findings import Variant
from hpcsweep.analysis.findings.measured import Figure, Reason, SampleSet, Validity, Values
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.analysis.measured.results import Estimate
from hpcsweep.analysis.measured.startup import StartupTimes
from hpcsweep.analysis.measured.validity import gate

_METRICS = {"ttft": "ttft_s", "startup": "startup_s", "tpot": "tpot_s", "e2e": "e2e_s", "latency": "e2e_s"}


@dataclass(frozen=True)
class Term:
    """One term of the objective. `weight` above 0; the metric has the direction. `workload` None: a startup time."""

    metric: str
    condition: SampleSet
    workload: str | None
    weight: float


@dataclass(frozen=True)
class Goal:
    """The objective as a weighted geometric mean of its terms."""

    text: str
    metric: str
    workload: str | None
    condition: SampleSet
    terms: tuple[Term, ...]

    @property
    def weight(self) -> float:
        """Sum of all weights."""
        return sum(term.weight for term in self.terms)

    @property
    def sign(self) -> int:
        """1 where a higher score is better; -1 for a single metric of which a lower value is better."""
        metrics = {term.metric for term in self.terms}
        return 1 if len(metrics) > 1 or METRICS[self.metric].higher_is_better else -1


def read_goal(objective: Mapping[str, object], workloads: Sequence[str]) -> Goal:
    """Return the goal that the experiment states (`spec.experiment.Objective` as JSON); empty: TPS on all workloads."""
    stated = str(objective.get("metric") or "tps")
    condition: SampleSet = "all" if objective.get("samples") == "all" else "warm"
    workload = objective.get("workload")
    chosen = [str(workload)] if workload else list(workloads)
    weights = objective.get("weights")
    parts = {stated: 1.0}
    if stated == "weighted" and isinstance(weights, Mapping) and weights:
        parts = {str(name): float(weight) for name, weight in weights.items()}
    terms = []
    for name, weight in parts.items():
        metric = _METRICS.get(name, name)
        known = METRICS.get(metric, METRICS["tps"])
        own: SampleSet = condition if known.of_samples else "all"
        targets: list[str | None] = [None] if known.name == "startup_s" else list(chosen)
        terms += [Term(known.name, own, target, abs(weight) / len(targets)) for target in targets]
    first = terms[0] if terms else Term("tps", condition, None, 1.0)
    return Goal(
        _goal_text(terms, chosen), first.metric, str(workload) if workload else None, first.condition, tuple(terms)
    )


def _goal_text(terms: Sequence[Term], workloads: Sequence[str]) -> str:
    parts = []
    for name in dict.fromkeys(term.metric for term in terms):
        metric = METRICS[name]
        share = sum(term.weight for term in terms if term.metric == name)
        of_samples = {"warm": " of warm samples", "all": " of all samples"} if metric.of_samples else {}
        condition = next(term.condition for term in terms if term.metric == name)
        weight = f" (weight {share:g})" if len({term.metric for term in terms}) > 1 else ""
        direction = "highest" if metric.higher_is_better else "lowest"
        parts.append(f"{direction} mean {metric.title}{of_samples.get(condition, '')}{weight}")
    where = f" on workload {workloads[0]}" if len(workloads) == 1 else f" over workloads {', '.join(workloads)}"
    on_load = any(term.workload is not None for term in terms)
    return " and ".join(parts) + (where if workloads and on_load else "")


@dataclass(frozen=True)
class Score:
    """The objective of one variant. `log`: on the logarithmic scale, higher is better; `figure`: in the metric's unit.

    `estimates`: one per term of the goal, in its order.
    """

    log: float
    se: float
    df: float
    estimates: tuple[Estimate, ...]
    figure: Figure


def score_of(
    goal: Goal,
    tables: MetricTables,
    variant: Variant,
    times: StartupTimes,
) -> tuple[Validity, Score | None]:
    """Return the validity of this variant's result, and its score; None: a term of the goal has no value."""
    reasons: list[Reason] = []
    missing: list[Reason] = []
    parts: list[tuple[Term, Estimate]] = []
    figure: Figure | None = None
    for term in goal.terms:
        estimate: Estimate | None
        if term.workload is None:
            figure, estimate = times.figure(variant.variant), times.best_known(variant.variant)
            lack = Reason("not_measured", "startup was not measured", values={"metric": term.metric})
        else:
            arm = tables.get(term.workload, term.metric, term.condition).arms.get(variant.variant)
            estimate = None if arm is None or arm.result.left_out is not None else arm.estimate
            figure = None if arm is None else arm.result.mean(term.metric, term.condition)
            lack = _lack(term, arm, figure)
            if arm is not None and arm.result.left_out is None:
                reasons += [reason for reason in arm.result.validity.reasons if reason not in reasons]
        if estimate is None:
            missing.append(lack)
        else:
            parts.append((term, estimate))
    if missing:
        return gate([*reasons, *missing]), None
    return gate(reasons), _combine(goal, parts, figure, variant.simulated) if parts else None


def _lack(term: Term, arm: Arm | None, figure: Figure | None) -> Reason:
    """Return why a term has no value, for the case that it has none."""
    title, workload = METRICS[term.metric].title, str(term.workload)
    values: Values = {"metric": term.metric, "workload": workload}
    if arm is not None and arm.result.left_out is not None:
        return Reason("does_not_fit", f"workload {workload} is n/a: {arm.result.left_out}", values=values)
    if figure is not None and figure.value == 0:
        return Reason("zero", f"{title} on {workload} is 0", values=values)
    if arm is not None and arm.result.validity.status == "invalid":
        causes = "; ".join(dict.fromkeys(reason.text for reason in arm.result.validity.reasons))
        return Reason("excluded", f"{title} on {workload} is excluded: {causes}", values=values)
    of = " of warm samples" if term.condition == "warm" else ""
    return Reason("not_measured", f"{title}{of} on {workload} was not measured", values=values)


def _combine(goal: Goal, parts: Sequence[tuple[Term, Estimate]], figure: Figure | None, simulated: bool) -> Score:
    signed = [(t.weight * (1 if METRICS[t.metric].higher_is_better else -1), e) for t, e in parts]
    log = sum(weight * estimate.log_mean for weight, estimate in signed)
    se = math.sqrt(sum((weight * estimate.se) ** 2 for weight, estimate in signed))
    estimates = tuple(estimate for _, estimate in signed)
    if len(parts) == 1 and figure is not None:
        shown = figure
    else:
        one_metric = len({term.metric for term in goal.terms}) == 1
        shown = Figure(
            math.exp(goal.sign * log / goal.weight),
            METRICS[goal.metric].unit if one_metric else "index",
            sum(estimate.n for estimate in estimates),
            "values",
            goal.condition,
            simulated=simulated,
            note="geometric mean over the workloads" if one_metric else "weighted geometric mean of the terms",
        )
    return Score(log, se, joint_df(estimates), estimates, shown)

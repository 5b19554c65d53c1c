"""The objective of an experiment as a score: a weighted geometric mean of metrics, with its standard error."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcsweep.analysis.compared.compare import MetricTables
from hpcsweep.analysis.findings import Variant
from hpcsweep.analysis.findings.measured import Figure, Reason, SampleSet, Validity
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.analysis.measured.results import Estimate
from hpcsweep.analysis.measured.startup import StartupTimes
from hpcsweep.analysis.measured.validity import gate
from hpcsweep.analysis.stats.ratios import joint_df

_METRICS = {"ttft": "ttft_s", "startup": "startup_s", "tpot": "tpot_s", "e2e": "e2e_s", "latency": "e2e_s"}


@dataclass(frozen=True)
class Term:
    """One part of the objective. `weight` above 0; the direction comes from the metric. `workload` None: startup."""

    metric: str
    condition: SampleSet
    workload: str | None
    weight: float


@dataclass(frozen=True)
class Goal:
    """The objective, ready to be computed: a weighted geometric mean of its terms."""

    text: str
    metric: str
    workload: str | None
    condition: SampleSet
    terms: tuple[Term, ...]

    @property
    def weight(self) -> float:
        """The sum of all weights."""
        return sum(term.weight for term in self.terms)

    @property
    def sign(self) -> int:
        """1 where a score reads higher is better; -1 for a single metric of which less is better."""
        metrics = {term.metric for term in self.terms}
        return 1 if len(metrics) > 1 or METRICS[self.metric].higher_is_better else -1


def read_goal(objective: Mapping[str, object], workloads: Sequence[str]) -> Goal:
    """The goal that the experiment states (`spec.experiment.Objective` as JSON); empty: TPS over all workloads."""
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
        measure = METRICS.get(metric, METRICS["tps"])
        own: SampleSet = condition if measure.of_samples else "all"
        places: list[str | None] = [None] if measure.name == "startup_s" else list(chosen)
        terms += [Term(measure.name, own, place, abs(weight) / len(places)) for place in places]
    first = terms[0] if terms else Term("tps", condition, None, 1.0)
    return Goal(
        _goal_text(terms, chosen), first.metric, str(workload) if workload else None, first.condition, tuple(terms)
    )


def _goal_text(terms: Sequence[Term], workloads: Sequence[str]) -> str:
    words = []
    for name in dict.fromkeys(term.metric for term in terms):
        measure = METRICS[name]
        share = sum(term.weight for term in terms if term.metric == name)
        of_samples = {"warm": " of warm samples", "all": " of all samples"} if measure.of_samples else {}
        condition = next(term.condition for term in terms if term.metric == name)
        weight = f" (weight {share:g})" if len({term.metric for term in terms}) > 1 else ""
        direction = "highest" if measure.higher_is_better else "lowest"
        words.append(f"{direction} mean {measure.title}{of_samples.get(condition, '')}{weight}")
    place = f" on workload {workloads[0]}" if len(workloads) == 1 else f" over workloads {', '.join(workloads)}"
    on_load = any(term.workload is not None for term in terms)
    return " and ".join(words) + (place if workloads and on_load else "")


@dataclass(frozen=True)
class Score:
    """The objective of one variant on the logarithmic scale, higher is better. `value`: in the metric's own unit."""

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
    """What speaks against ranking this variant, and its score; None: a term of the goal has no value."""
    reasons: list[Reason] = []
    parts: list[tuple[Term, Estimate]] = []
    missing: list[str] = []
    kind = "not_measured"
    figure: Figure | None = None
    for term in goal.terms:
        if term.workload is None:
            figure = times.figure(variant.variant)
            estimate = times.best_known(variant.variant)
            what = "startup was not measured"
        else:
            arm = tables.get(term.workload, term.metric, term.condition).arms.get(variant.variant)
            of = " of warm samples" if term.condition == "warm" else ""
            what = f"{METRICS[term.metric].title}{of} on {term.workload} was not measured"
            estimate = None if arm is None else arm.estimate
            if arm is not None and arm.result.left_out is not None:
                what, estimate, kind = f"workload {term.workload} is n/a: {arm.result.left_out}", None, "does_not_fit"
            elif arm is not None:
                if arm.result.validity.status == "invalid":
                    told = "; ".join(dict.fromkeys(reason.text for reason in arm.result.validity.reasons))
                    what = f"{METRICS[term.metric].title} on {term.workload} is set aside: {told}"
                reasons += [r for r in arm.result.validity.reasons if r not in reasons]
                figure = arm.result.mean(term.metric, term.condition)
                if figure is not None and figure.value == 0:
                    what, kind = f"{METRICS[term.metric].title} on {term.workload} is 0", "zero"
        if estimate is None:
            missing.append(what)
        else:
            parts.append((term, estimate))
    if missing:
        reasons.append(Reason(kind, "; ".join(missing)))
        return gate(reasons), None
    return gate(reasons), _combine(goal, parts, figure, variant.simulated) if parts else None


def _combine(goal: Goal, parts: Sequence[tuple[Term, Estimate]], figure: Figure | None, simulated: bool) -> Score:
    signed = [(t.weight * (1 if METRICS[t.metric].higher_is_better else -1), e) for t, e in parts]
    log = sum(weight * one.log_mean for weight, one in signed)
    se = math.sqrt(sum((weight * one.se) ** 2 for weight, one in signed))
    estimates = tuple(one for _, one in signed)
    if len(parts) == 1 and figure is not None:
        shown = figure
    else:
        one_metric = len({term.metric for term in goal.terms}) == 1
        shown = Figure(
            math.exp(goal.sign * log / goal.weight),
            METRICS[goal.metric].unit if one_metric else "index",
            sum(one.n for one in estimates),
            "values",
            goal.condition,
            simulated=simulated,
            note="geometric mean over the workloads" if one_metric else "weighted geometric mean of the terms",
        )
    return Score(log, se, joint_df(estimates), estimates, shown)

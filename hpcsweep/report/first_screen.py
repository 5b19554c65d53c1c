"""The first screen of a report: the answer, one row per variant, the failures, and what would settle the rest.

Everything here is a typed value of the findings; each format words it in its own way and computes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcsweep.analysis.findings import Findings, RunFinding, Variant
from hpcsweep.analysis.findings.compared import Candidate, Comparison
from hpcsweep.analysis.findings.measured import Bound, Figure, Result, SampleSet
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import wording
from hpcsweep.report.failures import FailureGroup, failure_groups
from hpcsweep.report.starts import NOT_STARTED, starts_by_variant

MAX_ROWS = 14
"""Rows of the table; the recommended variant and the baseline are always among them."""

MAX_GROUPS_KEPT = 2
"""Groups of failed variants that keep their row when the table is cut."""

MAX_WORKLOADS = 3
"""Workloads with a column of their own."""

GROUPED_FROM = 5
"""Neighbouring variants that failed in the same way share a row if there are this many failed ones."""

MAX_FAILED_ROWS = 6
"""If that gives more rows than this, all variants that failed in the same way share one."""


@dataclass(frozen=True)
class NotSent:
    """A workload that was not sent to a variant. `kind`: in a few words, such as `does not fit`."""

    kind: str


@dataclass(frozen=True)
class VariantRow:
    """A variant, or a group of variants that failed in the same way.

    `levels`: one per varied axis; empty where the variants of a group differ. `speeds`: one per workload. `against`:
    the comparisons with the baseline. `ready_s`: launch to first token. `reached_s`, `ended_s`: where a start failed,
    the start of the phase it ended in, and its end. `caveats`: codes.
    """

    variants: tuple[Variant, ...]
    levels: tuple[str, ...]
    speeds: tuple[Figure | NotSent | None, ...]
    against: tuple[Comparison, ...]
    ttft: Figure | None
    ready_s: float | None
    reached_s: float | None
    ended_s: float | None
    outcome: str
    failed: bool
    recommended: bool
    baseline: bool
    simulated: bool
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """The recommended variant with its figures by workload, and how it compares.

    `bounds`: of the figures by workload, where known. `baseline`: comparisons with the baseline; empty: it is the
    baseline, or the two do not compare. `runner_up`: the next candidate with a score. `best`: the variant with the
    highest score, where another one is preferred.
    """

    variant: Variant
    figures: tuple[tuple[str, Figure], ...]
    bounds: dict[str, Bound]
    baseline: tuple[Comparison, ...]
    runner_up: Candidate | None
    best: Variant | None
    chance: float | None
    equal: tuple[Variant, ...]
    caveats: tuple[str, ...]
    alone: bool


@dataclass(frozen=True)
class FirstScreen:
    """All of it. `metric`, `condition`: of the columns `speeds`. `hidden`: variants without a row."""

    findings: Findings
    answer: Answer | None
    axes: tuple[str, ...]
    workloads: tuple[str, ...]
    metric: str
    condition: SampleSet
    rows: tuple[VariantRow, ...]
    hidden: int
    common_caveats: tuple[str, ...]
    failures: tuple[FailureGroup, ...]


def build_first_screen(findings: Findings, max_rows: int = MAX_ROWS) -> FirstScreen:
    """Choose and arrange the figures of the first screen."""
    metric, condition = _shown_metric(findings)
    workloads = _shown_workloads(findings)
    axes = tuple(axis for axis, levels in findings.sweep.axes.items() if len(levels) > 1)
    groups = failure_groups(findings, not_started=True)
    rows = _Rows(findings, axes, workloads, metric, condition).build(groups)
    measured = [row for row in rows if not row.failed and any(isinstance(value, Figure) for value in row.speeds)]
    common = [code for code in (measured[0].caveats if len(measured) > 1 else ()) if _all_have(measured, code)]
    shown = _cut(rows, max_rows)
    return FirstScreen(
        findings=findings,
        answer=_answer(findings, workloads, metric, condition),
        axes=axes,
        workloads=workloads,
        metric=metric,
        condition=condition,
        rows=shown,
        hidden=len(findings.variants) - sum(len(row.variants) for row in shown),
        common_caveats=tuple(common),
        failures=tuple(groups),
    )


def _all_have(rows: Sequence[VariantRow], code: str) -> bool:
    return all(code in row.caveats for row in rows)


def _cut(rows: Sequence[VariantRow], most: int) -> tuple[VariantRow, ...]:
    """Return the first rows, with those that must not be missing: the answer, the baseline, the groups that failed."""
    if len(rows) <= most:
        return tuple(rows)
    groups = [row for row in rows if row.failed and len(row.variants) > 1][:MAX_GROUPS_KEPT]
    needed = [row for row in rows[most:] if row.recommended or row.baseline or row in groups]
    first = rows[: most - len(needed)]
    return (*first, *(row for row in needed if row not in first))


def _shown_metric(findings: Findings) -> tuple[str, SampleSet]:
    """Return the objective's metric where it belongs to workloads and was measured; else TPS, else throughput."""
    advice = findings.recommendation
    wanted: list[tuple[str, SampleSet]] = [(advice.metric, advice.condition), ("tps", "warm"), ("tps", "all")]
    for metric, condition in (*wanted, ("output_throughput", "all")):
        if any(result.mean(metric, condition) is not None for result in findings.results):
            return metric, condition
    return "tps", "warm"


def _shown_workloads(findings: Findings) -> tuple[str, ...]:
    own = findings.recommendation.workload
    sent = [name for name in findings.sweep.workloads if any(r.workload == name for r in findings.results)]
    first = [own] if own in sent else []
    return tuple([*first, *(name for name in sent if name != own)][:MAX_WORKLOADS])


def _answer(findings: Findings, workloads: Sequence[str], metric: str, condition: SampleSet) -> Answer | None:
    advice = findings.recommendation
    if advice.chosen is None:
        return None
    scored = [candidate for candidate in advice.candidates if candidate.score.value is not None]
    own = next(candidate for candidate in advice.candidates if candidate.variant == advice.chosen)
    by_key = {(result.variant, result.workload): result for result in findings.results}
    figures = []
    for workload in workloads:
        result = by_key.get((advice.chosen, workload))
        mean = None if result is None else result.mean(metric, condition)
        if mean is not None:
            figures.append((workload, mean))
    if not figures:
        figures.append(("", own.score))
    return Answer(
        variant=findings.variant(advice.chosen),
        figures=tuple(figures),
        bounds={
            workload: result.bound
            for workload, _ in figures
            if (result := by_key.get((advice.chosen, workload))) is not None and result.bound is not None
        },
        baseline=tuple(
            candidate
            for candidate in findings.comparisons
            if candidate.variant == advice.chosen and candidate.metric == metric and candidate.condition == condition
        ),
        runner_up=next(
            (candidate for candidate in scored if candidate.variant not in (advice.chosen, advice.best)), None
        ),
        best=findings.variant(advice.best) if advice.best not in (None, advice.chosen) else None,
        chance=own.chance_best,
        equal=tuple(
            findings.variant(candidate.variant)
            for candidate in scored
            if candidate.equal_to_best and candidate.variant != advice.chosen
        ),
        caveats=tuple(dict.fromkeys(reason.code for reason in own.validity.reasons)),
        alone=len(scored) == 1,
    )


class _Rows:
    """The rows of the table, sorted by the objective; failed variants last."""

    def __init__(
        self, findings: Findings, axes: Sequence[str], workloads: Sequence[str], metric: str, condition: SampleSet
    ) -> None:
        self._findings = findings
        self._axes, self._workloads = axes, workloads
        self._metric, self._condition = metric, condition
        self._results: dict[str, dict[str, Result]] = {}
        for result in findings.results:
            self._results.setdefault(result.variant, {})[result.workload] = result
        self._runs: dict[str, list[RunFinding]] = {}
        for run in findings.runs:
            self._runs.setdefault(run.variant, []).append(run)
        self._starts = starts_by_variant(findings.startups)
        self._against: dict[str, list[Comparison]] = {}
        for comparison in findings.comparisons:
            if comparison.metric == metric and comparison.condition == condition and comparison.workload in workloads:
                self._against.setdefault(comparison.variant, []).append(comparison)

    def build(self, groups: Sequence[FailureGroup]) -> list[VariantRow]:
        """Return one row per variant, or per group of failed ones where there are many."""
        order = {candidate.variant: number for number, candidate in enumerate(self._findings.recommendation.candidates)}
        rows = [self._row(variant) for variant in self._findings.variants]
        good = sorted((row for row in rows if not row.failed), key=lambda row: _place(row, order))
        failed = [row for row in rows if row.failed]
        return [*good, *(self._merged(failed, groups) if len(failed) >= GROUPED_FROM else failed)]

    def _merged(self, failed: Sequence[VariantRow], groups: Sequence[FailureGroup]) -> list[VariantRow]:
        """Merge neighbours that failed in the same way; where there are many of those, all that did."""
        group_of = {variant.variant: number for number, group in enumerate(groups) for variant in group.variants}
        position = {variant.variant: i for i, variant in enumerate(self._findings.variants)}
        merged: dict[tuple[object, str], list[VariantRow]] = {}
        neighbours: list[list[VariantRow]] = []
        for row in failed:
            (variant,) = row.variants
            key = (group_of.get(variant.variant), row.outcome)
            alike = merged.setdefault(key, [])
            if alike and position[alike[-1].variants[0].variant] == position[variant.variant] - 1:
                neighbours[-1].append(row)
            else:
                neighbours.append([row])
            alike.append(row)
        return [_merge(rows) for rows in (neighbours if len(neighbours) <= MAX_FAILED_ROWS else merged.values())]

    def _row(self, variant: Variant) -> VariantRow:
        results = self._results.get(variant.variant, {})
        runs = self._runs.get(variant.variant, [])
        failed = bool(runs) and all(run.outcome is not None and not run.measured for run in runs)
        start = self._starts.get(variant.variant, NOT_STARTED)
        sent = [result for result in results.values() if result.left_out is None]
        codes = dict.fromkeys(reason.code for result in sent for reason in result.validity.reasons)
        return VariantRow(
            variants=(variant,),
            levels=tuple(variant.axes.get(axis, "") for axis in self._axes),
            speeds=tuple(self._speed(results, workload) for workload in self._workloads),
            against=tuple(self._against.get(variant.variant, ())),
            ttft=None if self._metric == "ttft_s" else self._ttft(results),
            ready_s=start.ready_s,
            reached_s=start.reached_s,
            ended_s=start.ended_s,
            outcome=wording.status(runs),
            failed=failed,
            recommended=variant.variant == self._findings.recommendation.chosen,
            baseline=variant.is_baseline,
            simulated=variant.simulated,
            caveats=tuple(codes),
        )

    def _speed(self, results: Mapping[str, Result], workload: str) -> Figure | NotSent | None:
        result = results.get(workload)
        if result is None:
            return None
        if result.left_out is not None:
            return NotSent(wording.left_out_kind(result.left_out))
        return result.mean(self._metric, self._condition)

    def _ttft(self, results: Mapping[str, Result]) -> Figure | None:
        for workload in self._workloads:
            result = results.get(workload)
            mean = None if result is None else result.mean("ttft_s", "warm") or result.mean("ttft_s", "all")
            if mean is not None:
                return mean
        return None


def _place(row: VariantRow, order: Mapping[str, int]) -> tuple[bool, int]:
    """Sort by the objective; what has no figure comes after what has one."""
    (variant,) = row.variants
    measured = any(isinstance(value, Figure) and value.value is not None for value in row.speeds)
    return not measured, order.get(variant.variant, len(order))


def _merge(rows: Sequence[VariantRow]) -> VariantRow:
    """Return one row for failed variants: the levels they share, and the longest start."""
    first = rows[0]
    if len(rows) == 1:
        return first
    columns = zip(*(row.levels for row in rows), strict=True)
    longest = max(rows, key=lambda row: row.ended_s or row.ready_s or 0.0)
    return VariantRow(
        variants=tuple(variant for row in rows for variant in row.variants),
        levels=tuple(levels[0] if len(set(levels)) == 1 else "" for levels in columns),
        speeds=tuple(None for _ in first.speeds),
        against=(),
        ttft=None,
        ready_s=longest.ready_s,
        reached_s=longest.reached_s,
        ended_s=longest.ended_s,
        outcome=first.outcome,
        failed=True,
        recommended=False,
        baseline=any(row.baseline for row in rows),
        simulated=any(row.simulated for row in rows),
        caveats=(),
    )


def metric_title(screen: FirstScreen) -> str:
    """Return the metric of the columns in words: `TPS, warm samples (tok/s)`."""
    metric = METRICS[screen.metric]
    which = ", warm samples" if metric.of_samples and screen.condition == "warm" else ""
    return f"{metric.title}{which} ({wording.unit(metric.unit)})"

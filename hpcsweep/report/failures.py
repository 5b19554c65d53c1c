"""Failed runs, grouped by what they have in common."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hpcsweep.analysis.compared.variants import join_names
from hpcsweep.analysis.decision.recommend import planned_only
from hpcsweep.analysis.findings import Findings, RunFinding, Variant
from hpcsweep.report import run_points, wording
from hpcsweep.report.document import Block, Bullets, Cell, Code, Section, Table
from hpcsweep.report.wording import NOTHING
from hpcsweep.spec.phases import OutcomeKind

MAX_EVIDENCE_LINES = 6

_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class FailureGroup:
    """Runs with the same outcome, phase, cause and reason (apart from the numbers in it).

    `shared`: the levels that exactly these variants have, and no others.
    """

    runs: tuple[RunFinding, ...]
    variants: tuple[Variant, ...]
    shared: tuple[tuple[str, str], ...]

    @property
    def first(self) -> RunFinding:
        """The run that stands for the group."""
        return self.runs[0]

    @property
    def outcome(self) -> str:
        """What the runs ended as, such as `stalled in compile`."""
        return wording.outcome(self.first)


def has_failed(run: RunFinding) -> bool:
    """Whether the run was attempted and measured nothing."""
    return run.outcome is not None and not run.measured and bool(run.attempts)


def was_not_started(run: RunFinding) -> bool:
    """Whether the run has an outcome although no attempt was made: refused, not supported, or cancelled in time."""
    return run.outcome is not None and not run.planned_only and not run.attempts and not run.measured


def without_numbers(reason: str) -> str:
    """Return a reason in the form in which runs that failed in the same way share it."""
    return _DIGITS.sub("0", reason)


def failure_groups(findings: Findings, *, not_started: bool = False) -> list[FailureGroup]:
    """Group the failed runs, in the order of the experiment. `not_started`: include runs that were never attempted."""
    groups: dict[tuple[object, ...], list[RunFinding]] = {}
    for run in findings.runs:
        if has_failed(run) or (not_started and was_not_started(run)):
            key = (run.outcome, run.phase, run.cause, without_numbers(run.reason), run.hint)
            groups.setdefault(key, []).append(run)
    return [_group(findings, runs) for runs in groups.values()]


def _group(findings: Findings, runs: Sequence[RunFinding]) -> FailureGroup:
    ids = dict.fromkeys(run.variant for run in runs)
    variants = [findings.index[name] for name in ids if name in findings.index]
    shared = []
    for axis, levels in findings.sweep.axes.items():
        having = {variant.axes.get(axis) for variant in variants}
        if len(levels) > 1 and len(having) == 1:
            level = having.pop()
            same = [other.variant for other in findings.variants if other.axes.get(axis) == level]
            if level is not None and len(same) > 1 and set(same) == set(ids):
                shared.append((axis, level))
    return FailureGroup(tuple(runs), tuple(variants), tuple(shared))


def informative_line(run: RunFinding) -> str:
    """Return the log line that shows the failure; empty where the reason is all there is, as for a stall."""
    quiet = (OutcomeKind.STALLED, OutcomeKind.STARTUP_TIMEOUT, OutcomeKind.WALLTIME, OutcomeKind.CANCELLED)
    if not run.evidence or run.outcome in quiet or run.evidence[0] in run.reason:
        return ""
    return run.evidence[0]


def failures(findings: Findings) -> list[Section]:
    """Return the chapter: a part per group of failed runs, then what was not run."""
    parts = [_failure(findings, group) for group in failure_groups(findings)]
    idle = _not_run(findings)
    parts += [idle] if idle is not None else []
    return [Section("Failures", ()), *parts] if parts else []


def _failure(findings: Findings, group: FailureGroup) -> Section:
    run = group.first
    names = join_names([wording.short_name(findings, variant) for variant in group.variants]) or run.label
    lines = [f"Reason: {run.reason}"] if run.reason else []
    lines += [f"Cause: {run.cause.value}"] if run.cause else []
    lines += [f"Decided by: {run.decided_by}"] if run.decided_by else []
    lines += [f"Exit code: {run.exit_code}"] if run.exit_code is not None else []
    lines += [f"Next: {run.hint}"] if run.hint else []
    lines += [_fact(name, fact.value, fact.unit) for name, fact in run.facts.items() if fact.unit == "s"]
    blocks: list[Block] = [Bullets(tuple(lines))] if lines else []
    if run.evidence:
        blocks.append(Code("\n".join(evidence_lines(run.evidence))))
    columns = ("Run", "Attempt", "Host", "Exit code", "Reason")
    total = sum(not run.planned_only for run in findings.runs)
    point = run_points.failed(group.runs, group.shared, total)
    blocks.append(Table(columns, tuple(_run_row(failed) for failed in group.runs), point=point))
    return Section(f"{names}: {group.outcome}", tuple(blocks), 3)


def _run_row(run: RunFinding) -> tuple[Cell, ...]:
    exit_code = wording.plain_number(run.exit_code, NOTHING if run.exit_code is None else str(run.exit_code))
    attempt = wording.plain_number(run.counts, f"{run.counts} of {run.attempts}")
    return run.label, attempt, run.host or NOTHING, exit_code, run.reason or NOTHING


def evidence_lines(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the most informative line, which comes first, and the last ones."""
    return lines if len(lines) <= MAX_EVIDENCE_LINES else (lines[0], *lines[1 - MAX_EVIDENCE_LINES :])


def _fact(name: str, value: float | str | bool, unit: str) -> str:
    text = wording.number(value) if isinstance(value, (int, float)) else str(value)
    return f"{name}: {text} {unit}"


def _not_run(findings: Findings) -> Section | None:
    """Return the runs that did not start, with the reason."""
    waiting = [run for run in findings.runs if not run.planned_only and run.outcome is None]
    rows = [("; ".join(labels), "not run", reason) for reason, labels in planned_only(findings.runs).items()]
    rows += [(run.label, wording.outcome(run), run.reason or NOTHING) for run in findings.runs if was_not_started(run)]
    rows += [(run.label, run.state.value, run.reason or "has not ended") for run in waiting]
    if not rows:
        return None
    kinds = (
        (sum(run.planned_only for run in findings.runs), "documented as not run"),
        (sum(was_not_started(run) for run in findings.runs), "ended before a server was started"),
        (len(waiting), "not ended yet"),
    )
    point = ", ".join(f"{number} {what}" for number, what in kinds if number)
    return Section("Not run", (Table(("Run", "State", "Reason"), tuple(rows), point=point),), 3)

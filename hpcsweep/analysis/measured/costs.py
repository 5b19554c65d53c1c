"""GPU-hours: used, and for what; wasted, and by which outcome."""

from collections.abc import Sequence

from hpcsweep.analysis.findings.measured import Costs, Figure
from hpcsweep.analysis.rows import AttemptRow, RunRow
from hpcsweep.spec.phases import OutcomeKind, Phase

_HOUR_S = 3600.0


def build_costs(runs: Sequence[RunRow]) -> Costs:
    """GPU-hours over all attempts of all runs; an attempt whose end nobody recorded is not counted, and noted."""
    attempts = [(run, attempt) for run in runs for attempt in run.attempts]
    timed = [(run, attempt, attempt.duration_s) for run, attempt in attempts if attempt.duration_s is not None]
    simulated = any(run.simulated or attempt.simulated for run, attempt in attempts)
    wasted_by: dict[str, float] = {}
    used = startup = measured = wasted = 0.0
    for run, attempt, duration_s in timed:
        hours = run.gpus * duration_s / _HOUR_S
        used += hours
        if attempt.outcome is OutcomeKind.COMPLETED and attempt is run.last:
            startup += run.gpus * (attempt.startup_s or 0.0) / _HOUR_S
            measured += run.gpus * _measuring_s(attempt) / _HOUR_S
        else:
            word = "repeated after a completed attempt" if attempt.outcome is OutcomeKind.COMPLETED else _word(attempt)
            wasted_by[word] = wasted_by.get(word, 0.0) + hours
            wasted += hours
    open_ended = len(attempts) - len(timed)
    note = f"{open_ended} attempts without a recorded end are not counted" if open_ended else ""

    def figure(value: float, note: str = note) -> Figure:
        return Figure(value, "GPU-hours", len(timed), "attempts", simulated=simulated, note=note)

    waits = [run.queued_s for run in runs if run.queued_s is not None]
    return Costs(
        used=figure(used),
        startup=figure(startup),
        measured=figure(measured),
        other=figure(used - startup - measured - wasted, "between workloads, warm-ups and teardown"),
        wasted=figure(wasted),
        wasted_by=dict(sorted(wasted_by.items(), key=lambda item: -item[1])),
        queued_hours=Figure(sum(waits) / _HOUR_S, "hours", len(waits), "runs", note="waiting holds no GPU"),
    )


def _word(attempt: AttemptRow) -> str:
    if attempt.outcome is None:
        return "outcome not known"
    return f"{attempt.outcome.value} in {attempt.phase.value}" if attempt.phase is not None else attempt.outcome.value


def _measuring_s(attempt: AttemptRow) -> float:
    """Time in workloads: their durations, else the measure phase."""
    durations = sum(sum(workload.durations_s) for workload in attempt.workloads)
    if durations:
        return durations
    return sum(p.end_s - p.start_s for p in attempt.phases if p.phase is Phase.MEASURE and p.end_s is not None)

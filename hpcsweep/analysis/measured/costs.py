"""GPU-hours: used and wasted, by purpose and outcome."""

from collections.abc import Sequence

from hpcsweep.analysis.findings.measured import Costs, Figure
from hpcsweep.analysis.outcomes import outcome_text
from hpcsweep.analysis.rows import AttemptRow, PreparationRow, RunRow
from hpcsweep.spec.phases import OutcomeKind, Phase
from hpcsweep.units import counted, format_duration

_HOUR_S = 3600.0


def build_costs(runs: Sequence[RunRow], preparations: Sequence[PreparationRow] = ()) -> Costs:
    """Return the GPU-hours of all attempts of all runs, and of the preparations.

    Attempts without a recorded end are not counted, but noted.
    """
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
            completed = attempt.outcome is OutcomeKind.COMPLETED
            cause = "repeated after a completed attempt" if completed else outcome_text(attempt.outcome, attempt.phase)
            wasted_by[cause] = wasted_by.get(cause, 0.0) + hours
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
        preparations=_prepared(preparations),
        queued_hours=Figure(sum(waits) / _HOUR_S, "hours", len(waits), "runs", note="no GPU is used while waiting"),
    )


def _prepared(preparations: Sequence[PreparationRow]) -> Figure:
    """Return the GPU-hours of the preparations; the note has the duration and outcome of each."""
    timed = [(step, step.duration_s) for step in preparations if step.duration_s is not None]
    notes = [f"{step.name} {format_duration(took_s)} ({outcome_text(step.outcome, None)})" for step, took_s in timed]
    if len(timed) < len(preparations):
        notes.append(f"{counted(len(preparations) - len(timed), 'job')} without a recorded end not counted")
    hours = sum(step.gpus * duration_s / _HOUR_S for step, duration_s in timed)
    return Figure(hours, "GPU-hours", len(timed), "jobs", note=", ".join(notes))


def _measuring_s(attempt: AttemptRow) -> float:
    """Return the time spent in workloads: their durations, else the measure phase."""
    durations = sum(sum(workload.durations_s) for workload in attempt.workloads)
    if durations:
        return durations
    return sum(p.end_s - p.start_s for p in attempt.phases if p.phase is Phase.MEASURE and p.end_s is not None)

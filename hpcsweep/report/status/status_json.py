"""`status --json`: the status of the runs, for scripts. The keys are documented in docs/json.md and stable."""

from collections.abc import Iterable
from typing import Any

from hpcsweep.spec.phases import RunState
from hpcsweep.track.preparations import PreparationStatus
from hpcsweep.track.runs import RunStatus, SweepStatus


def status_json(sweeps: Iterable[SweepStatus], now: float) -> dict[str, Any]:
    """Return the status of sweeps as JSON values. `now`: Unix seconds, for the elapsed time of running phases."""
    return {"sweeps": [_sweep(sweep, now) for sweep in sweeps]}


def run_status_json(run: RunStatus, now: float) -> dict[str, Any]:
    """Return the status of one run."""
    progress, verdict = run.progress, run.verdict
    return {
        "run": run.run,
        "axes": dict(run.axes),
        "repeat": run.repeat,
        "attempt": run.attempt,
        "job": run.job,
        "node": run.node,
        "state": verdict.state.value,
        "phase": progress.phase,
        "outcome": verdict.outcome.value if verdict.outcome else None,
        "simulated": run.simulated,
        "samples_done": progress.samples_done,
        "samples_total": progress.samples_total,
        "samples_failed": progress.samples_failed,
        "output_tps": progress.output_tps,
        "phase_elapsed_s": phase_elapsed_s(run, now),
        "phase_budget_s": progress.phase_budget_s,
        "startup_s": progress.startup_s,
        "duration_s": progress.duration_s,
        "queued_s": run.queued_s,
        "gpus": run.gpus,
        "reason": verdict.reason,
        "cause": progress.cause,
        "hint": verdict.hint,
        "source": verdict.source,
        "settled_by": verdict.source,
    }


def phase_elapsed_s(run: RunStatus, now: float) -> float | None:
    """Return the attempt seconds in the current phase; None without a phase or after the end of the attempt."""
    progress = run.progress
    if run.verdict.state is not RunState.RUNNING or progress.phase_start_s is None or progress.last_t_s is None:
        return None
    since_s = max(0.0, now - (progress.last_at or now)) * progress.time_scale
    return max(0.0, progress.last_t_s + since_s - progress.phase_start_s)


def _preparation(step: PreparationStatus) -> dict[str, Any]:
    verdict = step.verdict
    return {
        "name": step.name,
        "job": step.job,
        "node": step.node,
        "state": verdict.state.value,
        "outcome": verdict.outcome.value if verdict.outcome else None,
        "reason": verdict.reason,
        "hint": verdict.hint,
        "evidence": list(step.evidence),
        "started_at": step.started_at,
        "ended_at": step.ended_at,
        "walltime_s": step.walltime_s,
        "gpus": step.gpus,
        "source": verdict.source,
    }


def _sweep(sweep: SweepStatus, now: float) -> dict[str, Any]:
    return {
        "name": sweep.name,
        "experiment": sweep.experiment,
        "title": sweep.title,
        "cluster": sweep.cluster,
        "scheduler": sweep.scheduler,
        "submitted_at": sweep.submitted_at,
        "simulated": sweep.simulated,
        "sweep_dir": sweep.sweep_dir,
        "preparations": [_preparation(step) for step in sweep.current_preparations],
        "runs": [run_status_json(run, now) for run in sweep.runs],
        "not_run": [
            {"title": run.run, "axes": dict(run.axes), "reason": run.verdict.reason} for run in sweep.documented
        ],
    }

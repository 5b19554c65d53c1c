"""The public records of a sweep and its runs: plain values under stable names."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.track.preparations import PreparationStatus
from hpcsweep.track.runs import RunStatus, SweepStatus


@dataclass(frozen=True)
class RunInfo:
    """One run: what it measures and its latest state.

    `state`: planned, queued, held, running, unknown or finished. `outcome`: such as completed, stalled or
    out_of_memory; None: the run has not finished. `reason`, `hint`: why it ended this way and what to do.
    `startup_s`: seconds from the start of the server until it was ready; None: it was never ready.
    """

    name: str
    axes: Mapping[str, str]
    repeat: int
    state: str
    outcome: str | None
    phase: str | None
    reason: str
    hint: str
    attempt: int | None
    job_id: str | None
    node: str | None
    simulated: bool
    startup_s: float | None
    samples_done: int
    samples_failed: int
    samples_total: int


@dataclass(frozen=True)
class PreparationInfo:
    """A preparation of a sweep, by its latest job. Fields as in `RunInfo`; `started_at`, `ended_at`: Unix seconds.

    `evidence`: what existed already, or the last lines of its commands.
    """

    name: str
    state: str
    outcome: str | None
    reason: str
    hint: str
    job_id: str | None
    node: str | None
    started_at: float | None
    ended_at: float | None
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class SweepInfo:
    """One sweep and its runs, in the order of the plan.

    `submitted_at`: Unix seconds. `warnings`: what kept the status from being current, such as a scheduler that timed
    out.
    """

    name: str
    experiment: str
    cluster: str
    path: Path
    submitted_at: float
    simulated: bool
    runs: tuple[RunInfo, ...]
    warnings: tuple[str, ...] = ()
    preparations: tuple[PreparationInfo, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether every run has ended."""
        return all(run.state == "finished" for run in self.runs)

    @property
    def outcomes(self) -> Mapping[str, int]:
        """Number of runs per outcome; of runs without one per state."""
        return dict(Counter(run.outcome or run.state for run in self.runs))


def sweep_info(sweep: SweepStatus, warnings: tuple[str, ...] = ()) -> SweepInfo:
    """Return the public record of a sweep's status."""
    return SweepInfo(
        name=sweep.name,
        experiment=sweep.experiment,
        cluster=sweep.cluster,
        path=Path(sweep.sweep_dir),
        submitted_at=sweep.submitted_at,
        simulated=sweep.simulated,
        runs=tuple(_run_info(run) for run in sweep.runs),
        warnings=warnings,
        preparations=tuple(_preparation_info(step) for step in sweep.current_preparations),
    )


def _preparation_info(step: PreparationStatus) -> PreparationInfo:
    verdict = step.verdict
    return PreparationInfo(
        name=step.name,
        state=verdict.state.value,
        outcome=verdict.outcome.value if verdict.outcome else None,
        reason=verdict.reason,
        hint=verdict.hint,
        job_id=step.job,
        node=step.node,
        started_at=step.started_at,
        ended_at=step.ended_at,
        evidence=step.evidence,
    )


def _run_info(run: RunStatus) -> RunInfo:
    verdict, progress = run.verdict, run.progress
    return RunInfo(
        name=run.run,
        axes=dict(run.axes),
        repeat=run.repeat,
        state=verdict.state.value,
        outcome=verdict.outcome.value if verdict.outcome else None,
        phase=progress.phase,
        reason=verdict.reason,
        hint=verdict.hint,
        attempt=run.attempt,
        job_id=run.job,
        node=run.node,
        simulated=run.simulated,
        startup_s=progress.startup_s,
        samples_done=progress.samples_done,
        samples_failed=progress.samples_failed,
        samples_total=progress.samples_total,
    )

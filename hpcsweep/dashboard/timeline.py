"""The startup of a server as a bar of phases that grows while it runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpcsweep.report.status.status_json import phase_elapsed_s
from hpcsweep.spec.phases import STARTUP_PHASES, OutcomeKind
from hpcsweep.track.live_rows import PhaseStart
from hpcsweep.track.runs import RunStatus
from hpcsweep.units import format_duration

_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0)


@dataclass(frozen=True)
class Segment:
    """A startup phase: its start and duration in seconds since the launch. `failed`: the attempt ended in it."""

    phase: str
    start_s: float
    took_s: float
    failed: bool = False

    @property
    def title(self) -> str:
        """The phase and how long it took."""
        return f"{self.phase} {format_duration(self.took_s)}{', ended here' if self.failed else ''}"


def segments(run: RunStatus, phases: Sequence[PhaseStart], now: float) -> tuple[Segment, ...]:
    """Return the startup phases of a run's latest attempt; the current one ends at Unix time `now`."""
    if not phases:
        return ()
    begin_s = phases[0].start_s
    elapsed_s = phase_elapsed_s(run, now)
    last = phases[-1]
    if elapsed_s is not None:
        end_s = last.start_s + elapsed_s
    else:
        end_s = max(last.start_s, run.progress.duration_s or run.progress.last_t_s or 0.0)
    ends = [phase.start_s for phase in phases[1:]] + [end_s]
    outcome = run.verdict.outcome
    bad = run.progress.phase if outcome not in (None, OutcomeKind.COMPLETED) else None
    return tuple(
        Segment(phase.phase, phase.start_s - begin_s, max(0.0, end - phase.start_s), phase.phase == bad)
        for phase, end in zip(phases, ends, strict=True)
        if phase.phase in STARTUP_PHASES
    )


def span_s(bars: Sequence[Sequence[Segment]]) -> float:
    """Return a round number of seconds that has room for every bar, the same scale for all of them."""
    longest_s = max((bar[-1].start_s + bar[-1].took_s for bar in bars if bar), default=0.0)
    unit_s = 60.0 if longest_s > 60 else 10.0 if longest_s > 10 else 1.0
    while True:
        for step in _STEPS:
            if step * unit_s >= longest_s:
                return step * unit_s
        unit_s *= 10

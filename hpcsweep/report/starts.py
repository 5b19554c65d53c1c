"""The starts of a variant's servers as one: the mean of those that became ready, else the first that failed."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpcsweep.analysis.findings.measured import StartupFinding
from hpcsweep.spec.phases import STARTUP_PHASES, Phase


@dataclass(frozen=True)
class StartPhase:
    """A phase of a start. `mean_s`: its mean length; `ended` False: the start failed in it."""

    phase: Phase
    mean_s: float
    ended: bool


@dataclass(frozen=True)
class Start:
    """The starts of one variant. `starts`: how many.

    `ready_s`: mean time from launch to the first token of the starts that became ready; None: none did, and then
    `reached_s` is the begin and `ended_s` the end of the phase in which the first failed start ended, where known.
    """

    starts: int
    ready_s: float | None
    reached_s: float | None
    ended_s: float | None
    phases: tuple[StartPhase, ...]

    @property
    def took_s(self) -> float | None:
        """Seconds to the first token, or to the end of the failed start; None: not known."""
        return self.ended_s if self.ready_s is None else self.ready_s


NOT_STARTED = Start(0, None, None, None, ())


def starts_by_variant(startups: Sequence[StartupFinding]) -> dict[str, Start]:
    """Return the starts of each variant that was started."""
    grouped: dict[str, list[StartupFinding]] = {}
    for startup in startups:
        grouped.setdefault(startup.variant, []).append(startup)
    return {variant: mean_start(own) for variant, own in grouped.items()}


def mean_start(startups: Sequence[StartupFinding]) -> Start:
    """Return the starts of one variant as one."""
    ready = [start for start in startups if start.startup_s is not None]
    if ready:
        times = [start.startup_s for start in ready if start.startup_s is not None]
        return Start(len(ready), sum(times) / len(times), None, None, _mean_phases(ready))
    cut = next((start for start in startups if start.ended_in is not None and start.phases), None)
    if cut is None:
        return Start(len(startups), None, None, None, ())
    begin_s = cut.phases[0].start_s
    reached_s = next((phase.start_s - begin_s for phase in cut.phases if phase.phase is cut.ended_in), None)
    ended_s = max(phase.start_s + (phase.duration_s or 0.0) for phase in cut.phases) - begin_s
    return Start(len(startups), None, reached_s, ended_s, _mean_phases([cut]))


def _mean_phases(startups: Sequence[StartupFinding]) -> tuple[StartPhase, ...]:
    """Return the mean length of each phase over the starts; a phase that a start does not have counts as zero."""
    totals: dict[Phase, float] = {}
    cut: set[Phase] = set()
    for start in startups:
        for phase in start.phases:
            if phase.phase.value in STARTUP_PHASES:
                totals[phase.phase] = totals.get(phase.phase, 0.0) + (phase.duration_s or 0.0)
                cut |= set() if phase.ended else {phase.phase}
    return tuple(StartPhase(phase, total / len(startups), phase not in cut) for phase, total in totals.items())

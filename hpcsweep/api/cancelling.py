"""Cancel runs: the steps that `hpcsweep cancel` and the dashboard share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hpcsweep.errors import SpecError
from hpcsweep.submit.client import cancel, neighbours
from hpcsweep.submit.sweep_lock import changing
from hpcsweep.sweep.layout import SweepFolder
from hpcsweep.track.refresh import Session
from hpcsweep.track.runs import read_runs
from hpcsweep.track.status import ended_tasks
from hpcsweep.units import counted

Chosen = Sequence[tuple[SweepFolder, set[str] | None]]
"""Sweeps, each with the labels of its runs; None: the whole sweep."""


@dataclass(frozen=True)
class Cancelled:
    """The runs of a sweep that were cancelled. `stopped`: how many of them had not ended."""

    sweep: str
    runs: tuple[str, ...]
    stopped: int

    def sentence(self) -> str:
        """Return the result in words."""
        ended_before = len(self.runs) - self.stopped
        ended = f" ({ended_before} had already ended)" if ended_before else ""
        return f"{self.sweep}: cancelled {counted(self.stopped, 'run')}{ended}"


def cancel_chosen(
    opened: Session,
    chosen: Chosen,
    *,
    shared_too: bool,
    on_note: Callable[[str], None],
    on_warning: Callable[[str], None],
) -> list[Cancelled]:
    """Cancel these runs, with one call to the scheduler per submission.

    `shared_too`: also cancel the other runs in the allocations of the chosen ones; otherwise SpecError
    (`allocation_shared`) is raised for them. Raises HpcsweepError.
    """
    names = [sweep.name for sweep, _ in chosen]
    with changing([sweep for sweep, _ in chosen], "cancel", on_note):
        for warning in opened.refresh(names, ended_too=True):  # also finds jobs of lost submissions
            on_warning(warning)
        active = _active(opened, names)
        done = []
        for sweep, labels in chosen:
            shared = neighbours(sweep, labels) if labels is not None else []
            if shared and not shared_too:
                raise SpecError(
                    f"{', '.join(sorted(labels or ()))} shares an allocation with {', '.join(shared)}.",
                    code="allocation_shared",
                )
            with opened.store.reading() as connection:
                ended = ended_tasks(connection, sweep.name)
            runs = cancel(sweep, opened.cluster(sweep), opened.backend(sweep), labels, ended)
            done.append(Cancelled(sweep.name, tuple(runs), len(active[sweep.name].intersection(runs))))
        opened.refresh(names)
    return done


def _active(opened: Session, sweeps: Sequence[str]) -> dict[str, set[str]]:
    """Return the labels of the runs that have not ended, by sweep."""
    with opened.store.reading() as connection:
        states = read_runs(connection, sweeps)
    return {sweep.name: {run.run for run in sweep.runs if not run.verdict.state.final} for sweep in states}

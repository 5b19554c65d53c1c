"""Show sweeps until their runs have ended (`--watch`, `--wait`): a live table on a terminal, else a line per change."""

import sys
from collections.abc import Sequence

from rich.console import Group
from rich.live import Live

from hpcsweep.api.tracking import follow
from hpcsweep.cli.output import note, say, warn
from hpcsweep.report.console import make_console
from hpcsweep.report.status.live import preparation_line, run_line, status_table
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.track.refresh import Session
from hpcsweep.track.runs import SweepStatus

NONE_COMPLETED = 3
INTERRUPTED = 130
_FRAME_ROWS = 7  # title, header, lines and count of a table


def watch(opened: Session, names: Sequence[str]) -> int:
    """Show these sweeps until their runs have ended and return 0; 130 after Ctrl-C. The sweeps continue either way."""
    try:
        show_until_ended(opened, names)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def wait_for(opened: Session, sweep: str) -> int:
    """Show a sweep until its runs have ended and return an exit code.

    0: at least one run completed; 3: none did; 130: interrupted, and the sweep continues. Runs that were never
    submitted, or that remain unknown, are listed.
    """
    try:
        (last,) = show_until_ended(opened, [sweep])
    except KeyboardInterrupt:
        say(f"\n{sweep} continues. `hpcsweep status {sweep}` shows it; `hpcsweep cancel {sweep}` cancels it.")
        return INTERRUPTED
    outcomes = [run.verdict.outcome for run in last.runs]
    completed = outcomes.count(OutcomeKind.COMPLETED)
    unknown = sorted(run.run for run in last.runs if run.verdict.state is RunState.UNKNOWN)
    planned = sorted(run.run for run in last.runs if run.verdict.state is RunState.PLANNED)
    ended = len(outcomes) - len(unknown) - len(planned)
    if planned:
        note(f"Not submitted: {', '.join(planned)}. `hpcsweep retry {sweep}` submits these runs.")
    if unknown:
        note(f"State unknown: {', '.join(unknown)}. `hpcsweep retry {sweep} RUN` submits a run again.")
    if unknown or planned:
        say(f"{sweep}: {ended} of {len(outcomes)} runs have ended, {completed} completed")
    else:
        all_ended = f"all {len(outcomes)} runs have ended" if len(outcomes) > 1 else "its run has ended"
        say(f"{sweep}: {all_ended}, {completed} completed")
    return 0 if completed else NONE_COMPLETED


def show_until_ended(opened: Session, names: Sequence[str]) -> list[SweepStatus]:
    """Show these sweeps until their runs have ended; return their last states."""
    console = make_console(sys.stdout)
    last: list[SweepStatus] = []
    if console.is_terminal:
        with Live(console=console, refresh_per_second=2, transient=False) as live:
            for last in follow(opened, names, warn):
                shown = [sweep for sweep in last if sweep is last[-1] or not _ended(sweep)]
                rows = max(3, console.height // len(shown) - _FRAME_ROWS)
                live.update(Group(*(status_table(sweep, rows=rows) for sweep in shown)))
        return last
    printed: dict[tuple[str, str], str] = {}
    for last in follow(opened, names, warn):
        for sweep in last:
            lines = {f"preparation {step.name}": preparation_line(step) for step in sweep.current_preparations}
            lines |= {run.run: run_line(run) for run in sweep.runs}
            for key, text in lines.items():
                line = text if len(names) == 1 else f"{sweep.name}  {text}"
                if printed.get((sweep.name, key)) != line:
                    printed[sweep.name, key] = line
                    say(line)
    return last


def _ended(sweep: SweepStatus) -> bool:
    return all(run.verdict.state.final for run in sweep.runs)

"""Sweeps shown again and again: a live table on a terminal, a line per change elsewhere."""

import sys
import time
from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.live import Live

from hpcsweep.cli.output import say
from hpcsweep.report.console import make_console
from hpcsweep.report.status.live import run_line, status_table
from hpcsweep.schedulers.listings import ABSENCE_GRACE_S
from hpcsweep.spec.phases import RunState
from hpcsweep.store.ingest.sweeps import ingest_home
from hpcsweep.track.refresh import Session
from hpcsweep.track.runs import SweepStatus, read_runs

_POLL_S = 1.0
_FRAME_ROWS = 7  # title, head, lines and count of a table
_ASK_LOCAL_S = 1.0
_ASK_S = 15.0  # squeue and qstat every second would load a scheduler that all users share
_UNKNOWN_PATIENCE_S = ABSENCE_GRACE_S + 60.0  # what is unknown may come back, but is not waited for for ever
_NOT_COMING_BACK = (RunState.FINISHED, RunState.UNKNOWN, RunState.PLANNED)
INTERRUPTED = 130


def watch(opened: Session, names: Sequence[str]) -> int:
    """Show these sweeps until their runs have ended: 0; or until Ctrl-C: 130. They go on in either case."""
    try:
        follow(opened, names)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def follow(opened: Session, names: Sequence[str]) -> list[SweepStatus]:
    """Show these sweeps until their runs have ended; where they stand then."""
    console = make_console(sys.stdout)
    last: list[SweepStatus] = []
    if console.is_terminal:
        with Live(console=console, refresh_per_second=2, transient=False) as live:
            for last in _until_ended(opened, names):
                shown = [sweep for sweep in last if sweep is last[-1] or not _ended(sweep)]
                rows = max(3, console.height // len(shown) - _FRAME_ROWS)
                live.update(Group(*(status_table(sweep, rows=rows) for sweep in shown)))
        return last
    seen: dict[tuple[str, str], str] = {}
    for last in _until_ended(opened, names):
        for sweep in last:
            for run in sweep.runs:
                line = run_line(run) if len(names) == 1 else f"{sweep.name}  {run_line(run)}"
                if seen.get((sweep.name, run.run)) != line:
                    seen[sweep.name, run.run] = line
                    say(line)
    return last


def _until_ended(opened: Session, names: Sequence[str]) -> Iterator[list[SweepStatus]]:
    """Where the sweeps stand, again and again; run folders are looked at every time, schedulers not so often.

    The last one is where all runs have ended, or where of the rest nobody has known anything for a minute.
    """
    told: set[str] = set()
    asked = float("-inf")
    pause_s = _ASK_LOCAL_S
    moved = time.monotonic()
    while True:
        if time.monotonic() - asked >= pause_s:
            troubles = opened.refresh(names)
            asked = time.monotonic()
        else:
            troubles = ingest_home(opened.store, opened.home.path, names).troubles
        for trouble in troubles:
            if trouble not in told:
                told.add(trouble)
                say(f"warning: {trouble}", err=True)
        with opened.store.reading() as connection:
            sweeps = read_runs(connection, names)
        pause_s = _ASK_LOCAL_S if all(sweep.scheduler == "local" for sweep in sweeps) else _ASK_S
        yield sweeps
        if all(map(_ended, sweeps)):
            return
        if not all(run.verdict.state in _NOT_COMING_BACK for sweep in sweeps for run in sweep.runs):
            moved = time.monotonic()
        elif time.monotonic() - moved > _UNKNOWN_PATIENCE_S:
            return
        time.sleep(_POLL_S)


def _ended(sweep: SweepStatus) -> bool:
    return all(run.verdict.state.final for run in sweep.runs)

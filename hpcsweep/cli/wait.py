"""`--wait`: a live table on a terminal, a line per change elsewhere, until every run has ended."""

import sys
import time
from collections.abc import Iterator

import click
from rich.live import Live

from hpcsweep.cli.context import Session
from hpcsweep.report.console import make_console
from hpcsweep.report.live import run_line, status_table
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.store.runs import SweepStatus, read_runs

POLL_S = 1.0
INTERRUPTED = 130
NONE_COMPLETED = 3


def wait_for(opened: Session, sweep: str) -> int:
    """Exit code once every run has ended: 0; 3 when none completed; 130 when interrupted: the sweep goes on."""
    try:
        last = _show(opened, sweep)
    except KeyboardInterrupt:
        click.echo(
            f"\nStopped watching; {sweep} goes on. `hpcsweep status {sweep}` shows it, `hpcsweep cancel` ends it."
        )
        return INTERRUPTED
    outcomes = [run.verdict.outcome for run in last.runs]
    done = outcomes.count(OutcomeKind.COMPLETED)
    click.echo(f"{sweep}: all {len(outcomes)} runs have ended, {done} completed")
    return 0 if done else NONE_COMPLETED


def _show(opened: Session, sweep: str) -> SweepStatus:
    console = make_console(sys.stdout)
    if not console.is_terminal:
        seen: dict[str, str] = {}
        for status in _until_ended(opened, sweep):
            for run in status.runs:
                line = run_line(run)
                if seen.get(run.run) != line:
                    seen[run.run] = line
                    click.echo(line)
            last = status
        return last
    with Live(console=console, refresh_per_second=2, transient=False) as live:
        for status in _until_ended(opened, sweep):
            live.update(status_table(status))
            last = status
    return last


def _until_ended(opened: Session, sweep: str) -> Iterator[SweepStatus]:
    """Where the sweep stands, again and again; the last one is where all runs have ended."""
    while True:
        for trouble in opened.refresh([sweep]):
            click.echo(trouble, err=True)
        with opened.store.reading() as connection:
            (status,) = read_runs(connection, [sweep])
        yield status
        if all(run.verdict.state.final for run in status.runs):
            return
        time.sleep(POLL_S)

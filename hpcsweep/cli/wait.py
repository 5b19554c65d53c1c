"""`--wait`: a live table on a terminal, a line per change elsewhere, until every run has ended."""

import click

from hpcsweep.cli.context import Session
from hpcsweep.cli.watch import INTERRUPTED, follow
from hpcsweep.spec.phases import OutcomeKind

NONE_COMPLETED = 3


def wait_for(opened: Session, sweep: str) -> int:
    """Exit code once every run has ended: 0; 3 when none completed; 130 when interrupted: the sweep goes on."""
    try:
        (last,) = follow(opened, [sweep])
    except KeyboardInterrupt:
        click.echo(
            f"\nStopped watching; {sweep} goes on. `hpcsweep status {sweep}` shows it, `hpcsweep cancel` ends it."
        )
        return INTERRUPTED
    outcomes = [run.verdict.outcome for run in last.runs]
    done = outcomes.count(OutcomeKind.COMPLETED)
    click.echo(f"{sweep}: all {len(outcomes)} runs have ended, {done} completed")
    return 0 if done else NONE_COMPLETED

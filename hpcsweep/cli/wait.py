"""`--wait`: a live table on a terminal, a line per change elsewhere, until every run has ended."""

from hpcsweep.cli.output import say
from hpcsweep.cli.watch import INTERRUPTED, follow
from hpcsweep.spec.phases import OutcomeKind, RunState
from hpcsweep.track.refresh import Session

NONE_COMPLETED = 3


def wait_for(opened: Session, sweep: str) -> int:
    """Exit code once every run has ended: 0; 3 when none completed; 130 when interrupted: the sweep goes on.

    Runs of which nobody knows anything are not waited for for ever: they are named.
    """
    try:
        (last,) = follow(opened, [sweep])
    except KeyboardInterrupt:
        say(f"\nStopped watching; {sweep} goes on. `hpcsweep status {sweep}` shows it, `hpcsweep cancel` ends it.")
        return INTERRUPTED
    outcomes = [run.verdict.outcome for run in last.runs]
    done = outcomes.count(OutcomeKind.COMPLETED)
    unknown = sorted(run.run for run in last.runs if run.verdict.state is RunState.UNKNOWN)
    planned = sorted(run.run for run in last.runs if run.verdict.state is RunState.PLANNED)
    if unknown or planned:
        ended = len(outcomes) - len(unknown) - len(planned)
        say(f"{sweep}: {ended} of {len(outcomes)} runs have ended, {done} completed")
    if planned:
        say(f"Never submitted: {', '.join(planned)}; `hpcsweep retry {sweep}` does it.", err=True)
    if unknown:
        say(
            f"Nobody knows what became of {', '.join(unknown)}; `hpcsweep retry {sweep} RUN` submits one again.",
            err=True,
        )
    if not unknown and not planned:
        all_ended = f"all {len(outcomes)} runs have ended" if len(outcomes) > 1 else "its run has ended"
        say(f"{sweep}: {all_ended}, {done} completed")
    return 0 if done else NONE_COMPLETED

"""What a signal to the agent means: the walltime is near, somebody cancels, or the job is preempted."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from hpcsweep.spec.phases import OutcomeKind

CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True)
class Stop:
    """Why everything is stopped, and whose word it was."""

    kind: OutcomeKind
    reason: str
    decided_by: str


def meaning(signum: int, *, walltime_near: bool, cancel_asked: bool, job_state: str = "") -> Stop:
    """What `signum` means.

    Slurm sends SIGUSR1 (`--signal=B:USR1@...`) before the time limit, and the same one at a preemption where the site
    has set `send_user_signal`; SIGTERM comes with the time limit, `scancel`, `qdel` and a preemption alike. So
    `walltime_near` (our own clock), `cancel_asked` (hpcsweep's own cancel leaves a marker) and `job_state` (the
    scheduler's word, "" if it was not asked) tell them apart. A SIGTERM that nothing explains is a cancel.
    """
    name = signal.Signals(signum).name
    if cancel_asked:
        return Stop(OutcomeKind.CANCELLED, "hpcsweep was asked to cancel it", f"{name}, hpcsweep cancel")
    if walltime_near and signum != signal.SIGINT:
        return Stop(OutcomeKind.WALLTIME, "the job's walltime is nearly over", f"{name}, walltime near")
    state = job_state.upper()
    if "PREEMPT" in state or "REQUEUE" in state or state == "PENDING":
        return Stop(OutcomeKind.PREEMPTED, f"the scheduler takes the node back ({state})", name)
    if signum in (signal.SIGUSR1, signal.SIGUSR2) and "CANCEL" not in state:
        return Stop(OutcomeKind.PREEMPTED, "the scheduler warned, long before the walltime", name)
    reason = "interrupted at the terminal" if signum == signal.SIGINT else "the job was cancelled"
    return Stop(OutcomeKind.CANCELLED, reason, name)


def catch(handle: Callable[[int], None]) -> None:
    """Call `handle` with the number of each signal of `CAUGHT`. It must be quick and take no lock."""

    def received(signum: int, frame: FrameType | None) -> None:
        handle(signum)

    for one in CAUGHT:
        signal.signal(one, received)

"""Interpret a signal to the agent: the walltime is nearly over, the job was cancelled, or it is being preempted."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from hpcsweep.spec.phases import OutcomeKind

CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True)
class Stop:
    """Why the agent stops everything, and the source of the decision. `code` empty: the name of the outcome."""

    kind: OutcomeKind
    reason: str
    decided_by: str
    code: str = ""

    def __post_init__(self) -> None:
        if not self.code:
            object.__setattr__(self, "code", self.kind.value)


def meaning(signum: int, *, walltime_near: bool, cancel_asked: bool, job_state: str = "") -> Stop:
    """Return the meaning of `signum`.

    Slurm sends SIGUSR1 (`--signal=B:USR1@...`) before the time limit, and also at a preemption where the site has set
    `send_user_signal`. SIGTERM is sent at the time limit, by `scancel` and `qdel`, and at a preemption. They are
    distinguished by `walltime_near` (the agent's own clock), `cancel_asked` (`hpcsweep cancel` creates a marker file)
    and `job_state` (reported by the scheduler; empty: not asked). A SIGTERM without an explanation is a cancel.
    """
    name = signal.Signals(signum).name
    if cancel_asked:
        return Stop(
            OutcomeKind.CANCELLED, "cancelled by `hpcsweep cancel`", f"{name}, hpcsweep cancel", "cancelled_by_us"
        )
    if walltime_near and signum != signal.SIGINT:
        return Stop(
            OutcomeKind.WALLTIME, "the job's walltime is nearly over", f"{name}, walltime near", "walltime_near"
        )
    state = job_state.upper()
    if "PREEMPT" in state or "REQUEUE" in state or state == "PENDING":
        return Stop(OutcomeKind.PREEMPTED, f"the scheduler preempted the job (state {state})", name, "preempted")
    if signum in (signal.SIGUSR1, signal.SIGUSR2) and "CANCEL" not in state:
        return Stop(OutcomeKind.PREEMPTED, f"{name} long before the end of the walltime", name, "early_warning")
    if signum == signal.SIGINT:
        return Stop(OutcomeKind.CANCELLED, "interrupted at the terminal", name, "interrupted")
    return Stop(OutcomeKind.CANCELLED, "the job was cancelled", name, "cancelled")


def catch(handle: Callable[[int], None]) -> None:
    """Call `handle` with the number of each signal of `CAUGHT`. It must return quickly and not take a lock."""

    def received(signum: int, frame: FrameType | None) -> None:
        handle(signum)

    for signum in CAUGHT:
        signal.signal(signum, received)

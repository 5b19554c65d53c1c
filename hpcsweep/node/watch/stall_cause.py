"""Why a server makes no progress: which rank is the odd one out, in one sentence. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpcsweep.node.process.roles import ProcessKind, ProcessRole
from hpcsweep.node.watch.counters import STOPPED_STATES
from hpcsweep.node.watch.stacks import StackActivity
from hpcsweep.spec.phases import StallCause
from hpcsweep.units import format_duration

QUIET_CORES = 0.05
"""Below, a process only handles our own health checks."""
_BUSY_SHARE = 0.5  # of the busiest process: on a machine with too few cores a loop gets less than a whole one
_STATES = {
    "T": "T (stopped)", "t": "t (traced)", "D": "D (waiting for a device or a file system)", "S": "S (sleeping)",
    "R": "R (running)",
}  # fmt: skip
_DEVICE_STATE = "D"


@dataclass(frozen=True)
class RankUse:
    """One process of the server since the last progress.

    `cores`: used on average. `ready`: it ran most of the time, or would have if it had got a core. `quiet_s`: attempt
    seconds since it last used CPU time worth speaking of. `doing`, `place`: by two samples of its stack; None and
    empty where none were taken.
    """

    pid: int
    role: ProcessRole
    state: str
    cores: float
    quiet_s: float
    doing: StackActivity | None = None
    place: str = ""
    ready: bool = False

    @property
    def name(self) -> str:
        """The name of the rank, as in `TP1`; of another process: its role."""
        return self.role.name or self.role.kind.value

    @property
    def busy(self) -> bool:
        """It used CPU time, or would have."""
        return self.cores >= QUIET_CORES or self.ready


@dataclass(frozen=True)
class StallFinding:
    """The cause of a stall. `odd`: the ranks that hold the others up; empty: none was found, or all are alike."""

    cause: StallCause
    sentence: str
    odd: tuple[RankUse, ...] = ()


def find_cause(processes: Sequence[RankUse], *, serving: bool, active: bool, node: str) -> StallFinding:
    """Return the cause of a stall.

    `serving`: requests are in flight. `active`: CPU time or GPU utilization was seen without progress.
    """
    parts = [
        use for use in processes if use.role.kind in (ProcessKind.RANK, ProcessKind.ENGINE_CORE, ProcessKind.FRONT_END)
    ]
    odd, others = _odd_ones(parts)
    if odd:
        return StallFinding(StallCause.RANK_STUCK, _told(odd, others, node), tuple(odd))
    if active:
        busy = _busy(processes)
        listed = ", ".join(f"{use.role} (pid {use.pid}, {use.cores:.1f} cores{_at(use)})" for use in busy[:8])
        reason = f"CPU or GPU are busy, but nothing gets done: {listed or 'no process uses CPU'}"
        return StallFinding(StallCause.BUSY_WAIT, reason)
    if serving:
        return StallFinding(
            StallCause.REQUESTS_STUCK, "requests are in flight, and every process of the server is idle"
        )
    return StallFinding(StallCause.IDLE, "every process of the server is idle")


def _odd_ones(parts: Sequence[RankUse]) -> tuple[list[RankUse], list[RankUse]]:
    """The ranks that differ from the others, and those others; none where it cannot be said."""
    stopped = [use for use in parts if use.state in STOPPED_STATES or use.state == _DEVICE_STATE]
    if stopped:
        return stopped, [use for use in parts if use not in stopped]
    ranks = [use for use in parts if use.role.kind is ProcessKind.RANK]
    busy = _busy(ranks)
    quiet = [use for use in ranks if not use.busy]
    working = [use for use in ranks if use.doing in (StackActivity.LOOPING, StackActivity.CHANGING)]
    if len(ranks) > 1 and working and len(working) < len(ranks):
        # Its stack is not in a waiting function, while the others wait: whatever it does, they wait for it.
        waiting = [use for use in ranks if use.doing in (StackActivity.WAITING, StackActivity.BLOCKED)]
        if len(working) + len(waiting) == len(ranks) and len(working) <= len(waiting):
            return working, waiting
    if quiet and busy and len(quiet) + len(busy) == len(ranks):
        looped = all(use.doing is StackActivity.WAITING for use in busy)
        if len(quiet) < len(busy) or (len(quiet) == len(busy) and looped):
            return quiet, busy
    return [], []


def _busy(uses: Sequence[RankUse]) -> list[RankUse]:
    """Those that use CPU time, and not much less than the busiest of them; and those that wait for a core."""
    most = max((use.cores for use in uses), default=0.0)
    return [use for use in uses if use.ready or use.cores >= max(QUIET_CORES, _BUSY_SHARE * most)]


def _told(odd: Sequence[RankUse], others: Sequence[RankUse], node: str) -> str:
    shown = "; ".join(_one(use, node) for use in odd[:4])
    if len(odd) > 4:
        shown += f"; and {len(odd) - 4} more"
    waiting = [use for use in others if use.role.kind is ProcessKind.RANK]
    if not waiting:
        return shown
    busy = len(_busy(waiting))
    how = "busy-wait" if busy == len(waiting) else f"wait ({busy} of them busy)" if busy else "wait"
    if len(waiting) == 1:
        how = "busy-waits" if busy else "waits"
    them = "it" if len(odd) == 1 else "them"
    which = "the other " if any(use.role.kind is ProcessKind.RANK for use in odd) else "its "
    ranks = f"{which}rank, {waiting[0].name}," if len(waiting) == 1 else f"{which}{len(waiting)} ranks"
    return f"{shown}; {ranks} {how} for {them}"


def _one(use: RankUse, node: str) -> str:
    who = f"{use.role} (pid {use.pid}, node {node})"
    if use.busy:
        return f"{who} has kept {use.cores:.1f} cores busy without progress{_at(use)}"
    state = _STATES.get(use.state, use.state)
    return f"{who} has been in state {state} with no CPU for {format_duration(use.quiet_s)}{_at(use)}"


def _at(use: RankUse) -> str:
    return f", in {use.place}" if use.place else ""

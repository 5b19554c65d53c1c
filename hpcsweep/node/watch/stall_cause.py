"""Determine why a server makes no progress, and which rank differs from the others. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpcsweep.node.process.roles import ProcessKind, ProcessRole
from hpcsweep.node.watch.counters import STOPPED_STATES
from hpcsweep.node.watch.stacks import StackActivity
from hpcsweep.spec.phases import StallCause
from hpcsweep.units import format_duration

QUIET_CORES = 0.05
"""A process below this only handles our own health checks."""
_BUSY_SHARE = 0.5  # of the busiest process: with too few cores a loop gets less than one core
_STATES = {
    "T": "T (stopped)", "t": "t (traced)", "D": "D (waiting for a device or file system)", "S": "S (sleeping)",
    "R": "R (running)",
}  # fmt: skip
_DEVICE_STATE = "D"


@dataclass(frozen=True)
class RankUse:
    """One process of the server since the last progress.

    `cores`: used on average. `ready`: it was running or waiting for a core most of the time. `quiet_s`: attempt seconds
    since it last used a significant amount of CPU time. `activity`, `function`: from two samples of its stack; None and
    empty where none were taken. `node`: where it runs; empty: a server on one node.
    """

    pid: int
    role: ProcessRole
    state: str
    cores: float
    quiet_s: float
    activity: StackActivity | None = None
    function: str = ""
    ready: bool = False
    node: str = ""

    @property
    def name(self) -> str:
        """Name of the rank, such as `TP1`; of another process, its role."""
        return self.role.name or self.role.kind.value

    @property
    def busy(self) -> bool:
        """It used CPU time or was waiting for a core."""
        return self.cores >= QUIET_CORES or self.ready


@dataclass(frozen=True)
class StallFinding:
    """The cause of a stall. `odd`: the ranks that block the others; empty: no rank differs."""

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
        return StallFinding(StallCause.RANK_STUCK, _sentence(odd, others, node), tuple(odd))
    if active:
        busy = _busy(processes)
        listed = ", ".join(f"{use.role} (pid {use.pid}, {use.cores:.1f} cores{_at(use)})" for use in busy[:8])
        reason = f"CPU or GPU busy without progress: {listed or 'no process uses the CPU'}"
        return StallFinding(StallCause.BUSY_WAIT, reason)
    if serving:
        return StallFinding(
            StallCause.REQUESTS_STUCK, "requests are in flight, but all processes of the server are idle"
        )
    return StallFinding(StallCause.IDLE, "all processes of the server are idle")


def _odd_ones(parts: Sequence[RankUse]) -> tuple[list[RankUse], list[RankUse]]:
    """Return the ranks that differ from the others, and the others; both empty where that cannot be determined."""
    stopped = [use for use in parts if use.state in STOPPED_STATES or use.state == _DEVICE_STATE]
    if stopped:
        return stopped, [use for use in parts if use not in stopped]
    ranks = [use for use in parts if use.role.kind is ProcessKind.RANK]
    busy = _busy(ranks)
    quiet = [use for use in ranks if not use.busy]
    working = [use for use in ranks if use.activity in (StackActivity.LOOPING, StackActivity.CHANGING)]
    if len(ranks) > 1 and working and len(working) < len(ranks):
        # Its stack is not in a waiting function and the others wait, so they wait for it.
        waiting = [use for use in ranks if use.activity in (StackActivity.WAITING, StackActivity.BLOCKED)]
        if len(working) + len(waiting) == len(ranks) and len(working) <= len(waiting):
            return working, waiting
    if quiet and busy and len(quiet) + len(busy) == len(ranks):
        looped = all(use.activity is StackActivity.WAITING for use in busy)
        if len(quiet) < len(busy) or (len(quiet) == len(busy) and looped):
            return quiet, busy
    return [], []


def _busy(uses: Sequence[RankUse]) -> list[RankUse]:
    """Return processes that use at least half as much CPU time as the busiest one, or that wait for a core."""
    most = max((use.cores for use in uses), default=0.0)
    return [use for use in uses if use.ready or use.cores >= max(QUIET_CORES, _BUSY_SHARE * most)]


def _sentence(odd: Sequence[RankUse], others: Sequence[RankUse], node: str) -> str:
    shown = "; ".join(_describe(use, node) for use in odd[:4])
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


def _describe(use: RankUse, node: str) -> str:
    who = f"{use.role} (pid {use.pid}, node {use.node or node})"
    if use.busy:
        return f"{who} has used {use.cores:.1f} cores without progress{_at(use)}"
    state = _STATES.get(use.state, use.state)
    return f"{who} has been in state {state} without CPU time for {format_duration(use.quiet_s)}{_at(use)}"


def _at(use: RankUse) -> str:
    return f", in {use.function}" if use.function else ""

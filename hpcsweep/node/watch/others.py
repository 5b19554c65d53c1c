"""What the supervisor of a server needs of the other nodes of the server; a server on one node has none."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcsweep.node.process.gpus import GpuState
from hpcsweep.node.process.roles import ProcessRole
from hpcsweep.node.watch.outcome import AttemptVerdict
from hpcsweep.node.watch.stacks import StackActivity
from hpcsweep.node.watch.stall import NO_SIGNALS, ProgressSignals, Situation
from hpcsweep.node.watch.stall_cause import RankUse


@dataclass(frozen=True)
class NodeSamples:
    """Stacks of the processes on other nodes, sampled twice; by a text that names process and node."""

    activity: Mapping[str, StackActivity] = field(default_factory=dict)
    roles: Mapping[str, ProcessRole] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)


NO_SAMPLES = NodeSamples()


class OtherNodes:
    """The other nodes of a server on one node: there are none. `ranks.team.RankTeam` has some."""

    exist = False

    def handle(self, message: Mapping[str, Any], rank: int, at_s: float) -> None:
        """Handle a message of the agent of another node, in the main loop. `at_s`: of its arrival, monotonic."""

    def line(self, text: str) -> None:
        """Take a line of the server's log on this node, which may be of a rank on another one."""

    def died(self, pid: int, role: ProcessRole, at_s: float) -> None:
        """Note that a process of the server on this node has ended, at `at_s` (monotonic)."""

    def check(self) -> None:
        """Raise Ended when a part of the server on another node has ended, or its node is lost."""

    def lost(self) -> AttemptVerdict | None:
        """Return the verdict on a node that does not answer any more; None: all nodes answer."""
        return None

    def settled(self) -> bool:
        """Return whether nothing more will be heard of why the server ended."""
        return True

    def explain(self, verdict: AttemptVerdict) -> AttemptVerdict:
        """Return the verdict on a server that exited on this node, with the rank that ended first."""
        return verdict

    def signals(self) -> ProgressSignals:
        """Return the signals of all other nodes since the last call."""
        return NO_SIGNALS

    def beat(self, *, progress: bool, situation: Situation) -> None:
        """Report to the other nodes whether the server progresses, and what it has to do."""

    def uses(self, samples: NodeSamples) -> list[RankUse]:
        """Return what each process on other nodes has used since the last progress."""
        return []

    def take_samples(self, gap_s: float) -> None:
        """Ask the other nodes for two samples of all stacks, `gap_s` seconds apart."""

    def samples(self) -> NodeSamples | None:
        """Return the samples of the other nodes; None: not all have arrived."""
        return NO_SAMPLES

    def diagnose(self, summary: str, hurry: Callable[[], bool]) -> list[str]:
        """Collect diagnostics on all other nodes; return the names of their files."""
        return []

    def gpu_states(self) -> list[GpuState]:
        """Return the GPUs of the other nodes at the last report."""
        return []

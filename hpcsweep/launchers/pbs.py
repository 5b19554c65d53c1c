"""`pbsdsh` of PBS Professional and OpenPBS, and `pbs_tmrsh` of PBS Professional.

Both use the task manager of PBS, so that the process belongs to the job and is killed with it. Neither passes the
environment: a task has HOME, PATH and PBS_* only (recorded with OpenPBS 23.06).
"""

from collections.abc import Sequence
from typing import ClassVar

from hpcsweep.launchers.base import Launcher, NodeSlot


class Pbsdsh(Launcher):
    """`pbsdsh -n INDEX`: the node is named by its position in $PBS_NODEFILE."""

    name: ClassVar[str] = "pbsdsh"
    executable: ClassVar[str] = "pbsdsh"

    def argv(self, command: Sequence[str], node: NodeSlot) -> tuple[str, ...]:
        """Return the arguments."""
        return ("pbsdsh", "-n", str(node.index), "--", *command)


class PbsTmrsh(Launcher):
    """`pbs_tmrsh HOST`, the replacement of rsh that MPI libraries use under PBS. Not run by us."""

    name: ClassVar[str] = "pbs_tmrsh"
    executable: ClassVar[str] = "pbs_tmrsh"

    def argv(self, command: Sequence[str], node: NodeSlot) -> tuple[str, ...]:
        """Return the arguments."""
        return ("pbs_tmrsh", node.name, *command)

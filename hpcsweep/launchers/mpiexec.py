"""`mpiexec` of HPE Cray PALS, and of MPICH and Intel MPI (Hydra). Rendered from their manuals, not run by us."""

from collections.abc import Sequence
from typing import ClassVar

from hpcsweep.launchers.base import Launcher, NodeSlot


class Mpiexec(Launcher):
    """One process on one host, with options that PALS and Hydra have in common."""

    name: ClassVar[str] = "mpiexec"
    executable: ClassVar[str] = "mpiexec"

    def argv(self, command: Sequence[str], node: NodeSlot) -> tuple[str, ...]:
        """Return the arguments."""
        return ("mpiexec", "-n", "1", "-ppn", "1", "-hosts", node.name, *command)

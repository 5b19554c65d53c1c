"""`mpiexec` of HPE Cray PALS, and of MPICH and Intel MPI (Hydra)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from hpcsweep.launchers.base import Launcher, NodeSlot


class Mpiexec(Launcher):
    """One process on one host, with options that PALS and Hydra have in common. Run with the Hydra of MPICH 4.0.2.

    With Open MPI it fails: its options differ.
    """

    name: ClassVar[str] = "mpiexec"
    executable: ClassVar[str] = "mpiexec"

    def argv(self, command: Sequence[str], node: NodeSlot) -> tuple[str, ...]:
        """Return the arguments."""
        return ("mpiexec", "-n", "1", "-ppn", "1", "--hosts", node.name, *command)

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the environment, in which PALS does not bind the process, and with it the engine, to one core."""
        return {**env, "PALS_CPU_BIND": "none"}

"""`srun`, in a job of Slurm."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from hpcsweep.launchers.base import Launcher, NodeSlot

_STEP_OPTIONS = ("SRUN_", "SLURM_CPU_BIND", "SLURM_MEM_BIND", "SLURM_EXPORT_ENV", "SLURM_NTASKS", "SLURM_NPROCS")
"""Variables that srun reads as options (`man srun`, INPUT ENVIRONMENT VARIABLES) and that would change the step."""


class Srun(Launcher):
    """A step of one task on one node. It shares the job's CPUs and GPUs with the batch script (`--overlap`)."""

    name: ClassVar[str] = "srun"
    executable: ClassVar[str] = "srun"

    def argv(self, command: Sequence[str], node: NodeSlot) -> tuple[str, ...]:
        """Return the step's arguments. Without `--cpu-bind=none` the task could be bound to one core."""
        return (
            *("srun", "--nodes=1", "--ntasks=1", f"--nodelist={node.name}", "--overlap", "--export=ALL"),
            *("--cpu-bind=none", "--mpi=none", "--input=none", "--kill-on-bad-exit=0", "--quiet"),
            *command,
        )

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the environment without variables that srun would read as options."""
        return {name: value for name, value in env.items() if not name.startswith(_STEP_OPTIONS)}

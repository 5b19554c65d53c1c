"""What hpcsweep needs of a host: run an argv, write files whole, make folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hpcsweep.schedulers.base import CommandResult

FORBIDDEN_PREFIXES = (
    "SBATCH_", "SLURM_", "SALLOC_", "SRUN_", "SQUEUE_", "SACCT_", "SINFO_", "SCANCEL_", "SCONTROL_", "PBS_",
)  # fmt: skip
"""Variables of the caller that would silently change a submission or an answer, or come from a job around us.

SQUEUE_PARTITION, which people set for their own eyes, hides every job of another partition: it would be told as lost.
"""

KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "PBS_CONF_FILE", "PBS_SERVER", "PBS_DEFAULT")
"""Variables with such a prefix that say where the scheduler is, or who asks."""


def leaks(name: str) -> bool:
    """Whether a variable of this name must not reach a scheduler's command."""
    return name.startswith(FORBIDDEN_PREFIXES) and name not in KEPT


class Host(Protocol):
    """A machine whose scheduler commands and shared file system are used."""

    name: str

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str | None = None) -> CommandResult:
        """Run a command, never through a shell of ours. A command that is not there has exit code 127.

        Raises HostError when the host itself cannot be reached.
        """
        ...

    def make_folder(self, path: str, *, exist_ok: bool = True) -> None:
        """Make a folder and its parents. Raises FileExistsError when it is there and `exist_ok` is False."""
        ...

    def write_text(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file whole: beside, then renamed. Raises HostError."""
        ...

    def put_file(self, source: Path, path: str) -> None:
        """Copy a file of this machine to the host, whole or not at all. Raises HostError."""
        ...

    def remove_tree(self, path: str) -> None:
        """Remove a folder of ours and all below it; one that is not there is fine."""
        ...

"""The contract of a host: run commands, write files atomically, create folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hpcsweep.schedulers.base import CommandResult

FORBIDDEN_PREFIXES = (
    "SBATCH_", "SLURM_", "SALLOC_", "SRUN_", "SQUEUE_", "SACCT_", "SINFO_", "SCANCEL_", "SCONTROL_", "PBS_",
)  # fmt: skip
"""Variables that would change a submission or the output of a query, or that come from a surrounding job.

SQUEUE_PARTITION, which users set for convenience, hides the jobs of all other partitions: they would count as lost.
"""

KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "PBS_CONF_FILE", "PBS_SERVER", "PBS_DEFAULT")
"""Variables with such a prefix that are passed on: they locate the scheduler, or authenticate the user."""


def leaks(name: str) -> bool:
    """Return whether a variable of this name must not reach a scheduler's command."""
    return name.startswith(FORBIDDEN_PREFIXES) and name not in KEPT


class Host(Protocol):
    """A machine whose scheduler commands and shared file system are used."""

    name: str

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str | None = None) -> CommandResult:
        """Run a command, without a shell. A missing command gives exit code 127.

        Raises HostError if the host cannot be reached.
        """
        ...

    def make_folder(self, path: str, *, exist_ok: bool = True) -> None:
        """Create a folder and its parents. Raises FileExistsError if it exists and `exist_ok` is False."""
        ...

    def write_text(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file atomically: to a temporary file, which is then renamed. Raises HostError."""
        ...

    def put_file(self, source: Path, path: str) -> None:
        """Copy a file of this machine to the host atomically. Raises HostError."""
        ...

    def remove_tree(self, path: str) -> None:
        """Remove one of our folders with its content; a missing folder is ignored."""
        ...

"""MPI launchers: argv of one MPI job over all nodes of a server, which its head agent starts. Pure.

Every rank first runs a small script of ours, which gives it what differs from node to node, and then the command.
Sources: `man srun`, `man mpirun` of Open MPI 4 and 5, `mpiexec -help` of MPICH (Hydra), and the user guides of ALCF and
NCAR for HPE Cray PALS. Of them, only Hydra 4.0.2 was run by us, on one machine and without an MPI program.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hpcsweep.launchers.srun import Srun

NODE_FILE = "node.sh"
"""In the folder of a node other than the first: the variables of its ranks that differ from those of the first node."""
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)

_RANK = r"""
folder=$1 ranks_per_node=$2 first=$3
shift 3
rank=${SLURM_PROCID:-${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-${PMI_ID:-}}}}
if [ -z "$rank" ]; then
    echo "hpcsweep: the MPI launcher sets none of SLURM_PROCID, OMPI_COMM_WORLD_RANK, PMI_RANK and PMI_ID" >&2
    exit 1
fi
node=$((rank / ranks_per_node))
if [ "$rank" -eq 0 ] && [ -n "$first" ] && [ "${SLURMD_NODENAME:-$first}" != "$first" ]; then
    echo "hpcsweep: MPI rank 0 runs on node $SLURMD_NODENAME, but the agent of the job on node $first" >&2
    exit 1
fi
[ "$node" -eq 0 ] || . "$folder/$node/NODE_FILE"
exec "$@"
""".replace("NODE_FILE", NODE_FILE)
"""Ranks are numbered node by node. The variables are those that TensorRT-LLM's own launch script reads."""


@dataclass(frozen=True)
class MpiJob:
    """One MPI job. `hosts`: all its nodes, that of rank 0 first; empty: this machine is every node.

    `nodes`: their number. `ranks_per_node`: of each. `folder`: has a folder for each other node, named by its number.
    """

    nodes: int
    ranks_per_node: int
    hosts: Sequence[str]
    folder: str

    @property
    def ranks(self) -> int:
        """Return the number of ranks of the job."""
        return self.nodes * self.ranks_per_node

    def of_each_rank(self, command: Sequence[str]) -> tuple[str, ...]:
        """Return what every rank executes, to run `command` in the end."""
        first = self.hosts[0] if self.hosts else ""
        return ("/bin/sh", "-c", _RANK, "hpcsweep-mpi", self.folder, str(self.ranks_per_node), first, *command)


class MpiLauncher(ABC):
    """One MPI launcher. It ends when the ranks do, and ends all of them when one fails.

    `executable`: the command that must exist on the first node.
    """

    name: ClassVar[str]
    executable: ClassVar[str] = "mpiexec"

    @abstractmethod
    def argv(self, command: Sequence[str], job: MpiJob, forwarded: Sequence[str], env: Mapping[str, str]) -> list[str]:
        """Return the arguments that run `command` as every rank.

        `forwarded`: names of the variables that the ranks on other nodes need; their values are never arguments.
        `env`: in which the launcher runs.
        """

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the environment in which the launcher runs."""
        return dict(env)


class SrunMpi(MpiLauncher):
    """A step of Slurm over all nodes. It shares CPUs and GPUs with the batch script and the agents (`--overlap`)."""

    name: ClassVar[str] = "srun"
    executable: ClassVar[str] = "srun"

    def argv(self, command: Sequence[str], job: MpiJob, forwarded: Sequence[str], env: Mapping[str, str]) -> list[str]:
        """Return the arguments. SLURM_MPI_TYPE of the profile names another plugin than PMIx."""
        return [
            *("srun", f"--nodes={job.nodes}", f"--ntasks={job.ranks}", f"--ntasks-per-node={job.ranks_per_node}"),
            *(f"--nodelist={','.join(job.hosts)}", "--distribution=block", "--overlap", "--export=ALL"),
            *("--cpu-bind=none", *([] if env.get("SLURM_MPI_TYPE") else ["--mpi=pmix"]), "--input=none"),
            *("--kill-on-bad-exit=1", *job.of_each_rank(command)),
        ]

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the environment without variables that srun would read as options of the step."""
        return {name: value for name, value in Srun().environment(env).items() if name not in _OF_THE_BATCH_STEP}


_OF_THE_BATCH_STEP = frozenset(
    {"SLURM_CPUS_PER_TASK", "SLURM_GPUS_PER_TASK", "SLURM_TRES_PER_TASK", "SLURM_GPU_BIND", "SLURM_DISTRIBUTION"}
)
"""Options of the one task of the job's script. Some versions of srun would use them for each rank."""


class OpenMpi(MpiLauncher):
    """`mpiexec` of Open MPI, with which NVIDIA builds TensorRT-LLM."""

    name: ClassVar[str] = "Open MPI"

    def argv(self, command: Sequence[str], job: MpiJob, forwarded: Sequence[str], env: Mapping[str, str]) -> list[str]:
        """Return the arguments. Without `--bind-to none` each rank would be bound to one core."""
        per_node = job.ranks_per_node
        hosts = [f"{host}:{per_node}" for host in job.hosts] or [f"localhost:{job.ranks}"]
        argv = ["mpiexec", "-n", str(job.ranks), "--host", ",".join(hosts)]
        argv += ["--map-by", f"ppr:{per_node}:node"] if job.hosts else []
        argv += ["--bind-to", "none"]
        for name in forwarded:
            argv += ["-x", name]
        return [*argv, *job.of_each_rank(command)]


class Hydra(MpiLauncher):
    """`mpiexec` of PALS, and of MPICH and Intel MPI (Hydra), with options that they have in common.

    It passes on all variables. Those that PALS and Intel MPI read keep each rank from being bound to a core.
    """

    name: ClassVar[str] = "PALS or Hydra"
    _UNBOUND: ClassVar[Mapping[str, str]] = {"PALS_CPU_BIND": "none", "I_MPI_PIN": "off"}

    def argv(self, command: Sequence[str], job: MpiJob, forwarded: Sequence[str], env: Mapping[str, str]) -> list[str]:
        """Return the arguments."""
        argv = ["mpiexec", "-n", str(job.ranks), "-ppn", str(job.ranks_per_node)]
        argv += ["--hosts", ",".join(job.hosts)] if job.hosts else []
        return [*argv, "-genvall", *job.of_each_rank(command)]

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the environment with the variables for the binding, where the user has not set them."""
        return {**self._UNBOUND, **env}


VERSION_ARGUMENTS = ("--version",)
"""Arguments with which every `mpiexec` prints whose it is."""
_OPEN_MPI = re.compile(r"open ?mpi|openrte|prrte", re.IGNORECASE)


def mpi_executable(scheduler: str) -> str:
    """Return the command that starts an MPI job under a scheduler."""
    return SrunMpi.executable if scheduler == "slurm" else MpiLauncher.executable


def mpi_launcher(executable: str, version_text: str) -> MpiLauncher:
    """Return the launcher of a command. `version_text`: what it prints for VERSION_ARGUMENTS."""
    if executable == SrunMpi.executable:
        return SrunMpi()
    return OpenMpi() if _OPEN_MPI.search(version_text) else Hydra()


def forwarded_names(env: Mapping[str, str]) -> list[str]:
    """Return the names of variables that a launcher can forward: functions of bash have other names."""
    return sorted(name for name in env if _NAME.fullmatch(name))

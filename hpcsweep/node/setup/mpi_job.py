"""The MPI job of a server whose parts on several nodes are its ranks: the head agent starts it.

The ranks on other nodes are not children of the agents there. Each of those agents writes what is particular to its
node to a file that the ranks read first; so they have its token, by which it watches and ends them.
"""

import shlex
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.containers.base import NodeCommand
from hpcsweep.engines.base import Launch, Placement
from hpcsweep.engines.several_nodes import INTERFACE_VARIABLES
from hpcsweep.launchers.mpi import (
    NODE_FILE,
    VERSION_ARGUMENTS,
    MpiJob,
    MpiLauncher,
    forwarded_names,
    mpi_executable,
    mpi_launcher,
)
from hpcsweep.node.compile_cache import VARIABLES
from hpcsweep.node.process.processes import TOKEN_VARIABLE
from hpcsweep.node.records import ranks_dir
from hpcsweep.node.setup.engine_install import answer_of
from hpcsweep.node.setup.environment import shared_environment
from hpcsweep.node.watch.outcome import AttemptVerdict, Ended
from hpcsweep.schedulers.registry import scheduler_of
from hpcsweep.spec.phases import OutcomeKind

_VERSION_TIMEOUT_S = 60.0
_OF_A_NODE = ("TMPDIR", "CUDA_VISIBLE_DEVICES")
"""Variables of which the ranks on a node get those of the agent there, not those of the first node, or none."""

NO_CONTAINER = AttemptVerdict(
    OutcomeKind.UNSUPPORTED,
    "container_of_mpi_job",
    "a server that is one MPI job over several nodes is not started in a container",
    "the agent: container",
    "install the engine on the nodes, and set `container: {runtime: none}` for it in the cluster profile",
)


@dataclass(frozen=True)
class PreparedMpi:
    """The MPI job of one server, as its first node starts it."""

    launcher: MpiLauncher
    job: MpiJob

    def command(self, argv: Sequence[str], environment: Mapping[str, str]) -> NodeCommand:
        """Return what the first node executes, so that `argv` is executed by every rank."""
        names = forwarded_names(shared_environment(environment))
        return NodeCommand(
            tuple(self.launcher.argv(argv, self.job, names, environment)), self.launcher.environment(environment)
        )


def prepare_mpi(ranks: int, placement: Placement, attempt_dir: Path, env: Mapping[str, str]) -> PreparedMpi:
    """Return the MPI job of a server with so many ranks over all its nodes. Raises Ended without an MPI launcher.

    `env`: of the engine, which has the launcher on its PATH.
    """
    scheduler = scheduler_of(env)
    executable = mpi_executable(scheduler.name if scheduler is not None else "local")
    if shutil.which(executable, path=env.get("PATH")) is None:
        raise Ended(
            AttemptVerdict(
                OutcomeKind.FAILED,
                "mpi_launcher_not_found",
                f"{executable}, which starts the MPI job of a server on several nodes, is not on the PATH of the job "
                f"on {socket.gethostname()}",
                "preflight: MPI launcher",
                "load the MPI module of the engine in `engine_setup` of the cluster profile",
            )
        )
    answer = answer_of([executable, *VERSION_ARGUMENTS], _VERSION_TIMEOUT_S, env)
    text = f"{answer.stdout}{answer.stderr}" if answer is not None else ""
    job = MpiJob(placement.nodes, ranks // placement.nodes, tuple(placement.hosts), str(ranks_dir(attempt_dir)))
    return PreparedMpi(mpi_launcher(executable, text), job)


def write_node_file(
    folder: Path, token: str, launch: Launch, caches: Mapping[str, str], env: Mapping[str, str]
) -> None:
    """Write the variables of the ranks on this node, which is not the first. Raises OSError.

    `launch`: of this node. `caches`: its own cache folders; empty: those of the first node. `env`: of the agent here.
    """
    lines = [f"unset {name}\n" for name in _OF_A_NODE if name not in env]
    variables = {name: env[name] for name in _OF_A_NODE if name in env}
    variables |= {name: launch.env[name] for name in INTERFACE_VARIABLES if name in launch.env}
    variables |= {name: caches[name] for name in VARIABLES if name in caches}
    lines += [f"export {name}={shlex.quote(value)}\n" for name, value in {**variables, TOKEN_VARIABLE: token}.items()]
    (folder / NODE_FILE).write_text("".join(lines), encoding="utf-8")


def remove_node_file(folder: Path) -> None:
    """Remove the file; no rank is started any more."""
    (folder / NODE_FILE).unlink(missing_ok=True)

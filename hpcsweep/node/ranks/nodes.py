"""The nodes over which a server is spread, and the launcher that reaches them."""

from collections.abc import Mapping
from pathlib import Path

from hpcsweep.errors import SpecError
from hpcsweep.launchers.base import Launcher
from hpcsweep.launchers.node_names import expand_node_list, head_first, nodes_in_file
from hpcsweep.launchers.registry import choose_launcher
from hpcsweep.node.process.gpus import Gpus, GpuState
from hpcsweep.node.ranks.starting import command_exists
from hpcsweep.node.watch.others import OtherNodes
from hpcsweep.schedulers.registry import scheduler_of


def job_nodes(env: Mapping[str, str], host: str, needed: int) -> list[str]:
    """Return the nodes of the job, that of this agent first; without a scheduler, this machine several times.

    Raises SpecError when they are unknown, or fewer than the server needs.
    """
    scheduler = scheduler_of(env)
    if scheduler is None:
        return [host, *(f"{host}#{number}" for number in range(1, needed))]
    names = scheduler.environment
    if env.get(names.node_list):
        nodes = expand_node_list(env[names.node_list])
    elif env.get(names.node_file):
        nodes = _read_nodes(Path(env[names.node_file]))
    else:
        raise SpecError(
            f"the nodes of the job are unknown: {names.node_list or names.node_file or 'no variable'} is not set",
            code="nodes_unknown",
            hint="start hpcsweep-node directly in the job's script",
        )
    nodes = head_first(nodes, host)
    if len(nodes) < needed:
        raise SpecError(
            f"the server needs {needed} nodes, but the job has {len(nodes)}: {', '.join(nodes)}",
            code="too_few_nodes",
            hint="raise resources.nodes, or --nodes of your own script",
        )
    return nodes[:needed]


def job_launcher(named: str | None, env: Mapping[str, str]) -> Launcher:
    """Return the launcher of this job. `named`: in the cluster profile. Raises SpecError when there is none."""
    scheduler = scheduler_of(env)
    return choose_launcher(named, scheduler.name if scheduler is not None else "local", command_exists(env))


def _read_nodes(path: Path) -> list[str]:
    try:
        return nodes_in_file(path.read_text(encoding="utf-8"))
    except OSError as exc:
        message = f"the node file {path} cannot be read: {exc.strerror}"
        raise SpecError(message, code="nodes_unknown", hint="start hpcsweep-node directly in the job's script") from exc


class AllGpus:
    """The GPUs of this node, and those of the other nodes at their last report."""

    def __init__(self, ours: Gpus, others: OtherNodes) -> None:
        self._ours, self._others = ours, others

    def states(self) -> list[GpuState]:
        """Return the state of all GPUs of the server."""
        return [*self._ours.states(), *self._others.gpu_states()]

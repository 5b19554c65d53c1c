"""Read the facts of a PBS site, for `doctor` and `init`: version, nodes with their GPUs, queues, limits.

Read from `qstat --version`, `pbsnodes -a -F json` (or the plain form), `qstat -Q -f -F json`, `qstat -B -f -F json`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hpcsweep.errors import SchedulerError, SchedulerParseError
from hpcsweep.schedulers.base import ClusterFacts, CommandResult, Partition
from hpcsweep.schedulers.clocks import pbs_seconds
from hpcsweep.schedulers.pbs.exit_codes import integer
from hpcsweep.schedulers.pbs.records import Attributes, parse_json, parse_plain, section
from hpcsweep.schedulers.pbs.refusals import refusal
from hpcsweep.spec.gpu_types import gpu_model
from hpcsweep.units import parse_bytes

VERSION_ARGV = ("qstat", "--version")
NODES_ARGV = ("pbsnodes", "-a", "-F", "json")
QUEUES_ARGV = ("qstat", "-Q", "-f", "-F", "json")
SERVER_ARGV = ("qstat", "-B", "-f", "-F", "json")
PROBES = (VERSION_ARGV, SERVER_ARGV, QUEUES_ARGV, NODES_ARGV)

_AVAILABLE = "resources_available."
_GPU_TYPES = ("gpu_type", "gpu_model", "gputype", "accelerator_model")
"""PBS has no built-in resource for the type of a GPU; sites add one, often under such a name."""
_NOT_GPU_TYPES = frozenset({"host", "vnode", "arch"})

_PBS = re.compile(r"pbs_version\s*=\s*(\S+)")
_TORQUE = re.compile(r"^\s*Version:\s*(\S+)", re.MULTILINE | re.IGNORECASE)
_USABLE = frozenset({"free", "job-busy", "job-exclusive", "resv-exclusive", "busy"})


@dataclass(frozen=True)
class PbsNode:
    """One vnode. `gpus_free`: not assigned to a job; 0 on a node that is down or offline."""

    name: str
    host: str
    state: str
    gpus: int
    gpus_free: int
    cpus: int
    memory_bytes: int | None
    gpu_type: str = ""
    gpu_resource: str = ""
    queue: str | None = None
    comment: str = ""

    @property
    def usable(self) -> bool:
        """Return whether jobs run here, or will run when others end."""
        return bool(self.state) and all(state.strip() in _USABLE for state in self.state.split(","))


def site_facts(answers: Sequence[CommandResult]) -> ClusterFacts:
    """Return the facts in the output of `PROBES`, in their order. Never raises: unreadable output is a warning."""
    warnings: list[str] = []
    server: dict[str, str] = {}
    nodes: list[PbsNode] = []
    queues: dict[str, dict[str, str]] = {}
    version = server_name = ""
    for answer, argv in zip(answers, PROBES, strict=False):
        try:
            if argv == VERSION_ARGV:
                version = parse_version(answer.stdout + answer.stderr)
            elif answer.exit_code != 0:
                raise refusal(answer, f"list {'the nodes' if argv == NODES_ARGV else 'queues and limits'}")
            elif argv == NODES_ARGV:
                nodes = parse_nodes(answer.stdout)
            elif argv == QUEUES_ARGV:
                queues = section(parse_json(answer.stdout), "Queue")
            else:
                server_name, server = next(iter(section(parse_json(answer.stdout), "Server").items()), ("", {}))
        except SchedulerError as exc:
            warnings.append(f"{exc.message} ({exc.hint})" if exc.hint else exc.message)
    history = server.get("job_history_enable") == "True" if server else None
    if history is False:
        warnings.append("this PBS keeps no history of ended jobs: how they ended is read from the run folders only")
    return ClusterFacts(
        version=version,
        partitions=_partitions(queues, server, nodes),
        max_array_size=integer(server.get("max_array_size")),
        accounting=history,
        warnings=tuple(warnings),
        server=server_name,
    )


def parse_version(text: str) -> str:
    """Return the version in the output of `qstat --version`. Raises SchedulerError for Torque."""
    match = _PBS.search(text)
    if match is not None:
        return match[1]
    torque = _TORQUE.search(text)
    if torque is not None:
        raise SchedulerError(
            f"this is Torque {torque[1]}, not OpenPBS",
            code="torque_unsupported",
            hint="Torque has no select=, -J or -F dsv; it is not supported (docs/pbs.md)",
        )
    raise SchedulerParseError(
        f"unexpected output of qstat --version: {text.strip()[:120]!r}",
        code="pbs_output_unreadable",
        hint="is this the qstat of PBS?",
    )


def parse_nodes(text: str) -> list[PbsNode]:
    """Parse the vnodes of `pbsnodes -a -F json`, or of plain `pbsnodes -a`, without natural vnodes that have no CPUs.

    Assigned amounts that are 0 are absent from the JSON.
    """
    records = section(parse_json(text), "nodes") if text.lstrip().startswith("{") else parse_plain(text)
    nodes = [_node(name, attributes) for name, attributes in records.items()]
    return [node for node in nodes if node.cpus or node.gpus]


def _partitions(
    queues: Mapping[str, Attributes], server: Attributes, nodes: Sequence[PbsNode]
) -> tuple[Partition, ...]:
    """Return all queues. A routing queue has the resources of its destinations."""
    own = {name: _queue(name, about, server, nodes) for name, about in queues.items() if not _routes(about)}
    partitions = []
    for name, about in queues.items():
        if not _routes(about):
            partitions.append(own[name])
            continue
        behind = [own[queue] for queue in _destinations(about) if queue in own]
        partitions.append(_routing(_queue(name, about, server, []), behind, _destinations(about)))
    return tuple(partitions)


def _routes(queue: Attributes) -> bool:
    return queue.get("queue_type", "Execution").startswith("R")


def _destinations(queue: Attributes) -> tuple[str, ...]:
    names = queue.get("route_destinations", "").split(",")
    return tuple(name.strip().partition("@")[0] for name in names if name.strip())


def _routing(queue: Partition, behind: Sequence[Partition], destinations: tuple[str, ...]) -> Partition:
    limits = [partition.max_walltime_s for partition in behind]
    longest = None if not limits or None in limits else max(limit for limit in limits if limit is not None)
    widest = max(behind, key=lambda partition: partition.nodes, default=queue)
    gpus: dict[str, int] = {}
    for partition in behind:
        for kind, number in partition.gpus.items():
            gpus[kind] = max(gpus.get(kind, 0), number)
    return replace(
        widest,
        name=queue.name,
        default=queue.default,
        usable=queue.usable,
        max_walltime_s=queue.max_walltime_s if queue.max_walltime_s is not None else longest,
        cpus=max((partition.cpus or 0 for partition in behind), default=0) or None,
        memory_bytes=max((partition.memory_bytes or 0 for partition in behind), default=0) or None,
        gpus=gpus,
        gpu_resource=next((partition.gpu_resource for partition in behind if partition.gpu_resource), ""),
        routes_to=destinations,
        only_routed=False,
    )


def _queue(name: str, queue: Attributes, server: Attributes, nodes: Sequence[PbsNode]) -> Partition:
    """Return a queue with the nodes assigned to it, or with all nodes assigned to none; figures are of one host."""
    mine = [node for node in nodes if node.usable and node.queue == name]
    mine = mine or [node for node in nodes if node.usable and node.queue is None]
    hosts: dict[str, list[PbsNode]] = {}
    for node in mine:
        hosts.setdefault(node.host, []).append(node)
    gpus: dict[str, int] = {}
    for members in hosts.values():
        for kind in {node.gpu_type for node in members if node.gpus}:
            gpus[kind] = max(gpus.get(kind, 0), sum(node.gpus for node in members if node.gpu_type == kind))
    memory = [sum(node.memory_bytes or 0 for node in members) for members in hosts.values()]
    return Partition(
        name=name,
        default=server.get("default_queue") == name,
        usable=queue.get("enabled") == "True" and queue.get("started") == "True",
        nodes=len(hosts),
        max_walltime_s=_duration(queue.get("resources_max.walltime", server.get("resources_max.walltime"))),
        cpus=max((sum(node.cpus for node in members) for members in hosts.values()), default=None),
        memory_bytes=max(memory, default=0) or None,
        gpus=gpus,
        gpus_free=sum(node.gpus_free for node in mine),
        gpu_resource=next((node.gpu_resource for node in mine if node.gpu_resource), ""),
        only_routed=queue.get("from_route_only") == "True",
    )


def _node(name: str, attributes: Attributes) -> PbsNode:
    state = attributes.get("state", "")
    gpus = integer(attributes.get("resources_available.ngpus")) or 0
    taken = integer(attributes.get("resources_assigned.ngpus")) or 0
    gpu_resource = _gpu_resource(attributes) if gpus else ""
    node = PbsNode(
        name=name,
        host=attributes.get("resources_available.host", name),
        state=state,
        gpus=gpus,
        gpus_free=max(0, gpus - taken),
        cpus=integer(attributes.get("resources_available.ncpus", attributes.get("np"))) or 0,
        memory_bytes=_bytes(attributes.get("resources_available.mem")),
        gpu_type=attributes.get(_AVAILABLE + gpu_resource, ""),
        gpu_resource=gpu_resource,
        queue=attributes.get("queue"),
        comment=attributes.get("comment", ""),
    )
    return node if node.usable else PbsNode(**{**vars(node), "gpus_free": 0})


def _gpu_resource(attributes: Attributes) -> str:
    """Return the resource that reports the type of a node's GPUs: by its name, else by a value that is a GPU model."""
    for name in _GPU_TYPES:
        if _AVAILABLE + name in attributes:
            return name
    names = [key.removeprefix(_AVAILABLE) for key in attributes if key.startswith(_AVAILABLE)]
    models = [name for name in names if name not in _NOT_GPU_TYPES and gpu_model(attributes[_AVAILABLE + name])]
    return models[0] if models else ""


def _bytes(text: str | None) -> int | None:
    try:
        return parse_bytes(text) if text is not None else None
    except ValueError:
        return None


def _duration(text: str | None) -> float | None:
    try:
        return pbs_seconds(text) if text is not None else None
    except ValueError:
        return None

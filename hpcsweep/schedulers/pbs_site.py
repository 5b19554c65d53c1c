"""What a PBS site is: version, nodes with their GPUs, queues, limits. For `doctor` and `init`.

Read from `qstat --version`, `pbsnodes -a -F json` (or the plain form), `qstat -Q -f -F json`, `qstat -B -f -F json`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hpcsweep.errors import SchedulerError, SchedulerParseError, SpecError
from hpcsweep.schedulers.pbs_exit import integer
from hpcsweep.schedulers.pbs_json import Attributes, parse_json, parse_plain, section
from hpcsweep.spec.cluster import Cluster
from hpcsweep.units import parse_bytes, parse_duration_s

VERSION_ARGV = ("qstat", "--version")
NODES_ARGV = ("pbsnodes", "-a", "-F", "json")
QUEUES_ARGV = ("qstat", "-Q", "-f", "-F", "json")
SERVER_ARGV = ("qstat", "-B", "-f", "-F", "json")

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
    comment: str = ""

    @property
    def usable(self) -> bool:
        """Jobs run here, or will when others end."""
        return bool(self.state) and all(word.strip() in _USABLE for word in self.state.split(","))


@dataclass(frozen=True)
class PbsQueue:
    """One queue. `walltime_s`: the longest it takes; None: no limit. `executes` False: it hands jobs to others."""

    name: str
    enabled: bool
    started: bool
    executes: bool
    walltime_s: float | None = None


@dataclass(frozen=True)
class PbsServer:
    """The server. `history`: it remembers ended jobs. `max_array_size`: elements of one array."""

    name: str
    version: str
    default_queue: str | None
    max_array_size: int | None
    history: bool


def parse_version(text: str) -> str:
    """Version of OpenPBS or PBS Pro, from stdout and stderr of `qstat --version`. Raises SchedulerError for Torque."""
    match = _PBS.search(text)
    if match is not None:
        return match[1]
    torque = _TORQUE.search(text)
    if torque is not None:
        raise SchedulerError(
            f"this is Torque {torque[1]}, not OpenPBS",
            hint="Torque knows no select=, no -J and no -F dsv; submit your own script there by hand with hpcsweep-node",
        )
    raise SchedulerParseError(f"qstat --version said {text.strip()[:120]!r}", hint="is qstat that of PBS?")


def parse_nodes(text: str) -> list[PbsNode]:
    """Vnodes of `pbsnodes -a -F json`, or of plain `pbsnodes -a`. A host's natural vnode without CPUs is left out.

    Assigned amounts that are 0 are absent from the JSON.
    """
    found = section(parse_json(text), "nodes") if text.lstrip().startswith("{") else parse_plain(text)
    nodes = [_node(name, attributes) for name, attributes in found.items()]
    return [node for node in nodes if node.cpus or node.gpus]


def parse_queues(text: str) -> list[PbsQueue]:
    """Queues of `qstat -Q -f -F json`."""
    return [
        PbsQueue(
            name=name,
            enabled=attributes.get("enabled") == "True",
            started=attributes.get("started") == "True",
            executes=attributes.get("queue_type", "Execution").startswith("E"),
            walltime_s=_duration(attributes.get("resources_max.walltime")),
        )
        for name, attributes in section(parse_json(text), "Queue").items()
    ]


def parse_server(text: str) -> PbsServer:
    """The server of `qstat -B -f -F json`. Raises SchedulerParseError when none is named."""
    for name, attributes in section(parse_json(text), "Server").items():
        return PbsServer(
            name=name,
            version=attributes.get("pbs_version", ""),
            default_queue=attributes.get("default_queue"),
            max_array_size=integer(attributes.get("max_array_size")),
            history=attributes.get("job_history_enable") == "True",
        )
    raise SchedulerParseError("qstat -B named no server", hint="is the PBS server up?")


def check_cluster(cluster: Cluster) -> None:
    """Raises SpecError for what a profile says that PBS has no word for: better than to leave it out in silence."""
    missing: Mapping[str, tuple[object, str]] = {
        "exclude": (cluster.exclude, "PBS cannot exclude nodes: ask for a resource that only the others have"),
        "qos": (cluster.qos, "PBS has no QOS: choose a queue, or add a directive of your site"),
        "partition": (cluster.partition, "PBS calls it queue"),
        "reservation": (cluster.reservation, "a PBS reservation is a queue: queue: R123"),
        "nodelist": (cluster.nodelist, "PBS takes one host of a chunk: constraint: host=NAME"),
    }
    for name, (value, hint) in missing.items():
        if value:
            raise SpecError(f"the cluster profile says {name}: {value}, which PBS cannot do", hint=hint)


def _node(name: str, attributes: Attributes) -> PbsNode:
    state = attributes.get("state", "")
    gpus = integer(attributes.get("resources_available.ngpus")) or 0
    taken = integer(attributes.get("resources_assigned.ngpus")) or 0
    node = PbsNode(
        name=name,
        host=attributes.get("resources_available.host", name),
        state=state,
        gpus=gpus,
        gpus_free=max(0, gpus - taken),
        cpus=integer(attributes.get("resources_available.ncpus", attributes.get("np"))) or 0,
        memory_bytes=_bytes(attributes.get("resources_available.mem")),
        comment=attributes.get("comment", ""),
    )
    return node if node.usable else PbsNode(**{**vars(node), "gpus_free": 0})


def _bytes(text: str | None) -> int | None:
    try:
        return parse_bytes(text) if text is not None else None
    except ValueError:
        return None


def _duration(text: str | None) -> float | None:
    try:
        return parse_duration_s(text) if text is not None else None
    except ValueError:
        return None

"""The nodes of a job, from what its scheduler gives to the batch script. Pure."""

import re
from collections.abc import Sequence

from hpcsweep.errors import SpecError

_GROUP = re.compile(r"([^\[,]*)(?:\[([^\]]*)\])?([^\[,]*)(?:,|$)")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def expand_node_list(text: str) -> list[str]:
    """Return the names in a node list of Slurm: `gpu-[01-03,07],login1`. Raises SpecError for another form.

    One group of brackets per name, as Slurm prints for nodes of one naming scheme.
    """
    names: list[str] = []
    rest = text.strip()
    while rest:
        match = _GROUP.match(rest)
        prefix, ranges, suffix = match.groups() if match is not None else ("", None, "")
        if match is None or not prefix:
            raise _unreadable(text)
        rest = rest[match.end() :]
        if ranges is None:
            names.append(prefix + suffix)
            continue
        for part in ranges.split(","):
            bounds = _RANGE.fullmatch(part)
            if bounds is None:
                raise _unreadable(text)
            first, last = bounds[1], bounds[2] or bounds[1]
            numbers = range(int(first), int(last) + 1)
            names += [f"{prefix}{number:0{len(first)}d}{suffix}" for number in numbers]
    return names


def nodes_in_file(text: str) -> list[str]:
    """Return the nodes in a node file of PBS, which names a node once for each of its chunks, in order."""
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def head_first(nodes: Sequence[str], host: str) -> list[str]:
    """Return the nodes, that of the head agent first. A host name may be longer than the scheduler's, or shorter."""
    ours = [node for node in nodes if _short(node) == _short(host)][:1]
    return [*ours, *(node for node in nodes if node not in ours)]


def _short(name: str) -> str:
    return name.partition(".")[0].lower()


def _unreadable(text: str) -> SpecError:
    return SpecError(f"node list {text!r} cannot be read", code="node_list_unreadable", hint="see SLURM_JOB_NODELIST")

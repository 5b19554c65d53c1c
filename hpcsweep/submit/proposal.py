"""Propose hpcsweep.yaml for a machine: a commented profile for each kind of GPU node of its schedulers. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hpcsweep.render.environment import make_environment, render
from hpcsweep.schedulers.base import ClusterFacts, Partition
from hpcsweep.submit.machine import Machine
from hpcsweep.units import format_bytes, format_duration

TEMPLATE = "hpcsweep.yaml.j2"

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_NOT_TEXT = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n"})


@dataclass(frozen=True)
class Profile:
    """A proposed profile. `gpus`: of one node. `gpu_type` empty: the cluster defines no GPU types."""

    name: str
    scheduler: str
    partition: Partition
    gpu_type: str
    gpus: int
    note: str


def propose(machine: Machine) -> str:
    """Return the text of hpcsweep.yaml. Without a scheduler it has only an example in comments."""
    profiles = [p for name, facts in machine.schedulers.items() for p in _profiles(name, facts)]
    env = make_environment()
    env.filters["yaml"] = yaml_text
    return render(
        env,
        TEMPLATE,
        machine=machine,
        profiles=profiles,
        default=_default(profiles),
        engines=[engine for engine in machine.engines if engine.executable],
    )


def yaml_text(value: object) -> str:
    """Return a value quoted so that YAML reads it as a string."""
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    return json.dumps(text)


def _profiles(scheduler: str, facts: ClusterFacts) -> Iterator[Profile]:
    """Yield a profile per partition and GPU type; without any GPU partition, only the default partition."""
    open_ones = [partition for partition in facts.partitions if not partition.only_routed]
    with_gpus = [partition for partition in open_ones if partition.gpus]
    for partition in with_gpus or [p for p in open_ones if p.default] or open_ones[:1]:
        kinds: Mapping[str, int] = partition.gpus or {"": 0}
        for kind, number in kinds.items():
            several = len(kinds) > 1
            yield Profile(
                name=f"{scheduler}-{partition.name}{'-' + kind if several else ''}",
                scheduler=scheduler,
                partition=partition,
                gpu_type=kind,
                gpus=number,
                note=_note(partition, kind if several else ""),
            )


def _note(partition: Partition, kind: str) -> str:
    limit = f"up to {format_duration(partition.max_walltime_s)}" if partition.max_walltime_s else "no time limit"
    size = f" of {partition.cpus} CPUs" if partition.cpus else ""
    if partition.memory_bytes:
        size += f" and {format_bytes(partition.memory_bytes)}"
    words = [f"{partition.nodes} nodes{size}" + (f", some with {kind}" if kind else ""), limit]
    if partition.default:
        words.append("the cluster's default")
    if not partition.usable:
        words.append("does not accept jobs at present")
    return "; ".join(words)


def _default(profiles: list[Profile]) -> str:
    """Return the default profile: of the cluster's default partition, else of the first that accepts jobs."""
    ranked = sorted(profiles, key=lambda p: (not p.partition.usable, not p.partition.default))
    return ranked[0].name if ranked else ""

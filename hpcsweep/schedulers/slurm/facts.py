"""Read the facts of a Slurm cluster from scontrol show config and sinfo."""

import re

from hpcsweep.schedulers.base import ClusterFacts, CommandResult, Partition
from hpcsweep.schedulers.clocks import slurm_seconds

CONFIG_ARGV = ("scontrol", "show", "config")
PARTITIONS_ARGV = ("sinfo", "-h", "-o", "%P|%a|%l|%D|%c|%m|%G")
"""Partition (`*`: the default), availability, time limit, nodes, CPUs, memory in MiB and GRES of one node; one line per
kind of node. `+` after a figure: at least."""

_SETTING = re.compile(r"^(\w+)\s+= (.*)$", re.MULTILINE)
_GPU = re.compile(r"(?:^|,)gpu(?::(?P<type>[^:,()]+))?:(?P<count>\d+)")  # a type may begin with a digit: 1g.10gb


def parse_facts(config: CommandResult, partitions: CommandResult) -> ClusterFacts:
    """Return the facts in the output of CONFIG_ARGV and PARTITIONS_ARGV. Unreadable output is a warning."""
    warnings = [
        f"{answer.argv[0]}: {(answer.stderr.strip().splitlines() or ['timed out'])[-1]}"
        for answer in (config, partitions)
        if answer.exit_code != 0
    ]
    settings = dict(_SETTING.findall(config.stdout))
    partition_list, unread = _partitions(partitions.stdout)
    warnings += [f"sinfo: unexpected line: {line!r}" for line in unread]
    if any("tmpfs" in settings.get(name, "") for name in ("JobContainerType", "NamespaceType")):
        warnings.append(
            "each job has its own /tmp and /dev/shm (job_container/tmpfs): HPCSWEEP_HOME must not be below them"
        )
    storage = settings.get("AccountingStorageType", "").strip()
    return ClusterFacts(
        version=settings.get("SLURM_VERSION", "").strip(),
        partitions=partition_list,
        max_array_size=_max_array_size(settings),
        accounting=None if not storage else storage not in ("accounting_storage/none", "(null)"),
        warnings=tuple(warnings),
    )


def _max_array_size(settings: dict[str, str]) -> int | None:
    """Return the number of array tasks from index 0; 0: arrays are off. None: unknown.

    MaxArraySize is one above the highest index (1001: 0-1000). SchedulerParameters may set a lower max_array_tasks.
    """
    text = settings.get("MaxArraySize", "").strip()
    if not text.isdigit():
        return None
    tasks = re.search(r"max_array_tasks=(\d+)", settings.get("SchedulerParameters", ""))
    return min(int(text), int(tasks[1])) if tasks else int(text)


def _partitions(text: str) -> tuple[tuple[Partition, ...], list[str]]:
    """Return the partitions, in the order of sinfo, and the lines that could not be read."""
    by_name: dict[str, Partition] = {}
    unread: list[str] = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        row = line.split("|")
        counts = [_least(value) for value in row[3:6]]
        if len(row) != 7 or None in counts:
            unread.append(line)
            continue
        name = row[0].removesuffix("*")
        nodes, cpus, memory_mib = (value or 0 for value in counts)
        before = by_name.get(name)
        gpus = dict(before.gpus) if before else {}
        for kind, number in _gpus(row[6]).items():
            gpus[kind] = max(gpus.get(kind, 0), number)
        by_name[name] = Partition(
            name=name,
            default=row[0].endswith("*"),
            usable=row[1] == "up",
            nodes=nodes + (before.nodes if before else 0),
            max_walltime_s=_time_limit_s(row[2]),
            cpus=max(cpus, (before.cpus or 0) if before else 0),
            memory_bytes=max(memory_mib << 20, (before.memory_bytes or 0) if before else 0),
            gpus=gpus,
        )
    return tuple(by_name.values()), unread


def _least(text: str) -> int | None:
    digits = text.removesuffix("+")
    return int(digits) if digits.isdigit() else None


def _gpus(gres: str) -> dict[str, int]:
    """Return GPU type -> number on one node, from `gpu:h200:8(S:0-1),gpu:a100:2`."""
    return {match["type"] or "": int(match["count"]) for match in _GPU.finditer(gres)}


def _time_limit_s(text: str) -> float | None:
    """Return the seconds of a time limit. None: `infinite`, or not a duration."""
    try:
        return slurm_seconds(text)
    except ValueError:
        return None

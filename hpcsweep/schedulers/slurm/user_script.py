"""Read the `#SBATCH` options of a user's own Slurm script as sbatch does. Pure.

sbatch passes the words of each line to getopt_long: `-a1-4`, `-a 1-4`, `--array=1-4`, `--array 1-4` and `--arr=1-4` are
the same option. Lines after the first command, and lines that do not begin with `#SBATCH`, are not read.
"""

import math
import re
import shlex
from collections.abc import Iterator

from hpcsweep.errors import SpecError
from hpcsweep.schedulers.clocks import slurm_seconds
from hpcsweep.schedulers.slurm.directives import PREFIX
from hpcsweep.schedulers.user_script import (
    ScriptRequest,
    foreign_warnings,
    gpu_name,
    late_warning,
    until_first_command,
)
from hpcsweep.shell import without_comments

_SHORT = {
    "A": "account", "a": "array", "B": "extra-node-info", "b": "begin", "C": "constraint", "c": "cpus-per-task",
    "D": "chdir", "d": "dependency", "e": "error", "F": "nodefile", "G": "gpus", "i": "input", "J": "job-name",
    "L": "licenses", "M": "clusters", "m": "distribution", "N": "nodes", "n": "ntasks", "o": "output",
    "p": "partition", "q": "qos", "S": "core-spec", "t": "time", "w": "nodelist", "x": "exclude",
}  # fmt: skip
"""Short options with a value -> their long form."""

_SHORT_FLAGS = {
    "H": "hold", "h": "help", "I": "immediate", "k": "no-kill", "O": "overcommit", "Q": "quiet", "s": "oversubscribe",
    "u": "usage", "v": "verbose", "V": "version", "W": "wait",
}  # fmt: skip
_FLAGS = frozenset({
    *_SHORT_FLAGS.values(), "contiguous", "disable-stdout-job-summary", "exclusive", "get-user-env", "ignore-pbs",
    "nice", "no-requeue", "parsable", "propagate", "reboot", "requeue", "resv-ports", "spread-job", "stepmgr",
    "test-only", "use-min-nodes",
})  # fmt: skip
"""Long options without a value, or with a value that must follow `=`."""

_VALUES = frozenset({
    *_SHORT.values(), "acctg-freq", "batch", "bb", "bbf", "cluster-constraint", "comment", "consolidate-segments",
    "container", "container-id", "cores-per-socket", "cpu-freq", "cpus-per-gpu", "deadline", "delay-boot", "export",
    "export-file", "extra", "external-launcher", "gid", "gpu-bind", "gpu-freq", "gpus-per-node", "gpus-per-socket",
    "gpus-per-task", "gres", "gres-flags", "hint", "kill-on-invalid-dep", "mail-type", "mail-user", "mcs-label",
    "mem", "mem-bind", "mem-per-cpu", "mem-per-gpu", "mincpus", "network", "ntasks-per-core", "ntasks-per-gpu",
    "ntasks-per-node", "ntasks-per-socket", "open-mode", "oom-kill-step", "power", "prefer", "priority", "profile",
    "reservation", "segment", "signal", "sockets-per-node", "switches", "thread-spec", "threads-per-core", "time-min",
    "tmp", "tres-bind", "tres-per-task", "uid", "wait-all-nodes", "wckey", "wrap",
})  # fmt: skip

_GRES_GPU = re.compile(r"(?:gres[/:])?gpu(?:[:=/](?P<type>[\w.-]*[A-Za-z][\w.-]*))?(?:[:=](?P<count>\d+))?")
_GPUS = re.compile(r"(?:(?P<type>[\w.-]*[A-Za-z][\w.-]*):)?(?P<count>\d+)")
_DIRECTIVE = re.compile(rf"\s*{PREFIX}\b")


def user_request(text: str, *, array_allowed: bool = False) -> ScriptRequest:
    """Return what the script requests. Raises SpecError for a job array or an invalid time."""
    given: dict[str, str] = {}
    for number, option, value in directive_options(text):
        if option == "array" and not array_allowed:
            line = text.split("\n")[number - 1].strip()
            raise SpecError(
                f"line {number} of the script makes it a job array: {line!r}",
                code="own_script_array",
                hint="hpcsweep submits the script once per run: remove --array",
            )
        if option == "time":
            try:
                slurm_seconds(value)
            except ValueError as exc:
                raise SpecError(f"line {number} of the script: --time={value}: {exc}", code="walltime_syntax") from exc
        given[option] = value
    seconds = slurm_seconds(given["time"]) if "time" in given else None
    nodes = _number(given.get("nodes", "")) or (None if "nodes" in given or "ntasks" in given else 1)
    tasks = _tasks(given, nodes)
    per_node, total, gpu_type = _gpus(given, nodes, tasks)
    per_gpu = _number(given.get("ntasks-per-gpu", ""))
    if tasks is None and per_gpu is not None and total is not None:
        tasks = total * per_gpu
    return ScriptRequest(
        walltime_s=60 * math.ceil(seconds / 60) if seconds else None,  # Slurm counts limits in minutes
        nodes=nodes,
        gpus_per_node=per_node,
        gpus=total,
        gpu_type=gpu_type,
        tasks=tasks,
        warnings=(*_unread(text), *foreign_warnings(text, PREFIX, "Slurm")),
    )


def directive_options(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, long name, value) of the options that sbatch reads; a flag has an empty value.

    Options of a second heterogeneous component are left out. Unknown options are returned as written.
    """
    lines, _ = until_first_command(text)
    for number, line in lines:
        if not line.startswith(PREFIX):
            continue
        options = without_comments(line.removeprefix(PREFIX))
        try:
            words = shlex.split(options)
        except ValueError as exc:
            raise SpecError(f"line {number} of the script: {exc}: {line.strip()!r}", code="directive_syntax") from exc
        if words[:1] in (["hetjob"], ["packjob"]):
            return
        for option, value in _read(words):
            yield number, option, value


def _read(words: list[str]) -> Iterator[tuple[str, str]]:
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, sep, value = word.removeprefix("--").partition("=")
            name = _long(name)
            if not sep and name not in _FLAGS and rest and (name in _VALUES or not rest[0].startswith("-")):
                value = rest.pop(0)
            yield name, value
        elif word.startswith("-") and len(word) > 1:
            letter, more = word[1], word[2:]
            if letter in _SHORT_FLAGS:
                yield _SHORT_FLAGS[letter], ""
                if more:
                    rest.insert(0, f"-{more}")
            else:
                value = more.removeprefix("=") or (rest.pop(0) if rest else "")
                yield _SHORT.get(letter, letter), value


def _long(name: str) -> str:
    """Return the full name of an abbreviated long option; an unknown or ambiguous one is returned unchanged."""
    known = _FLAGS | _VALUES
    if name in known:
        return name
    meant = [whole for whole in known if whole.startswith(name)]
    return meant[0] if len(meant) == 1 else name


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _tasks(given: dict[str, str], nodes: int | None) -> int | None:
    """Return the number of tasks that srun starts by default. None: unknown (variables, ranges)."""
    if "ntasks" in given:
        return _number(given["ntasks"])
    per_node = _number(given.get("ntasks-per-node", "1"))
    if "ntasks-per-gpu" in given:
        return None
    return nodes * per_node if nodes is not None and per_node is not None else None


def _gpus(given: dict[str, str], nodes: int | None, tasks: int | None) -> tuple[int | None, int | None, str | None]:
    """Return (GPUs per node, GPUs of the job, their type). None: not stated."""
    per_node: int | None = None
    total: int | None = None
    kind: str | None = None
    for item in given.get("gres", "").split(","):
        match = _GRES_GPU.fullmatch(item.partition("(")[0])
        if match is not None:
            per_node, kind = int(match["count"] or 1) + (per_node or 0), match["type"] or kind
    for name in ("gpus-per-node", "gpus", "gpus-per-task"):
        matches = [match for item in given.get(name, "").split(",") if (match := _GPUS.fullmatch(item)) is not None]
        if not matches:
            continue
        count, kind = sum(int(match["count"]) for match in matches), matches[0]["type"] or kind
        if name == "gpus-per-node":
            per_node = count
        elif name == "gpus":
            total = count
        elif tasks is not None:
            total = tasks * count
    if per_node is not None and nodes is not None:
        total = per_node * nodes
    if kind is None:
        words = re.split(r"[&|,()\[\]*]+", given.get("constraint", ""))
        named = [gpu_name(word) for word in words]
        kind = next((name for name in named if name is not None), None)
    return per_node, total, kind


def _unread(text: str) -> Iterator[str]:
    head, command = until_first_command(text)
    for number, line in enumerate(text.split("\n"), 1):
        if not _DIRECTIVE.match(line):
            continue
        if command is not None and number > len(head):
            yield late_warning("Slurm", number, line, command)
        elif not line.startswith(PREFIX):
            yield f"Slurm does not read line {number} of the script, {line.strip()!r}: blanks precede {PREFIX}"

"""Read the directives of a user's own PBS script, as far as they are needed to submit it once per run. Pure.

The directives apply as qsub reads them. But a -v on the command line replaces the script's, and the agent needs the
walltime, which PBS does not report to a job.
"""

import re
import shlex
from collections.abc import Collection, Iterator
from dataclasses import replace

from hpcsweep.errors import SpecError
from hpcsweep.schedulers.clocks import pbs_seconds
from hpcsweep.schedulers.pbs.directives import PREFIX, options_of
from hpcsweep.schedulers.user_script import (
    ScriptRequest,
    foreign_warnings,
    gpu_name,
    late_warning,
    until_first_command,
)
from hpcsweep.shell import without_comments

_VARIABLES = re.compile(r"""(?:^|\s)-v\s*((?:"[^"]*"|'[^']*'|[^\s"'])+)""")
_ITEM = re.compile(r"""(?:"[^"]*"|'[^']*'|\\.|[^,"'\\])+""")
_NO_COMMAND = re.compile(r":")  # qsub continues after a line that begins with a colon
_GPUS = ("ngpus", "gpus", "ngpu", "gpu")
_GPU_TYPE = re.compile(r"(?:gpu|accel\w*)[_-]?(?:type|model|name)|accelerator", re.IGNORECASE)


def user_request(text: str, *, array_allowed: bool = False) -> ScriptRequest:
    """Return what the script requests. Raises SpecError for a job array or an invalid walltime."""
    resources: dict[str, tuple[int, str]] = {}
    for number, line in _directives(text):
        for option, value in _options(number, line):
            if option == "-J" and not array_allowed:
                raise SpecError(
                    f"line {number} of the script makes it a job array: {line.strip()!r}",
                    code="own_script_array",
                    hint="hpcsweep submits the script once per run: remove -J",
                )
            if option == "-l":
                for item in value.split(","):
                    name, _, amount = item.partition("=")
                    resources[name.strip()] = (number, amount.strip())
    walltime_s = None
    if "walltime" in resources:
        number, amount = resources["walltime"]
        try:
            walltime_s = pbs_seconds(amount)
        except ValueError as exc:
            raise SpecError(f"line {number} of the script: walltime={amount}: {exc}", code="walltime_syntax") from exc
    asked = _chunks({name: amount for name, (_, amount) in resources.items()})
    warnings = (*_late(text), *foreign_warnings(text, PREFIX, "PBS"))
    return replace(asked, walltime_s=walltime_s, warnings=warnings)


def user_variables(text: str, taken: Collection[str]) -> list[str]:
    """Return the items of the script's own -v as written: `A=1`, `B="x,y"`, `HOME`; without the names in `taken`.

    The last of several directives counts, as for qsub.
    """
    last = ""
    for _, line in _directives(text):
        for match in _VARIABLES.finditer(line):
            last = match[1]
    return [item for item in _ITEM.findall(last) if item.partition("=")[0] not in taken]


def directive_options(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, option, value) of each directive that qsub reads. Raises SpecError for one that is not an option."""
    for number, line in _directives(text):
        for option, value in _options(number, line):
            yield number, option, value


def _options(number: int, line: str) -> list[tuple[str, str]]:
    try:
        words = shlex.split(without_comments(line))
    except ValueError as exc:
        raise SpecError(f"line {number} of the script: {exc}: {line.strip()!r}", code="directive_syntax") from exc
    given = options_of(words, number)
    return list(zip(given[::2], given[1::2], strict=True))


def _chunks(resources: dict[str, str]) -> ScriptRequest:
    """Return nodes, GPUs and tasks of `select=2:ngpus=4:mpiprocs=4+1:...`, `nodes=2:ppn=4`, or job-wide `ngpus=8`."""
    select = resources.get("select") or (resources["nodes"] if resources.get("nodes", "")[:1].isdigit() else "")
    if not select:
        total = next((resources[name] for name in _GPUS if resources.get(name, "").isdigit()), None)
        return ScriptRequest(gpus=int(total) if total is not None else None)
    number, tasks, gpus, gpu_type = 0, 0, 0, None
    per_chunk: set[int] = set()
    for part in select.split("+"):
        head, *rest = part.split(":")
        count = int(head) if head.isdigit() else 1
        given = dict(item.partition("=")[::2] for item in (rest if head.isdigit() else [head, *rest]))
        own = next((given[name] for name in _GPUS if given.get(name, "").isdigit()), "0")
        processes = given.get("mpiprocs") or given.get("ppn") or "1"
        number, gpus = number + count, gpus + count * int(own)
        tasks += count * (int(processes) if processes.isdigit() else 1)
        per_chunk.add(int(own))
        for name, value in given.items():
            gpu_type = value if _GPU_TYPE.fullmatch(name) and value else gpu_type or gpu_name(value) or None
    # Only scattered chunks are on different nodes for certain: others may share a node.
    scattered = number == 1 or "nodes" in resources or "scatter" in resources.get("place", "")
    uniform = bool(gpus) and scattered and len(per_chunk) == 1
    return ScriptRequest(
        nodes=number if scattered else None,
        gpus_per_node=per_chunk.pop() if uniform else None,
        gpus=gpus or None,
        gpu_type=gpu_type,
        tasks=tasks,
    )


def _late(text: str) -> Iterator[str]:
    head, command = until_first_command(text, _NO_COMMAND, PREFIX)
    if command is None:
        return
    for number, line in list(enumerate(text.split("\n"), 1))[len(head) :]:
        if line.lstrip(" \t").startswith(PREFIX):
            yield late_warning("PBS", number, line, command)


def _directives(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line number and options of each directive up to the first command.

    qsub allows blanks before a directive, and continues one that ends in a backslash on the next line.
    """
    lines, _ = until_first_command(text, _NO_COMMAND, PREFIX)
    index = 0
    while index < len(lines):
        number, line = lines[index]
        index += 1
        bare = line.strip()
        if not bare.startswith(PREFIX):
            continue
        options = bare.removeprefix(PREFIX)
        while options.endswith("\\") and index < len(lines):
            more = lines[index][1].strip()
            options = f"{options[:-1]} {more.removeprefix(PREFIX)}"
            index += 1
        yield number, options

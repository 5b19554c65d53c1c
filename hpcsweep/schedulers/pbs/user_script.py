"""A user's own PBS script: what of its directives must be known to submit it once per run. Pure.

Its directives hold, as qsub reads them. But one -v on the command line replaces the script's, and the agent's clock
must know the walltime, which PBS tells no job.
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
_NO_COMMAND = re.compile(r":")  # qsub reads on after a line that begins with a colon
_GPUS = ("ngpus", "gpus", "ngpu", "gpu")
_GPU_TYPE = re.compile(r"(?:gpu|accel\w*)[_-]?(?:type|model|name)|accelerator", re.IGNORECASE)


def user_request(text: str, *, array_allowed: bool = False) -> ScriptRequest:
    """Return what the script requests. Raises SpecError for a job array or a walltime that PBS would not take."""
    resources: dict[str, tuple[int, str]] = {}
    for number, line in _directives(text):
        for option, value in _options(number, line):
            if option == "-J" and not array_allowed:
                raise SpecError(
                    f"line {number} of the script makes it a job array: {line.strip()!r}",
                    hint="hpcsweep submits the script once per run: leave out -J",
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
            raise SpecError(f"line {number} of the script: walltime={amount}: {exc}") from exc
    asked = _chunks({name: amount for name, (_, amount) in resources.items()})
    warnings = (*_late(text), *foreign_warnings(text, PREFIX, "PBS"))
    return replace(asked, walltime_s=walltime_s, warnings=warnings)


def user_variables(text: str, taken: Collection[str]) -> list[str]:
    """What the script's own -v carries, as it stands there: `A=1`, `B="x,y"`, `HOME`; without the names in `taken`.

    Of several directives the last one holds, as for qsub.
    """
    last = ""
    for _, line in _directives(text):
        for found in _VARIABLES.finditer(line):
            last = found[1]
    return [item for item in _ITEM.findall(last) if item.partition("=")[0] not in taken]


def directive_options(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, option, value) of each directive that qsub reads. Raises SpecError for one that is no option."""
    for number, line in _directives(text):
        for option, value in _options(number, line):
            yield number, option, value


def _options(number: int, line: str) -> list[tuple[str, str]]:
    try:
        words = shlex.split(without_comments(line))
    except ValueError as exc:
        raise SpecError(f"line {number} of the script: {exc}: {line.strip()!r}") from exc
    given = options_of(words, number)
    return list(zip(given[::2], given[1::2], strict=True))


def _chunks(resources: dict[str, str]) -> ScriptRequest:
    """Nodes, GPUs and tasks of `select=2:ngpus=4:mpiprocs=4+1:...`, of `nodes=2:ppn=4`, or of job-wide `ngpus=8`."""
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
    # Only a scattered chunk is surely a node of its own: others may share one.
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
    """Number and options of each directive; those after the first command are not read.

    qsub allows blanks before a directive, and continues one that ends in a backslash on the next line.
    """
    lines, _ = until_first_command(text, _NO_COMMAND, PREFIX)
    place = 0
    while place < len(lines):
        number, line = lines[place]
        place += 1
        bare = line.strip()
        if not bare.startswith(PREFIX):
            continue
        options = bare.removeprefix(PREFIX)
        while options.endswith("\\") and place < len(lines):
            more = lines[place][1].strip()
            options = f"{options[:-1]} {more.removeprefix(PREFIX)}"
            place += 1
        yield number, options

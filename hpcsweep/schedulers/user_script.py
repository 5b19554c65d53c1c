"""Read a user's own batch script, for any scheduler: what it requests, and lines without the intended effect.

Pure. Each scheduler reads its own directives; launchers that start several agents are detected here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcsweep.errors import SpecError
from hpcsweep.shell import SimpleCommand, script_commands, unquoted
from hpcsweep.units import counted, format_duration

if TYPE_CHECKING:  # the models, and with them pydantic, are not needed to query a scheduler
    from hpcsweep.spec.job import Resources

AGENT = re.compile(r"\bhpcsweep-node\b|\bhpcsweep\.node\.agent\b")
"""Commands that start the agent."""

_COUNTED = {
    "srun": ("-n", "--ntasks"),
    "mpirun": ("-n", "-np", "--n", "--np", "-c"),
    "mpiexec": ("-n", "-np", "--n", "--np"),
    "mpiexec.hydra": ("-n", "-np"),
    "orterun": ("-n", "-np"),
    "prterun": ("-n", "-np"),
    "aprun": ("-n",),
    "jsrun": ("-n", "--nrs", "-p", "--np"),
    "flux": ("-n", "--ntasks"),
    "pbsdsh": ("-c",),
    "pbs_tmrsh": (),
}
"""Launchers of parallel tasks -> their options for the number of tasks."""

_NODES = {"srun": ("-N", "--nodes"), "pbsdsh": (), "mpirun": (), "mpiexec": ()}
_SINGLE = {"pbsdsh": ("-n",), "pbs_tmrsh": ("",)}
"""Launchers that start a single task if this option is given; an empty option: always."""

_GPU_NAME = re.compile(
    r"(?:gpu[_-]?)?((?:v100|p100|t4|a10|a16|a30|a40|a100|l4|l40s?|h20|h100|h200|gh200|b200|b300|gb200|rtx\w*|mi\d{3}\w?)"
    r"(?:[-_.]\w+)*)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ScriptRequest:
    """Resources that the directives of a script request. None: not stated.

    `gpus`: the total of the job. `tasks`: number of processes that a launcher starts by default. `warnings`: lines that
    the scheduler will not read, or will read differently.
    """

    walltime_s: float | None = None
    nodes: int | None = None
    gpus_per_node: int | None = None
    gpus: int | None = None
    gpu_type: str | None = None
    tasks: int | None = None
    warnings: tuple[str, ...] = ()

    def resources(self, planned: "Resources") -> "Resources":
        """Return what the job gets: the script's values where it has them, else those of the experiment."""
        nodes = self.nodes or planned.nodes
        gpus = self.gpus_per_node
        if gpus is None and self.gpus is not None:
            gpus = -(-self.gpus // nodes)
        return planned.model_copy(
            update={
                "nodes": nodes,
                "gpus": planned.gpus if gpus is None else gpus,
                "gpu_type": self.gpu_type or planned.gpu_type,
                "walltime_s": self.walltime_s or planned.walltime_s,
            }
        )

    def differences(self, planned: "Resources") -> list[str]:
        """Return a sentence for each resource that the script requests differently from the experiment."""
        got = self.resources(planned)
        differences = []
        if got.nodes != planned.nodes:
            differences.append(f"{counted(got.nodes, 'node')}, the experiment {planned.nodes}")
        if got.gpus != planned.gpus and got.gpus * got.nodes != planned.gpus * planned.nodes:
            kind = f" {self.gpu_type}" if self.gpu_type else ""
            differences.append(f"{got.gpus}{kind} GPUs per node, the experiment {planned.gpus}")
        if self.gpu_type and planned.gpu_type and not same_gpu_type(self.gpu_type, planned.gpu_type):
            differences.append(f"GPUs of type {self.gpu_type}, the experiment {planned.gpu_type}")
        if abs(got.walltime_s - planned.walltime_s) >= 1:
            ours = format_duration(planned.walltime_s)
            differences.append(f"a walltime of {format_duration(got.walltime_s)}, the experiment {ours}")
        return [f"the script requests {difference}; the script's value is used" for difference in differences]


def same_gpu_type(name: str, other: str) -> bool:
    """Return whether two names can mean the same GPU type: `a100` and `A100-SXM4-80GB`, but not `h100` and `h200`."""
    first, second = (re.split(r"[^a-z0-9]+", text.lower()) for text in (name, other))
    return set(first) <= set(second) or set(second) <= set(first)


def gpu_name(word: str) -> str | None:
    """Return the GPU type in a constraint or resource value, such as `a100`. None: it contains none."""
    match = _GPU_NAME.fullmatch(word.strip())
    return match[1] if match else None


def starts_agent(text: str) -> bool:
    """Return whether the script starts the agent; for a script that is not for a shell, whether it mentions it."""
    if not _is_shell(text):
        return AGENT.search(text) is not None
    return any(AGENT.search(command.text) for command in script_commands(text))


def _is_shell(text: str) -> bool:
    return re.match(r"#!.*\b(?:python|perl|ruby|julia|lua|node|Rscript)", text) is None


def check_agents(text: str, tasks: int | None) -> None:
    """Raise SpecError if a launcher in the script starts several agents for one run.

    `tasks`: number of processes that a launcher starts by default; None: unknown, then nothing is rejected.
    """
    for command in script_commands(text) if _is_shell(text) else ():
        launched = _launched(command, tasks)
        if launched is not None and launched[1] > 1:
            launcher, number = launched
            raise SpecError(
                f"line {command.line.first} of the script starts {number} agents for one run: {command.text!r}",
                code="several_agents",
                hint=f"start hpcsweep-node without {launcher}; it starts the server with all GPUs of its node",
            )


def late_warning(scheduler: str, number: int, line: str, command: int) -> str:
    """Return the warning about a directive that is not read because a command precedes it."""
    return (
        f"{scheduler} does not read line {number} of the script, {line.strip()!r}: it comes after a command "
        f"(line {command}); move it up"
    )


def _launched(command: SimpleCommand, tasks: int | None) -> tuple[str, int] | None:
    """Return (launcher, number of agents) of a command. None: it launches no agent, or their number is unknown."""
    words = [unquoted(word) for word in command.words]
    agent = next((i for i, word in enumerate(words) if AGENT.search(word)), None)
    launcher = next((i for i, word in enumerate(words[:agent]) if _name(word) in _COUNTED), None)
    if agent is None or launcher is None:
        return None
    name, options = _name(words[launcher]), words[launcher + 1 : agent]
    if any(option == "" or _option(options, option) is not None for option in _SINGLE.get(name, ())):
        return name, 1
    given = [value for option in _COUNTED[name] if (value := _option(options, option)) is not None]
    if given:
        return (name, int(given[-1])) if given[-1].isdigit() else None
    nodes = [value for option in _NODES.get(name, ()) if (value := _option(options, option)) is not None]
    per_node = _option(options, "--ntasks-per-node")
    if nodes or per_node is not None:  # srun -N2: one task on each; without -N on one node at least
        given = [nodes[-1] if nodes else "1", per_node or "1"]
        return (name, int(given[0]) * int(given[1])) if all(number.isdigit() for number in given) else None
    return (name, tasks) if tasks is not None else None


def _name(word: str) -> str:
    return word.rpartition("/")[2]


def _option(words: Sequence[str], option: str) -> str | None:
    """Return the value of an option, given as `-n 4`, `-n4`, `--ntasks 4` or `--ntasks=4`. None: it is not given."""
    value = None
    for index, word in enumerate(words):
        if word == option:
            value = words[index + 1] if index + 1 < len(words) else ""
        elif option.startswith("--") and word.startswith(f"{option}="):
            value = word.partition("=")[2]
        elif not option.startswith("--") and len(option) == 2 and word.startswith(option) and word[2:3].isdigit():
            value = word[2:]
    return value


def until_first_command(
    text: str, ignored: re.Pattern[str] | None = None, continued: str | None = None
) -> tuple[list[tuple[int, str]], int | None]:
    """Return (number, line) of the lines before the first command, and the line number of the command, or None.

    `ignored`: lines other than blank ones and comments after which directives are still read. `continued`: prefix of
    directives that a trailing backslash continues on the next line.
    """
    lines = list(enumerate(text.split("\n"), 1))
    open_directive = False
    for index, (number, line) in enumerate(lines):
        bare = line.strip()
        part = open_directive
        open_directive = line.endswith("\\") and (part or (continued is not None and bare.startswith(continued)))
        if bare and not part and not bare.startswith("#") and not (ignored is not None and ignored.match(line)):
            return lines[:index], number
    return lines, None


def foreign_warnings(text: str, prefix: str, scheduler: str) -> Iterator[str]:
    """Yield a warning if the script has directives of another scheduler only."""
    lines = text.split("\n")
    if any(line.strip().startswith(prefix) for line in lines):
        return
    for other in ("#SBATCH", "#PBS", "#BSUB", "#$ -"):
        number = next((n for n, line in enumerate(lines, 1) if line.startswith(other)), None)
        if other != prefix and number is not None:
            yield f"{scheduler} does not read {other} lines such as line {number}: use {prefix} lines"

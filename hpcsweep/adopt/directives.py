"""Convert the directives of a script to resources of an experiment and lines of a template."""

from dataclasses import dataclass, field

from hpcsweep.errors import SpecError
from hpcsweep.schedulers.pbs import user_script as pbs_user_script
from hpcsweep.schedulers.slurm import user_script as slurm_user_script
from hpcsweep.schedulers.user_script import ScriptRequest
from hpcsweep.units import parse_bytes

_SLURM_OURS = frozenset({
    "job-name", "output", "error", "open-mode", "comment", "export", "array", "time", "ntasks", "ntasks-per-node",
    "cpus-per-task", "signal", "requeue", "no-requeue", "parsable", "wait", "chdir",
})  # fmt: skip
_PBS_OURS = frozenset(["-N", "-o", "-e", "-j", "-k", "-J", "-r", "-v", "-V", "-S", "-m", "-M"])


@dataclass
class ScriptDirectives:
    """The contents of the directives. `lines`: for a template, without the prefix. `job_name`: empty if not given.

    `parameters`: variables that `#PBS -v` or `--export` set, with their values. `unclear`: (line, sentence).
    """

    scheduler: str
    request: ScriptRequest
    cpus: int | None = None
    memory: str | None = None
    job_name: str = ""
    lines: list[str] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    unclear: list[tuple[int, str]] = field(default_factory=list)


def scheduler_of(text: str) -> str | None:
    """Return `slurm` or `pbs` by the directives of a script; None: it does not have any."""
    lines = text.split("\n")
    counts = {name: sum(line.lstrip().startswith(prefix) for line in lines) for name, prefix in
              (("slurm", "#SBATCH"), ("pbs", "#PBS"))}  # fmt: skip
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else None


def read_directives(text: str) -> ScriptDirectives:
    """Read the directives of a script. Raises SpecError for a directive that the scheduler would reject."""
    scheduler = scheduler_of(text)
    if scheduler == "slurm":
        return _slurm(text)
    if scheduler == "pbs":
        return _pbs(text)
    return ScriptDirectives("local", ScriptRequest())


def _slurm(text: str) -> ScriptDirectives:
    directives = ScriptDirectives("slurm", slurm_user_script.user_request(text, array_allowed=True))
    given: dict[str, str] = {}
    lines: dict[str, str] = {}
    for number, option, value in slurm_user_script.directive_options(text):
        given[option] = value
        if option == "array":
            directives.unclear.append((number, f"--array={value} is not adopted: hpcsweep creates the job array"))
        elif option in _SLURM_OURS:
            continue
        else:
            lines[option] = f"--{option}={value}" if value else f"--{option}"
    directives.job_name = given.get("job-name", "")
    directives.lines = list(lines.values())
    per_task, tasks = given.get("cpus-per-task", ""), directives.request.tasks or 1
    per_node = max(1, tasks // (directives.request.nodes or 1))
    if per_task.isdigit():
        directives.cpus = int(per_task) * per_node
        directives.lines.append(f"--cpus-per-task={directives.cpus}")
    directives.memory = _memory(given.get("mem", ""), "M")
    _variables(directives, given.get("export", ""))
    _warn(directives)
    return directives


def _pbs(text: str) -> ScriptDirectives:
    directives = ScriptDirectives("pbs", pbs_user_script.user_request(text, array_allowed=True))
    select = ""
    for number, option, value in pbs_user_script.directive_options(text):
        if option == "-N":
            directives.job_name = value
        elif option == "-J":
            directives.unclear.append((number, f"-J {value} is not adopted: hpcsweep creates the job array"))
        elif option == "-v":
            _variables(directives, value)
        elif option == "-l":
            items = [item for item in value.split(",") if not item.startswith("walltime=")]
            directives.lines += [f"-l {item}" for item in items]
            select = next((item.partition("=")[2] for item in items if item.startswith("select=")), select)
        elif option not in _PBS_OURS:
            directives.lines.append(f"{option} {value}".strip())
    chunk = dict(item.partition("=")[::2] for item in select.partition("+")[0].split(":"))
    cpus = chunk.get("ncpus", "")
    directives.cpus = int(cpus) if cpus.isdigit() and directives.request.nodes is not None else None
    directives.memory = _memory(chunk.get("mem", ""), "") if directives.request.nodes is not None else None
    _warn(directives)
    return directives


def _variables(directives: ScriptDirectives, text: str) -> None:
    for item in text.split(","):
        name, sep, value = item.partition("=")
        if sep:
            directives.parameters[name.strip()] = value.strip("\"'")


def _memory(text: str, unit: str) -> str | None:
    """Return the size as written in an experiment file; None: not given, or 0 (all)."""
    try:
        size_bytes = parse_bytes(text if not text.isdigit() else f"{text}{unit}")
    except (ValueError, SpecError):
        return None
    return (text if not text.isdigit() else f"{text}{unit}") if size_bytes else None


def _warn(directives: ScriptDirectives) -> None:
    directives.unclear += [(0, warning) for warning in directives.request.warnings]

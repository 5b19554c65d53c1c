"""The shell text that starts an exported server: in its container, and the part of each node. Pure but for run.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from hpcsweep.analysis.decision.commands import PartCommand, from_variable, shell_text, shell_word
from hpcsweep.atomic_files import read_json
from hpcsweep.containers.base import GpuKind
from hpcsweep.containers.launch import ContainerLaunch, node_command
from hpcsweep.spec.container import Bind
from hpcsweep.spec.records import CONTAINER_KEY, RUN_FILE

SERVE_DIR = "SERVE_DIR"
"""Variable of the shell: a new folder on the node, for files of the server; in a container also its home folder."""
_VISIBLE_GPUS = {GpuKind.NVIDIA: "CUDA_VISIBLE_DEVICES", GpuKind.ROCM: "ROCR_VISIBLE_DEVICES"}
_NODE_NAME, _CPUS = "SLURMD_NODENAME", "SLURM_CPUS_ON_NODE"


@dataclass(frozen=True)
class MeasuredContainer:
    """The container of the measurement. `launch` None: only its `name`, `RUNTIME IMAGE`, was recorded."""

    name: str
    launch: ContainerLaunch | None = None


@dataclass(frozen=True)
class Start:
    """What a shell executes on one node. `passed`: variable -> variable of the job with its value, if that is set."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    passed: Mapping[str, str] = field(default_factory=dict)
    in_folder: bool = False

    def preparation(self) -> str:
        """Return the lines before the command."""
        lines = [f'{SERVE_DIR}="$(mktemp -d)" || exit 1\ncd "${SERVE_DIR}" || exit 1\n'] if self.in_folder else []
        lines += [files_text(self.files)]
        for name, source in self.passed.items():
            lines.append(f'if [ -n "${{{source}:-}}" ]; then export {name}="${source}"; fi\n')
        return "".join(lines)

    def command(self) -> str:
        """Return the lines that execute the command with its variables."""
        return self.preparation() + shell_text(self.argv, self.env) + "\n"

    def replacing(self) -> str:
        """Return the lines that replace the shell by the command, which then gets its signals."""
        exports = "".join(f"export {name}={shell_word(value)}\n" for name, value in sorted(self.env.items()))
        return f"{self.preparation()}{exports}exec {shell_text(self.argv, {})}\n"


def measured_launch(attempt_dir: str) -> ContainerLaunch | None:
    """Return the container that an attempt recorded; None: it had none, or its folder is not readable here."""
    record = read_json(Path(attempt_dir) / RUN_FILE) or {}
    try:
        return ContainerLaunch.model_validate(record[CONTAINER_KEY]) if CONTAINER_KEY in record else None
    except ValidationError:
        return None


def start_of(
    part: PartCommand,
    files: Mapping[str, str],
    launch: ContainerLaunch | None,
    *,
    secrets: tuple[str, ...] = (),
    job_env: Mapping[str, str],
    cpus: int | None = None,
    name: str = "",
) -> Start:
    """Return what starts a part on its node. `launch` None: without a container.

    `secrets`: variables whose values are taken from the environment. `job_env`: variables that the script exports.
    `cpus`: of the job on a node; None: unknown. `name`: unique for each part.
    """
    if launch is None:
        return Start(part.argv, part.env, files, in_folder=bool(files))
    runtime, folder = launch.adapter(), from_variable(SERVE_DIR)
    # A step of Slurm in a job needs the name and the CPUs of its node.
    step = {_NODE_NAME: from_variable(_NODE_NAME), _CPUS: str(cpus or "")} if runtime.schedulers is not None else {}
    stays = launch.workdir != launch.scratch and not _of_an_attempt(launch.workdir) and not files
    moved = launch.model_copy(
        update={
            "scratch": folder,
            "workdir": launch.workdir if stays else folder,
            "binds": [Bind(source=folder, target=folder), *launch.lasting_binds],
        }
    )
    visible = _VISIBLE_GPUS.get(launch.gpus)
    marked = {visible: from_variable(visible)} if visible else {}
    values = {**job_env, **marked, **part.env, **{secret: from_variable(secret) for secret in secrets}}
    command = node_command(moved, part.argv, values, values.keys() - job_env.keys(), name=name, host=step)
    passed = {key: visible for key, value in command.environment.items() if visible and value == from_variable(visible)}
    env = {key: value for key, value in command.environment.items() if key not in passed and key not in step}
    return Start(command.argv, env, {**files, **command.files}, passed, in_folder=True)


def _of_an_attempt(folder: str) -> bool:
    """Return whether a folder is that of an attempt, which is the default of a container's working folder."""
    return Path(folder).name.startswith("attempt-") and Path(folder).parent.parent.name == "runs"


def files_text(files: Mapping[str, str]) -> str:
    """Return shell text that writes the files verbatim, but for variables of `from_variable` in them."""
    return "".join(_file_text(name, text) for name, text in files.items())


def _file_text(name: str, text: str) -> str:
    if "\0" in text:
        return f"printf '%s' {shell_word(text)} > {shell_word(name)}\n"
    end = "END_OF_FILE"
    while end in text:
        end += "_"
    return f"cat > {shell_word(name)} <<'{end}'\n{text.rstrip()}\n{end}\n"

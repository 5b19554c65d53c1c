"""Build the environment of the server, and its command as text for a shell."""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence

from hpcsweep.load.config import API_KEY_VARIABLE
from hpcsweep.spec.secret_values import HIDDEN as HIDDEN
from hpcsweep.spec.secret_values import masked_env

_OF_THE_NODE = re.compile(
    r"(?:SLURM|SLURMD|SRUN|PBS|PALS|PMI|PMIX|OMPI|HYDI?|HYDRA|MPIR|FLUX|LSB|LSF|SSH|XDG|APPTAINERENV|CUDA_MPS)_\w*"
    r"|HOSTNAME|HOST|PWD|OLDPWD|SHLVL|_|TMPDIR|TMP|TEMP|TERM|DISPLAY|PMIX?_?\w*"
    r"|(?:CUDA|NVIDIA|HIP|ROCR)_VISIBLE_DEVICES|ZE_AFFINITY_MASK|GPU_DEVICE_ORDINAL|HPCSWEEP_SERVER_PORT"
)
"""Variables that describe one node or process: those of the head node would be wrong on another one."""

_OF_THE_LAUNCHER = re.compile(
    r"(?:PMI|PMIX|PALS|HYDI?|HYDRA)_\w*|MPI_LOCALN?RANK(?:ID|S)|MPIR_CVAR_CH3_INTERFACE_HOSTNAME"
)
"""Variables that connect a process with the launcher that started it, which are not valid for its children."""


def server_environment(
    inherited: Mapping[str, str], exports: Mapping[str, str], launch: Mapping[str, str], cache: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the environment of the server without its key, and the part that was set for it, with secrets masked.

    Cache folders that the experiment sets take precedence. Variables with the name of a secret are passed on, but
    masked in records.
    """
    ours = {**exports, **cache, **launch}
    whole = {**inherited, **ours}
    whole.pop(API_KEY_VARIABLE, None)
    return whole, masked_env(ours)


def without_names(environment: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return the environment without these variables, such as secrets for a process that does not need them."""
    return {name: value for name, value in environment.items() if name not in names}


def shared_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the head node that are valid on every node."""
    return {name: value for name, value in env.items() if not _OF_THE_NODE.fullmatch(name)}


def without_launcher(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an agent without those of its launcher, with which an MPI library in the engine fails."""
    return {name: value for name, value in env.items() if not _OF_THE_LAUNCHER.fullmatch(name)}


def shown_environment(server_env: Mapping[str, str], exports: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to write down: without secrets, and without the axes' exports, which engines do not read."""
    return {name: value for name, value in server_env.items() if name not in exports and value != HIDDEN}


def command_text(argv: Sequence[str], shown: Mapping[str, str]) -> str:
    """Return command.txt: a command for a shell, with its variables."""
    lines = [f"{name}={shlex.quote(value)} \\" for name, value in sorted(shown.items())]
    return "\n".join([*lines, shlex.join(argv)]) + "\n"

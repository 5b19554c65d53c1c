"""Files by which the head agent starts the agents of other nodes; only their user can read them.

`ranks/link.json`: where the head agent listens, and the token. `ranks/environment.json`: the environment of the server,
with its secrets, which is removed as soon as every rank has read it. Both are in the attempt's folder, which the nodes
share.
"""

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpcsweep.errors import HpcsweepError

RANKS_DIR = "ranks"
LINK_FILE = "link.json"
ENVIRONMENT_FILE = "environment.json"
_VISIBLE_WITHIN_S = 30.0
"""NFS clients may see a new file some seconds late (`man 5 nfs`, acdirmax)."""

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


@dataclass(frozen=True)
class LinkFile:
    """What an agent of another node needs to find its head agent. `pid`: of the head agent, for the guardian."""

    pid: int
    token: str
    port: int
    addresses: list[str]
    job_dir: str
    label: str


@dataclass(frozen=True)
class EnvironmentFile:
    """Environment of the server on every node. `secret_names`: variables whose values are masked in logs."""

    pid: int
    variables: dict[str, str]
    secret_names: list[str]
    key: str | None


def ranks_dir(attempt_dir: Path) -> Path:
    """Return the folder of the other nodes' parts of an attempt."""
    return attempt_dir / RANKS_DIR


def rank_dir(attempt_dir: Path, rank: int) -> Path:
    """Return the folder with the log and the diagnostics of one rank."""
    return ranks_dir(attempt_dir) / str(rank)


def shared_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the head node that are valid on every node."""
    return {name: value for name, value in env.items() if not _OF_THE_NODE.fullmatch(name)}


def without_launcher(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an agent without those of its launcher, with which an MPI library in the engine fails."""
    return {name: value for name, value in env.items() if not _OF_THE_LAUNCHER.fullmatch(name)}


def write_private(path: Path, record: LinkFile | EnvironmentFile) -> None:
    """Write a file that only its owner can read. Raises OSError."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(asdict(record), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def read_link_file(attempt_dir: Path) -> LinkFile:
    """Read `link.json`. Raises HpcsweepError."""
    return LinkFile(**_read(ranks_dir(attempt_dir) / LINK_FILE, LinkFile.__dataclass_fields__.keys()))


def read_environment_file(attempt_dir: Path) -> EnvironmentFile:
    """Read `environment.json`. Raises HpcsweepError."""
    path = ranks_dir(attempt_dir) / ENVIRONMENT_FILE
    return EnvironmentFile(**_read(path, EnvironmentFile.__dataclass_fields__.keys()))


def _read(path: Path, names: Sequence[str] | Any) -> dict[str, Any]:
    deadline_s = time.monotonic() + _VISIBLE_WITHIN_S
    while True:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            break
        except FileNotFoundError as exc:
            if time.monotonic() > deadline_s:
                raise _unusable(path, "does not exist on this node") from exc
            time.sleep(0.2)
        except OSError as exc:
            raise _unusable(path, f"cannot be read: {exc.strerror}") from exc
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise _unusable(path, "is not a private file of this user")
        content = json.loads(file.read())
    return {name: content[name] for name in names}


def _unusable(path: Path, problem: str) -> HpcsweepError:
    return HpcsweepError(
        f"{path} {problem}",
        code="rank_file_unusable",
        hint="the nodes of a job must share HPCSWEEP_HOME, with the same user",
    )

"""Files by which the head agent starts the agents of other nodes; only their user can read them.

`ranks/link.json`: where the head agent listens, and the token. `ranks/environment.json`: the environment of the server,
with its secrets, which is removed as soon as every rank has read it. Both are in the attempt's folder, which the nodes
share.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpcsweep.errors import HpcsweepError
from hpcsweep.node.records import ranks_dir

LINK_FILE = "link.json"
ENVIRONMENT_FILE = "environment.json"
_VISIBLE_WITHIN_S = 30.0
"""NFS clients may see a new file some seconds late (`man 5 nfs`, acdirmax)."""


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

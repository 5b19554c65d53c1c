"""Assign the GPUs of this machine to array tasks, across all sweeps and users of one HPCSWEEP_HOME."""

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hpcsweep.errors import SchedulerError
from hpcsweep.hosts.local import LocalHost

_NVIDIA_SMI_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Taken:
    """GPUs that are assigned until their files are closed."""

    names: list[str]
    files: list[IO[str]]


class GpuSlots:
    """One lock file per GPU. Without GPUs, `count` is 0 and nothing is assigned."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder, self._names = folder, list(names)

    @classmethod
    def of_this_machine(cls, home: Path) -> "GpuSlots":
        """Return the GPUs that this process may use: CUDA_VISIBLE_DEVICES, else all that nvidia-smi lists."""
        return cls(home / "gpu-slots", visible_gpus())

    @property
    def count(self) -> int:
        """Number of GPUs."""
        return len(self._names)

    def take(self, number: int) -> Taken | None:
        """Take `number` free GPUs; None: fewer are free, and none was taken. Raises SchedulerError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        names: list[str] = []
        files: list[IO[str]] = []
        for name in self._names:
            if len(files) == number:
                break
            stream = (self._folder / f"{name}.lock").open("a")
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.close()
                continue
            except OSError as exc:
                raise SchedulerError(
                    f"{self._folder / name}.lock cannot be locked: {exc.strerror}", code="gpu_lock_unusable"
                ) from exc
            names.append(name)
            files.append(stream)
        if len(files) == number:
            return Taken(names, files)
        for held in files:
            held.close()
        return None


def visible_gpus() -> list[str]:
    """Return names for CUDA_VISIBLE_DEVICES of the GPUs that this process may use."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in (part.strip() for part in given.split(",")) if name and name != "-1"]
    answer = LocalHost().run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], timeout_s=_NVIDIA_SMI_TIMEOUT_S
    )
    return [line.strip() for line in answer.stdout.splitlines() if line.strip().isdigit()]

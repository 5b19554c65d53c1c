"""What a preparation creates: whether it exists already, and a lock so that it is created once at a time.

The lock and the mark of an unfinished creation are hidden files next to the path that is created, so that all sweeps,
homes and users that prepare the same path see them. Both are removed when the path is complete.
"""

import hashlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from hpcsweep.atomic_files import write_json
from hpcsweep.node.identity import Identity
from hpcsweep.node.process.file_lock import FileLock
from hpcsweep.spec.job import JobSpec, PreparationJob
from hpcsweep.units import counted, format_bytes

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class Creation:
    """The path that a preparation creates. `path` None: its commands create nothing that could be looked for."""

    def __init__(self, job: JobSpec, step: PreparationJob, identity: Identity, env: Mapping[str, str]) -> None:
        """Raise ValueError when the path is not absolute on this node."""
        self._identity, self._purpose = identity, f"preparation {step.name} of {job.sweep}"
        self.path = expanded(step.creates, env) if step.creates else None
        if self.path is not None:
            self._mark: Path | None = self.path.with_name(f".{self.path.name}.hpcsweep-unfinished")
            lock_path = self.path.with_name(f".{self.path.name}.hpcsweep-lock")
        else:
            self._mark = None
            digest = hashlib.sha256(f"{job.sweep_dir}\0{step.name}".encode()).hexdigest()[:16]
            lock_path = Path(job.cache_dir) / "preparations" / f"{digest}.lock"
        self.lock = FileLock(lock_path, identity, purpose=self._purpose)

    def found(self) -> str | None:
        """Return what exists at the path, as evidence; None: nothing, or what another preparation did not finish.

        What is being created by another process has the mark, and is not found.
        """
        if self.path is None or self._mark is None or self._mark.exists():
            return None
        return described(self.path)

    def unfinished(self) -> bool:
        """Return whether an earlier preparation began to create the path and did not finish."""
        return self._mark is not None and self._mark.exists()

    def begin(self) -> None:
        """Mark the path as unfinished. The caller holds the lock. Raises OSError."""
        if self._mark is not None:
            self._mark.parent.mkdir(parents=True, exist_ok=True)
            content = {"purpose": self._purpose, "host": self._identity.host, "begun_at": time.time()}
            write_json(self._mark, content)

    def finish(self) -> None:
        """Remove the mark, because the path is complete. Raises OSError."""
        if self._mark is not None:
            self._mark.unlink(missing_ok=True)


def expanded(path: str, env: Mapping[str, str]) -> Path:
    """Return a path with `~`, `$NAME` and `${NAME}` replaced. Raises ValueError when the result is not absolute."""
    text = _VARIABLE.sub(lambda match: env.get(match[1] or match[2], match[0]), path)
    result = Path(text).expanduser()
    if not result.is_absolute() or _VARIABLE.search(text):
        raise ValueError(f"{path} is not an absolute path on this node: {text}")
    return Path(os.path.normpath(result))


def described(path: Path) -> str | None:
    """Return size and time of a file, or the number of entries of a folder; None: it is missing or empty.

    An empty folder does not count as created, because people make the folder before they fill it.
    """
    try:
        status = path.stat()
        entries = sum(1 for _ in path.iterdir()) if path.is_dir() else 0
    except OSError:
        return None
    if not (entries or (status.st_size and not path.is_dir())):
        return None
    size = counted(entries, "item") if path.is_dir() else format_bytes(status.st_size)
    changed = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.st_mtime))
    return f"{path} exists: {size}, changed {changed}"

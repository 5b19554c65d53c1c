"""Read the job's memory cgroup: its limit, and how many of its processes the OOM killer has killed.

Read from /proc/self/cgroup and below /sys/fs/cgroup (`man 7 cgroups`; memory.events of version 2, memory.oom_control
of version 1). Schedulers that confine jobs by cgroups (Slurm's task/cgroup, the cgroup hook of PBS) put the agent and
its child processes into such a group.
"""

from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_UNLIMITED_BYTES = 1 << 60
"""Version 1 uses a number near 2**63 for "no limit"."""


class MemoryCgroup:
    """The memory cgroup of this process. `root`, `membership`: paths of the kernel's files, which tests replace."""

    def __init__(self, root: Path = _ROOT, membership: Path = Path("/proc/self/cgroup")) -> None:
        self._folder: Path | None = None
        self._top = root
        try:
            lines = membership.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            _, controllers, path = line.split(":", 2)
            below = path.strip("/")
            if "memory" in controllers.split(","):
                self._top = root / "memory"
            elif controllers:
                continue
            folder = self._top / below
            # In a container the path may be that of the host, while the group is mounted at the root.
            self._folder = folder if folder.is_dir() else self._top
            if self._events():
                return

    def kills(self) -> int | None:
        """Return how many processes of the group the OOM killer has killed so far. None: unknown."""
        for line in self._events():
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdigit():
                return int(count)
        return None

    def limit_bytes(self) -> int | None:
        """Return the smallest memory limit of the group and those above it. None: there is none."""
        limits = [limit for limit in self._limits() if limit < _UNLIMITED_BYTES]
        return min(limits, default=None)

    def _events(self) -> list[str]:
        for name in ("memory.events", "memory.oom_control"):
            if self._folder is not None:
                try:
                    return (self._folder / name).read_text(encoding="ascii").splitlines()
                except OSError:
                    continue
        return []

    def _limits(self) -> Iterator[int]:
        folder = self._folder
        while folder is not None and folder.is_relative_to(self._top):
            for name in ("memory.max", "memory.limit_in_bytes"):
                try:
                    text = (folder / name).read_text(encoding="ascii").strip()
                except OSError:
                    continue
                if text.isdigit():
                    yield int(text)
            folder = folder.parent

"""Resource counters of a process from /proc (`man 5 proc`), from which progress signals are derived."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.node.process.processes import Process

STOPPED_STATES = "Tt"
READY_STATE = "R"
"""The kernel's letter for a process that runs or is waiting for a core."""
_IO = {"rchar": 0, "wchar": 0, "read_bytes": 0, "syscr": 1, "syscw": 1}


@dataclass(frozen=True)
class Counters:
    """One process at one moment. Counters only increase; `state`, `rss_bytes` and `threads` vary.

    `cpu_s`, `faults`: including children that it has waited for, so that a compiler that runs between two snapshots is
    counted. `faults`: minor and major page faults. `io_bytes`: read and written by system calls, or read from a disk
    through a mapping (`read_bytes`); without sockets. `io_calls`: read and write calls. `switches`: voluntary context
    switches over all threads; None: not read.
    """

    pid: int
    started: int
    state: str = "S"
    cpu_s: float = 0.0
    faults: int = 0
    io_bytes: int = 0
    io_calls: int = 0
    switches: int | None = None
    rss_bytes: int = 0
    threads: int = 1


def read_counters(processes: Iterable[Process], *, switches: bool = False) -> dict[int, Counters]:
    """Return pid -> counters now. `switches`: read context switches too (one file per thread)."""
    return {process.pid: _read(process, switches) for process in processes}


def _read(process: Process, switches: bool) -> Counters:
    io_bytes, io_calls = _io(process.pid)
    return Counters(
        pid=process.pid,
        started=process.started,
        state=process.state,
        cpu_s=process.cpu_s,
        faults=process.faults,
        io_bytes=io_bytes,
        io_calls=io_calls,
        switches=_switches(process.pid) if switches else None,
        rss_bytes=process.rss_bytes,
        threads=process.threads,
    )


def _io(pid: int) -> tuple[int, int]:
    """Return bytes and calls; zeros for another user's process and for one that has exited."""
    sums = [0, 0]
    for name, value in _named(Path(f"/proc/{pid}/io")).items():
        if name in _IO:
            sums[_IO[name]] += int(value)
    return sums[0], sums[1]


def _switches(pid: int) -> int | None:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return None
    return sum(int(_named(task / "status").get("voluntary_ctxt_switches", 0)) for task in tasks)


def _named(path: Path) -> Mapping[str, str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name: value.strip() for name, _, value in pairs}

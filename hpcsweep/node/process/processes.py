"""Read processes from /proc (`man 5 proc`), and send signals to them. Linux only."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcsweep.foreign_files import integer_or_none

TOKEN_VARIABLE = "HPCSWEEP_ATTEMPT_TOKEN"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Process:
    """One running process. `started`: clock ticks since boot; together with the pid it is unique.

    `cpu_s`, `faults` (page faults, minor and major): including children that it has waited for. `state`: the kernel's
    letter: R running, S sleeping, D waiting for a device, T stopped.
    """

    pid: int
    ppid: int
    group: int
    session: int
    name: str
    cpu_s: float
    started: int
    state: str = "S"
    faults: int = 0
    rss_bytes: int = 0
    threads: int = 1

    def __str__(self) -> str:
        return f"{self.pid} {self.name}"


def become_subreaper() -> None:
    """Make orphaned descendants children of this process instead of init."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Let the kernel kill this child when the thread that started it ends. Called between fork and exec."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def lead_group() -> None:
    """Make this child, which stays in the session, the leader of a process group; then as `die_with_parent`."""
    os.setpgid(0, 0)
    die_with_parent()


def read_process(pid: int) -> Process | None:
    """Return a process; None: it has exited, or is a zombie."""
    fields = _stat_fields(pid)
    if len(fields) < 22 or fields[0] in "ZX":
        return None
    ticks = sum(int(field) for field in fields[11:15])
    faults = sum(int(field) for field in fields[7:11])
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    return Process(
        pid, int(fields[1]), int(fields[2]), int(fields[3]), name, ticks / _TICKS_PER_S, int(fields[19]),
        fields[0], faults, int(fields[21]) * _PAGE_BYTES, int(fields[17]),
    )  # fmt: skip


def process_lives(pid: int | None, started_ticks: int | None) -> bool:
    """Return whether the process with this pid and start time, recorded on this host since its boot, is running."""
    process = read_process(pid) if pid is not None and pid > 0 else None
    return process is not None and process.started == started_ticks


def recorded_process_lives(record: Mapping[str, Any]) -> bool:
    """Return `process_lives` for the `pid` and `started_ticks` of a JSON object."""
    return process_lives(integer_or_none(record.get("pid")), integer_or_none(record.get("started_ticks")))


def own_processes() -> list[Process]:
    """Return all running processes of this user."""
    uid = os.getuid()
    processes = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid != uid:
                    continue
            except OSError:
                continue
            process = read_process(int(entry.name))
            if process is not None:
                processes.append(process)
    return processes


def environment(pid: int) -> dict[str, str]:
    """Return the environment with which a process was started; empty: it has exited, or has overwritten it."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    pairs = (entry.decode(errors="replace").partition("=") for entry in entries)
    return {name: value for name, equals, value in pairs if equals}


def carries(pid: int, token: str) -> bool:
    """Return whether the process was started with this token in its environment."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{TOKEN_VARIABLE}={token}".encode() in entries.split(b"\0")


def command_line(pid: int) -> str:
    """Return the command line of a process, separated by spaces; empty: it has exited."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def wait_channel(pid: int) -> str:
    """Return the kernel function in which a process sleeps; empty: it does not sleep, or it is unknown."""
    try:
        name = Path(f"/proc/{pid}/wchan").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
    return "" if name == "0" else name


def send(pid: int, signum: int, *, group: bool = False) -> None:
    """Send a signal to a process, or to the group that it leads. A process that has exited is ignored."""
    try:
        if group:
            os.killpg(pid, signum)
        else:
            os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return


def reap_orphans(waited_for: Collection[int]) -> None:
    """Reap dead children that were re-parented to this process, except those of `waited_for`."""
    me = os.getpid()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) in waited_for:
            continue
        fields = _stat_fields(int(entry.name))
        if fields and fields[0] == "Z" and int(fields[1]) == me:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(int(entry.name), os.WNOHANG)


def _stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name (state, ppid ...); empty: no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()

"""Identify the agent: its job as the scheduler names it, the host, the start of the job, and when the job began."""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.schedulers.registry import scheduler_of


@dataclass(frozen=True)
class Identity:
    """One start of one job on one host.

    `job_id` None: the agent was started manually. `boot_id`: changes with every reboot of the host. `host`: the name
    that the scheduler uses, by which the node can be excluded.
    """

    job_id: str | None
    host: str
    boot_id: str
    pid: int
    started_ticks: int
    restart_count: int

    def as_dict(self) -> dict[str, str | int | None]:
        """Return the fields as plain values, for a record on disk."""
        return dict(vars(self))


def job_id(env: Mapping[str, str]) -> str | None:
    """Return HPCSWEEP_JOB_ID, or the scheduler's id: `12`, `12_3` (Slurm), `12[3].server` (PBS). None: no scheduler."""
    if env.get("HPCSWEEP_JOB_ID"):
        return env["HPCSWEEP_JOB_ID"]
    scheduler = scheduler_of(env)
    if scheduler is None:
        return None
    names = scheduler.environment
    array, index = env.get(names.array_job_id), env.get(names.array_index, "")
    if names.composed_task_id and array and index.isdigit():
        return scheduler.array_task_id(array, int(index))
    return env[names.job_id]


def tracked_by_session(env: Mapping[str, str]) -> bool:
    """Return whether the scheduler counts only the processes of the job's session as the job, as PBS does.

    A process outside the session is not suspended with the job, and its CPU time and memory are not counted.
    """
    scheduler = scheduler_of(env)
    return scheduler is not None and scheduler.tracks_session


def restart_count(env: Mapping[str, str]) -> int:
    """Return how often the scheduler has requeued the job; 0 if it does not count (PBS)."""
    return counted_restarts(env) or 0


def counted_restarts(env: Mapping[str, str]) -> int | None:
    """Return how often the scheduler has requeued the job. None: no scheduler started it, or it does not count."""
    scheduler = scheduler_of(env)
    if scheduler is None or not scheduler.environment.restart_count:
        return None
    count = env.get(scheduler.environment.restart_count, "")
    return int(count) if count.isdigit() else 0


def start_name(env: Mapping[str, str]) -> str:
    """Return a name of this start of the job, which differs after a requeue; empty: unknown.

    Slurm counts the starts; PBS sets a different cookie for each start of a job.
    """
    scheduler = scheduler_of(env)
    if env.get("HPCSWEEP_JOB_ID") or scheduler is None:  # the local dispatcher sets HPCSWEEP_JOB_ID
        return ""
    count = counted_restarts(env)
    return env.get(scheduler.environment.start_id, "") if count is None else f"start {count}"


def array_index(env: Mapping[str, str]) -> int | None:
    """Return the index of the array task that the environment names; None: it names none."""
    scheduler = scheduler_of(env)
    names = ["HPCSWEEP_ARRAY_INDEX", *([scheduler.environment.array_index] if scheduler is not None else [])]
    return next((int(env[name]) for name in names if env.get(name, "").isdigit()), None)


def boot_id() -> str:
    """Return the kernel's id of this boot of the host; empty if it cannot be read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """Return the kernel's name of this process's PID namespace; a pid is unique only within one."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_started_at(pid: int) -> float:
    """Return the Unix time at which a process was created. job.sh execs the agent, so for it: when job.sh began."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age_s


def identify(env: Mapping[str, str], started_ticks: int) -> Identity:
    """Return the identity of this process, the owner of attempts."""
    scheduler = scheduler_of(env)
    host = (env.get(scheduler.environment.host) if scheduler is not None else None) or socket.gethostname()
    return Identity(job_id(env), host, boot_id(), os.getpid(), started_ticks, restart_count(env))

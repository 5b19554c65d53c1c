"""Who we are: the job as its scheduler names it, the host, the restart, and when the job began."""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """One life of one job on one host. `job_id` None: started by hand. `boot_id` tells a host from its reboot.

    `host`: as the scheduler calls it, which is what it can be told to keep away from.
    """

    job_id: str | None
    host: str
    boot_id: str
    pid: int
    started_ticks: int
    restart_count: int

    def as_dict(self) -> dict[str, str | int | None]:
        """The same as plain values, for a record on disk."""
        return dict(vars(self))


def job_id(env: Mapping[str, str]) -> str | None:
    """`12`, `12_3` (Slurm), `12[3].server` (PBS), or what HPCSWEEP_JOB_ID says; None: no scheduler started us."""
    if env.get("HPCSWEEP_JOB_ID"):
        return env["HPCSWEEP_JOB_ID"]
    if env.get("SLURM_ARRAY_JOB_ID") and env.get("SLURM_ARRAY_TASK_ID"):
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    return env.get("SLURM_JOB_ID") or env.get("PBS_JOBID") or None


def tracked_by_session(env: Mapping[str, str]) -> bool:
    """Whether the scheduler takes the processes of the job's session for the job, and no others: PBS does.

    What leaves the session escapes its suspension and its accounting of CPU time and memory.
    """
    return "PBS_JOBID" in env and "SLURM_JOB_ID" not in env


def restart_count(env: Mapping[str, str]) -> int:
    """Requeues that the scheduler tells of; 0 on PBS, which tells of none."""
    word = env.get("SLURM_RESTART_COUNT", "")
    return int(word) if word.isdigit() else 0


def life(env: Mapping[str, str]) -> str:
    """Return a name of this start of the job, other than that of a start after a requeue; empty: not known.

    Slurm counts the starts; PBS gives each start of a job a cookie of its own.
    """
    if env.get("HPCSWEEP_JOB_ID"):
        return ""  # of the local dispatcher
    if env.get("SLURM_JOB_ID"):
        return f"start {restart_count(env)}"
    return env.get("PBS_JOBCOOKIE", "") if env.get("PBS_JOBID") else ""


def array_index(env: Mapping[str, str]) -> int | None:
    """The element that the environment names; None: it names none."""
    for name in ("HPCSWEEP_ARRAY_INDEX", "SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX"):
        word = env.get(name, "")
        if word.isdigit():
            return int(word)
    return None


def boot_id() -> str:
    """The kernel's name for this boot of this host."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """The kernel's name for this process's PID namespace: in another one the same pid is another process."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_started_at(pid: int) -> float:
    """Unix time at which a process was made. Of the agent: when job.sh began, for it is the same process."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age_s


def identify(env: Mapping[str, str], started_ticks: int) -> Identity:
    """This process as the owner of attempts."""
    host = env.get("SLURMD_NODENAME") or socket.gethostname()
    return Identity(job_id(env), host, boot_id(), os.getpid(), started_ticks, restart_count(env))

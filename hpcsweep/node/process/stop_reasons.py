"""Whether everything has to stop now: a signal came, or the job's own clock says that its walltime is nearly over."""

import os
import subprocess
from collections.abc import Callable, Mapping

from hpcsweep.node.process.signals import Stop, meaning
from hpcsweep.node.process.walltime import Walltime
from hpcsweep.node.record.identity import restart_count
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.units import format_duration

_ASK_TIMEOUT_S = 2.0
_JOB_FIELDS = "State:|,RestartCnt:|,PreemptTime:|,StartTime:|"


class Stopper:
    """Remembers the first reason to stop; it holds for the rest of the element."""

    def __init__(self, walltime: Walltime, cancel_asked: Callable[[], bool], ask_state: Callable[[], str]) -> None:
        self._walltime = walltime
        self._cancel_asked, self._ask_state = cancel_asked, ask_state
        self._signals: list[int] = []
        self._stop: Stop | None = None
        self.wake: Callable[[int], None] = lambda signum: None

    def signalled(self, signum: int) -> None:
        """A signal came. Called from its handler: only remembers it."""
        self._signals.append(signum)
        self.wake(signum)

    def check(self) -> Stop | None:
        """Why to stop; None: go on."""
        if self._stop is None and self._signals:
            near, cancelled = self._walltime.near(), self._cancel_asked()
            state = "" if near or cancelled else self._ask_state()
            self._stop = meaning(self._signals[0], walltime_near=near, cancel_asked=cancelled, job_state=state)
        if self._stop is None and self._walltime.over():
            margin = format_duration(self._walltime.margin_s)
            reason = f"only {margin} of the job's walltime are left: kept free to write everything"
            self._stop = Stop(OutcomeKind.WALLTIME, reason, f"the agent's own clock, margin {margin}")
        return self._stop


def slurm_job_state(env: Mapping[str, str]) -> str:
    """What Slurm says of this job, in a word; "" outside of Slurm, or when it does not answer within two seconds."""
    job = env.get("SLURM_JOB_ID")
    if not job:
        return ""
    try:
        answer = subprocess.run(
            ["squeue", "--noheader", "--states=all", "--jobs", job, "--Format", _JOB_FIELDS],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ASK_TIMEOUT_S,
            check=False,
            # SQUEUE_PARTITION and the like, of the user's login files, would hide the job.
            env={name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return read_job_state(answer.stdout, restart_count(env)) if answer.returncode == 0 else ""


def read_job_state(text: str, restarts: int) -> str:
    """`REQUEUED`, `PREEMPTED`, or the state that squeue prints for _JOB_FIELDS. `restarts`: of this life of the job.

    Slurm calls a job that it takes back COMPLETING, like any other that ends: only a restart that is counted already,
    or a time of preemption within this life, gives it away (Slurm 22.05.8). "" for text of another form.
    """
    row = text.partition("\n")[0].split("|")
    if len(row) != 5:
        return ""
    state, restart_word, preempted_at, started_at, _ = row
    if restart_word.isdigit() and int(restart_word) > restarts:
        return "REQUEUED"
    if preempted_at[:1].isdigit() and preempted_at >= started_at:
        return "PREEMPTED"
    return state

"""Decide when the agent must stop: after a signal, or when the job's walltime is nearly over."""

import os
import subprocess
from collections.abc import Callable, Mapping

from hpcsweep.node.identity import restart_count
from hpcsweep.node.process.signals import Stop, meaning
from hpcsweep.node.process.walltime import Walltime
from hpcsweep.schedulers.base import CommandResult
from hpcsweep.schedulers.registry import scheduler_of
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.units import format_duration

_QUERY_TIMEOUT_S = 2.0


class Stopper:
    """Keep the first reason to stop, for the rest of the array task."""

    def __init__(self, walltime: Walltime, cancel_asked: Callable[[], bool], ask_state: Callable[[], str]) -> None:
        self._walltime = walltime
        self._cancel_asked, self._ask_state = cancel_asked, ask_state
        self._signals: list[int] = []
        self._stop: Stop | None = None
        self.wake: Callable[[int], None] = lambda signum: None

    def signalled(self, signum: int) -> None:
        """Record a signal. Called from its handler."""
        self._signals.append(signum)
        self.wake(signum)

    def check(self) -> Stop | None:
        """Return why to stop. None: continue."""
        if self._stop is None and self._signals:
            near, cancelled = self._walltime.near(), self._cancel_asked()
            state = "" if near or cancelled else self._ask_state()
            self._stop = meaning(self._signals[0], walltime_near=near, cancel_asked=cancelled, job_state=state)
        if self._stop is None and self._walltime.over():
            margin = format_duration(self._walltime.margin_s)
            reason = f"only {margin} of the job's walltime is left, which is reserved for writing results"
            self._stop = Stop(OutcomeKind.WALLTIME, reason, f"the agent's own clock, margin {margin}")
        return self._stop


def own_job_state(env: Mapping[str, str]) -> str:
    """Return the state of this job as its scheduler reports it: `PREEMPTED`, `REQUEUED`, or another native state.

    Empty if the scheduler has no query for this, or does not answer within two seconds.
    """
    scheduler = scheduler_of(env)
    if scheduler is None:
        return ""
    query = scheduler.own_state_query(env[scheduler.environment.job_id], restart_count(env))
    if query is None:
        return ""
    # Variables such as SQUEUE_PARTITION, from the user's login files, could hide the job.
    variables = {name: value for name, value in os.environ.items() if not name.startswith(scheduler.client_prefixes)}
    try:
        done = subprocess.run(
            query.argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_QUERY_TIMEOUT_S,
            check=False,
            env=variables,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return query.parse(CommandResult(query.argv, done.returncode, done.stdout, done.stderr))

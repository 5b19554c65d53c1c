"""States of submitit's Slurm jobs, from squeue and sacct: jobs also end where the accounting is disabled."""

import getpass
import time
from typing import Any

import submitit
from submitit.core import core
from submitit.slurm.slurm import SlurmInfoWatcher

from hpcsweep.hosts.base import Host
from hpcsweep.hosts.local import LocalHost
from hpcsweep.schedulers.base import JobState, JobStatus, QueueSnapshot, Scheduler
from hpcsweep.schedulers.listings import merge_snapshots
from hpcsweep.schedulers.slurm.scheduler import SlurmScheduler

GONE = "GONE"
"""The state of a job that Slurm does not know (any more): it was purged, or cancelled while it was pending."""

_GONE_AFTER_LOOKS = 2
_WORDS = {
    JobState.PENDING: "PENDING",
    JobState.HELD: "PENDING",
    JobState.UNSCHEDULABLE: "PENDING",
    JobState.RUNNING: "RUNNING",
    JobState.ENDING: "COMPLETING",
    JobState.UNKNOWN: "UNKNOWN",
}


class SlurmWatcher(SlurmInfoWatcher):
    """Asks squeue and sacct once for all jobs of the process; submitit's own asks sacct alone."""

    def __init__(self, delay_s: int = 30, scheduler: Scheduler | None = None, host: Host | None = None) -> None:
        super().__init__(delay_s)
        self._scheduler = scheduler or SlurmScheduler()
        self._host = host or LocalHost()
        self._user = getpass.getuser()
        self._missed: dict[str, int] = {}
        self._known: dict[str, JobState] = {}

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """Slurm's word, `UNKNOWN` before the first answer, `GONE` when Slurm does not know the job any more."""
        return str(self.get_info(job_id, mode=mode).get("State") or "UNKNOWN")

    def update(self) -> None:
        """Ask about every job that has not ended; an answer that cannot be had leaves the last known states."""
        waiting = self._registered - self._finished
        if waiting:
            self._num_calls += 1
            listing = self._ask(sorted({job_id.partition("_")[0] for job_id in waiting}))
            for job_id in waiting:
                self._note(job_id, listing)
        self._last_status_check = time.time()
        self._finished |= {job_id for job_id in waiting if self.is_done(job_id, mode="cache")}

    def _ask(self, ids: list[str]) -> QueueSnapshot:
        return merge_snapshots(
            [
                query.parse(self._host.run(query.argv, timeout_s=self._scheduler.query_timeout_s))
                for query in self._scheduler.queries(ids, self._user)
            ]
        )

    def _note(self, job_id: str, listing: QueueSnapshot) -> None:
        array_id, _, index = job_id.partition("_")
        status = listing.statuses.get((array_id, int(index) if index else None))
        if status is not None:
            self._missed.pop(job_id, None)
            before = self._known.get(job_id)
            if before is None or not status.is_stale_against(before):
                self._known[job_id] = status.state
                self._info_dict[job_id] = _info(job_id, status)
        elif listing.complete and not any(key[0] == array_id for key in listing.statuses if not index):
            # Slurm answered, and the job was not in the answer. Once may be a race with its submission.
            self._missed[job_id] = self._missed.get(job_id, 0) + 1
            if self._missed[job_id] >= _GONE_AFTER_LOOKS:
                known = self._info_dict.get(job_id, {})
                self._info_dict[job_id] = {**known, "JobID": job_id, "State": GONE, "Reason": "Slurm does not know it"}


def _info(job_id: str, status: JobStatus) -> dict[str, Any]:
    """One job as submitit keeps it: words, in the names of sacct's fields."""
    state = _WORDS.get(status.state, status.native)
    if status.state.final and state == "PREEMPTED":
        state = "PREEMPTED (not requeued)"  # submitit waits for ever for a job that is plainly PREEMPTED
    return {
        "JobID": job_id,
        "State": state,
        "ExitCode": "" if status.exit_code is None else f"{status.exit_code}:{status.signal or 0}",
        "NodeList": status.node or "",
        "Reason": status.reason,
    }


class SlurmJob(submitit.SlurmJob[core.R]):
    """A submitit job that also has the reason why it waits, or how it ended."""

    watcher = SlurmWatcher()

    @property
    def reason(self) -> str:
        """Why the job waits, or how it ended, in words; empty: nothing is known yet."""
        return str(self.watcher.get_info(self.job_id, mode="standard").get("Reason", ""))

    @property
    def exit_code(self) -> int | None:
        """Exit code of the job's script; None: it has not ended, or Slurm does not say."""
        text = str(self.watcher.get_info(self.job_id, mode="standard").get("ExitCode", "")).partition(":")[0]
        return int(text) if text.isdigit() else None

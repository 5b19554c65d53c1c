"""States of submitit's PBS jobs: from PBS, or from the job's own record if PBS has none."""

import getpass
import time
from pathlib import Path
from typing import Any

from submitit.core import core, logger, utils

from hpcsweep.errors import HpcsweepError, SchedulerError
from hpcsweep.hosts.base import Host
from hpcsweep.hosts.local import LocalHost
from hpcsweep.schedulers.base import JobState, JobStatus, QueueSnapshot
from hpcsweep.schedulers.listings import ABSENCE_GRACE_S, merge_snapshots
from hpcsweep.schedulers.pbs.scheduler import PbsScheduler
from hpcsweep.schedulers.pbs.status import split_id
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.submit.backends import SUBMIT_TIMEOUT_S
from hpcsweep.submit.submitit.pbs_environment import read_continuation

GONE = "GONE"
"""State of a job that the server does not know (any more) and that left no end of its own: it died unseen."""

_WAITS = {  # states in which submitit keeps waiting
    JobState.PENDING: "PENDING",
    JobState.HELD: "PENDING",
    JobState.UNSCHEDULABLE: "PENDING",
    JobState.RUNNING: "RUNNING",
    JobState.ENDING: "COMPLETING",
    JobState.UNKNOWN: "UNKNOWN",
}
_ENDS = {
    OutcomeKind.WALLTIME: "TIMEOUT",
    OutcomeKind.CANCELLED: "CANCELLED",
    OutcomeKind.OUT_OF_MEMORY: "OUT_OF_MEMORY",
    OutcomeKind.LOST: "NODE_FAIL",
    OutcomeKind.NOT_RUN: "NOT_RUN",
}


def pbs_id(job_id: str) -> str:
    """`12_3` as PBS writes it: `12[3]`."""
    number, _, index = job_id.partition("_")
    return f"{number}[{index}]" if index else number


class PbsWatcher(core.InfoWatcher):
    """Asks PBS once for all jobs of this process."""

    def __init__(self, delay_s: int = 30, host: Host | None = None) -> None:
        super().__init__(delay_s)
        self._scheduler, self._host = PbsScheduler(), host or LocalHost()
        self._user = getpass.getuser()
        self._paths: dict[str, utils.JobPaths] = {}
        self._absent_since: dict[str, float] = {}
        self.cancelled: set[str] = set()

    def register(self, paths: utils.JobPaths) -> None:
        """Watch the job whose files these are."""
        self._paths[str(paths.job_id)] = paths
        self.register_job(str(paths.job_id))

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """In submitit's words; `UNKNOWN` before the first answer."""
        return str(self.get_info(job_id, mode=mode).get("State") or "UNKNOWN")

    def update(self) -> None:
        """Ask about every job that has not ended; an answer that cannot be had leaves the last known states."""
        waiting = sorted(self._registered - self._finished)
        if waiting:
            self._num_calls += 1
            submissions = {job_id: self._place(job_id) for job_id in waiting}
            listing = self._ask(sorted({submission for submission, _ in submissions.values()}))
            for job_id, key in submissions.items():
                self._note(job_id, key, listing)
        self._last_status_check = time.time()
        self._finished |= {job_id for job_id in waiting if self.is_done(job_id, mode="cache")}

    def _place(self, job_id: str) -> tuple[str, int | None]:
        """Return the submission in PBS, and the index in it; of a continued job the latest one."""
        paths = self._paths.get(job_id)
        later = read_continuation(paths) if paths is not None else None
        number, index, is_array, _ = split_id(later or pbs_id(job_id))
        return (f"{number}[]", index) if is_array else (later or number, None)

    def _ask(self, ids: list[str]) -> QueueSnapshot:
        listing = merge_snapshots(
            [
                query.parse(self._host.run(query.argv, timeout_s=self._scheduler.query_timeout_s))
                for query in self._scheduler.queries(ids, self._user)
            ]
        )
        if listing.error:
            logger.get_logger().warning(f"Call #{self.num_calls} - {listing.error}; states may be old")
        return listing

    def _note(self, job_id: str, key: tuple[str, int | None], listing: QueueSnapshot) -> None:
        status = listing.statuses.get(key)
        if status is not None and status.state is not JobState.GONE:
            self._absent_since.pop(job_id, None)
            self._info_dict[job_id] = _info(job_id, status)
            return
        absent = listing.absent.intersection({key, (key[0], None)})
        if status is None and not absent and not listing.complete:
            return  # the server did not answer, or said nothing about this job
        end = _end_code(self._paths.get(job_id))
        since = self._absent_since.setdefault(job_id, time.time())
        if job_id in self.cancelled and end != 0:
            self._update_info(job_id, State="CANCELLED", Reason="cancelled")
        elif end is not None:
            state = "COMPLETED" if end == 0 else "FAILED"
            self._update_info(job_id, State=state, ExitCode=str(end), Reason=f"exit code {end} (from its folder)")
        elif status is not None:
            self._update_info(job_id, State="CANCELLED", Reason=status.reason)
        elif time.time() - since >= ABSENCE_GRACE_S:
            self._update_info(job_id, State=GONE, Reason="PBS does not know it, and it left no end of its own")

    def _update_info(self, job_id: str, **words: str) -> None:
        self._info_dict[job_id] = {**self._info_dict.get(job_id, {}), "JobID": job_id, **words}


class PbsJob(core.Job[core.R]):
    """A submitit job under PBS."""

    watcher: PbsWatcher = PbsWatcher()

    def _register_in_watcher(self) -> None:
        self.watcher.register(self.paths)

    @property
    def reason(self) -> str:
        """Why the job waits, or how it ended, in words; empty: nothing is known yet."""
        return str(self.watcher.get_info(self.job_id).get("Reason", ""))

    @property
    def exit_code(self) -> int | None:
        """Exit code of the job; None: it has not ended, or was killed."""
        text = str(self.watcher.get_info(self.job_id).get("ExitCode", ""))
        return int(text) if text.isdigit() else None

    def cancel(self, check: bool = True) -> None:
        """Delete the job. A job that is over already is fine. Raises SchedulerError, unless `check` is False."""
        scheduler = PbsScheduler()
        later = read_continuation(self.paths)
        argv = scheduler.cancel_argv(later or pbs_id(self.job_id), None)
        trouble = scheduler.cancel_error(LocalHost().run(argv, timeout_s=SUBMIT_TIMEOUT_S))
        if not trouble:
            self.watcher.cancelled.add(str(self.job_id))
        elif check:
            raise SchedulerError(f"cancelling {self.job_id}: {trouble}", code="cancel_failed")

    def _interrupt(self, timeout: bool = False) -> None:
        """Send the signal that makes the job checkpoint (qsig reaches the function: no login shell is above it)."""
        job_id = read_continuation(self.paths) or pbs_id(self.job_id)
        answer = LocalHost().run(("qsig", "-s", "SIGUSR2", job_id), timeout_s=SUBMIT_TIMEOUT_S)
        if answer.exit_code != 0:
            raise HpcsweepError(f"qsig {self.job_id}: {answer.stderr.strip()}")


def _info(job_id: str, status: JobStatus) -> dict[str, Any]:
    word = _WAITS.get(status.state)
    if word is None:
        word = "COMPLETED" if status.outcome is None else _ENDS.get(status.outcome, "FAILED")
    return {
        "JobID": job_id,
        "State": word,
        "ExitCode": "" if status.exit_code is None else str(status.exit_code),
        "Node": status.node or "",
        "Reason": status.reason,
    }


def _end_code(paths: utils.JobPaths | None) -> int | None:
    """Exit code that the job's script wrote down at its end; None: it has not, or was killed."""
    if paths is None:
        return None
    try:
        return int(Path(paths.folder / f"{paths.job_id}_0_end.txt").read_text())
    except (OSError, ValueError):
        return None

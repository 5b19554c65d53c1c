"""Backends: how jobs are handed over, cancelled and asked about. One for this machine, one for all schedulers."""

import getpass
from collections.abc import Sequence
from typing import Protocol

from hpcsweep.errors import SchedulerError
from hpcsweep.hosts.base import Host
from hpcsweep.schedulers.base import Answer, Listing, Scheduler
from hpcsweep.spec.job import JobSpec
from hpcsweep.submit.merge import merge_listings

SUBMIT_TIMEOUT_S = 60.0
QUERY_TIMEOUT_S = 8.0


class Backend(Protocol):
    """Where jobs of a cluster go."""

    template: str

    def submit(self, job: JobSpec, job_dir: str, script: str) -> str:
        """Hand a job over whose files are in `job_dir`, `script` being the text of job.sh; the scheduler's id.

        Raises SchedulerError.
        """
        ...

    def cancel(self, job_id: str, indexes: Sequence[int] | None) -> None:
        """Cancel a job, or elements of it, in one call; what is over already is fine. Raises SchedulerError."""
        ...

    def listing(self, job_ids: Sequence[str]) -> Listing:
        """What is known of these jobs now: a constant number of calls, each under a time-out. Never raises."""
        ...


class SchedulerBackend:
    """A scheduler on a host."""

    def __init__(self, scheduler: Scheduler, host: Host, user: str | None = None) -> None:
        self._scheduler, self._host = scheduler, host
        self._user = user or getpass.getuser()
        self.template = scheduler.template
        self.calls: list[Answer] = []

    def submit(self, job: JobSpec, job_dir: str, script: str) -> str:
        """One call of sbatch or qsub for all elements."""
        argv = self._scheduler.submit_argv(f"{job_dir}/job.sh", job_dir, script)
        return self._scheduler.parse_submit(self._run(argv, SUBMIT_TIMEOUT_S))

    def cancel(self, job_id: str, indexes: Sequence[int] | None) -> None:
        """One call of scancel or qdel."""
        answer = self._run(self._scheduler.cancel_argv(job_id, indexes), SUBMIT_TIMEOUT_S)
        trouble = self._scheduler.cancel_trouble(answer)
        if trouble:
            raise SchedulerError(
                f"cancelling {job_id}: {trouble}",
                detail=answer.stderr,
                hint="the jobs may still run: ask again with `hpcsweep status`",
            )

    def listing(self, job_ids: Sequence[str]) -> Listing:
        """All witnesses of the scheduler, merged."""
        if not job_ids:
            return Listing()
        listings = []
        for number, argv in enumerate(self._scheduler.queries(job_ids, self._user)):
            listings.append(self._scheduler.parse_query(number, self._run(argv, QUERY_TIMEOUT_S)))
        return merge_listings(listings)

    def _run(self, argv: Sequence[str], timeout_s: float) -> Answer:
        answer = self._host.run(argv, timeout_s=timeout_s)
        self.calls.append(answer)
        return answer

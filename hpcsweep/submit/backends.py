"""Backends: how jobs are handed over, cancelled and asked about. One for this machine, one for all schedulers."""

import getpass
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

from hpcsweep.errors import HostError, LinkLost, SchedulerError, SchedulerUnreachable
from hpcsweep.hosts.base import Host
from hpcsweep.schedulers.base import ClusterFacts, CommandResult, JobStatus, Query, QueueSnapshot, Scheduler
from hpcsweep.schedulers.listings import merge_snapshots
from hpcsweep.spec.job import JobSpec
from hpcsweep.sweep.layout import logs_into

SUBMIT_TIMEOUT_S = 60.0
PROBE_TIMEOUT_S = 8.0
"""For what is asked once, before a submission: better late than no answer."""


class Backend(Protocol):
    """Where jobs of a cluster go."""

    template: str
    host: Host

    def submit(self, job: JobSpec, job_dir: str, script: str) -> str:
        """Hand a job over whose files are in `job_dir`, `script` being the text of job.sh; the scheduler's id.

        A script that a user brought (`job.own_script`) is submitted as it is, with its values in the environment.
        Raises SchedulerError: it was refused, and no job exists. SchedulerUnreachable: nobody knows.
        """
        ...

    def cancel(self, job_id: str, indexes: Sequence[int] | None) -> None:
        """Cancel a job, or elements of it, in one call; what is over already is fine. Raises SchedulerError."""
        ...

    def queue_snapshot(self, names: Mapping[str, str]) -> QueueSnapshot:
        """What is known now of these jobs (id -> name): a constant number of calls, each under a time-out.

        Never raises.
        """
        ...

    def find(self, name: str, job_dir: str) -> list[str] | None:
        """Ids of jobs that were submitted from this folder, the oldest first; None: the scheduler does not answer.

        Raises SchedulerError.
        """
        ...

    def max_array_size(self) -> int | None:
        """Elements that one submission may have; None: no limit is known."""
        ...


class SchedulerBackend:
    """A scheduler on a host."""

    def __init__(self, scheduler: Scheduler, host: Host, user: str | None = None) -> None:
        self._scheduler, self.host = scheduler, host
        self._user = user or getpass.getuser()
        self.template = scheduler.template
        self.calls: list[CommandResult] = []

    def submit(self, job: JobSpec, job_dir: str, script: str) -> str:
        """One call of sbatch or qsub for all elements; when its answer is lost, one more that looks for the job."""
        if job.own_script:
            argv = self._scheduler.submit_user_script_argv(
                f"{job_dir}/job.sh",
                own_script_exports(job, job_dir),
                name=job.name,
                log_dir=f"{job_dir}/logs",
                text=script,
                walltime_s=job.resources.walltime_s,
            )
        else:
            argv = self._scheduler.submit_argv(f"{job_dir}/job.sh", job_dir, script)
        try:
            try:
                return self._scheduler.parse_submit(self._run(argv, SUBMIT_TIMEOUT_S))
            except LinkLost as exc:
                raise SchedulerUnreachable(
                    f"{exc.message}: the connection broke after {argv[0]} was sent, so the job may have been submitted",
                    hint="the connection is made anew by the next command",
                ) from exc
        except SchedulerUnreachable:
            found = self._find_lost(job.name, job_dir)
            if not found:
                raise
            return found[-1]

    def _find_lost(self, name: str, job_dir: str) -> list[str]:
        """As `find`; empty also where nobody can be asked just now."""
        try:
            return self.find(name, job_dir) or []
        except HostError:
            return []

    def find(self, name: str, job_dir: str) -> list[str] | None:
        """Ids of the jobs whose comment or name says this folder; see `Backend.find`."""
        query = self._scheduler.find_query(name, self._user, job_dir)
        if query is None:
            return None
        answer = self._run(query.argv, self._patience_s())
        try:
            return query.parse(answer)
        except SchedulerError:  # whatever it says now, it is no word about the submission whose answer was lost
            return None

    def cancel(self, job_id: str, indexes: Sequence[int] | None) -> None:
        """One call of scancel or qdel."""
        answer = self._run(self._scheduler.cancel_argv(job_id, indexes), SUBMIT_TIMEOUT_S)
        trouble = self._scheduler.cancel_error(answer)
        if trouble:
            raise SchedulerError(
                f"cancelling {job_id}: {trouble}",
                detail=answer.stderr,
                hint="its jobs may still run: `hpcsweep status` tells; cancel again later",
            )

    def queue_snapshot(self, names: Mapping[str, str]) -> QueueSnapshot:
        """All witnesses of the scheduler, merged; a job of somebody else that has got the id is left out."""
        if not names:
            return QueueSnapshot()
        queries = self._scheduler.queries(list(names), self._user)
        timeout_s = self._scheduler.query_timeout_s + self._scheduler.query_timeout_per_job_s * len(names)
        with ThreadPoolExecutor(max_workers=max(1, len(queries))) as pool:  # silence of one is not added to another's
            merged = merge_snapshots(list(pool.map(lambda query: self._ask(query, timeout_s), queries)))
        ours = {key: status for key, status in merged.statuses.items() if _is_ours(status, names.get(status.job_id))}
        return replace(merged, statuses=ours)

    def _ask(self, query: Query[QueueSnapshot], timeout_s: float) -> QueueSnapshot:
        """What one witness told; a host that cannot be reached is a witness that does not answer."""
        try:
            return query.parse(self._run(query.argv, timeout_s))
        except HostError as exc:
            return QueueSnapshot(complete=False, error=exc.message)

    def facts(self) -> ClusterFacts:
        """What this cluster is."""
        return self._scheduler.parse_probes(self._probe())

    def max_array_size(self) -> int | None:
        """As the cluster says it. Raises SchedulerUnreachable: a submission would wait for nothing."""
        answers = self._probe()
        silent = next((answer for answer in answers if answer.exit_code is None), None)
        if silent is not None:
            raise SchedulerUnreachable(
                f"{silent.argv[0]} did not answer within {silent.wall_s:.0f} s: nothing was submitted",
                hint="submit again when the scheduler is back; `hpcsweep doctor` says whether it is",
            )
        return self._scheduler.parse_probes(answers).max_array_size

    def _probe(self) -> list[CommandResult]:
        """The answers to all probes; once one is missing, nothing more is asked."""
        answers: list[CommandResult] = []
        for argv in self._scheduler.probes():
            silent = answers and answers[-1].exit_code is None
            answers.append(
                CommandResult(argv, None, "", "not asked") if silent else self._run(argv, self._patience_s())
            )
        return answers

    def _patience_s(self) -> float:
        return max(PROBE_TIMEOUT_S, self._scheduler.query_timeout_s)

    def _run(self, argv: Sequence[str], timeout_s: float) -> CommandResult:
        answer = self.host.run(argv, timeout_s=timeout_s)
        self.calls.append(answer)
        return answer


def _is_ours(status: JobStatus, name: str | None) -> bool:
    """Whether a status is about the job that was submitted under `name`: ids are reused, and jobs can be renamed."""
    return status.name is None or name in (None, status.name) or logs_into(status.log_path or "", str(name))


def own_script_exports(job: JobSpec, job_dir: str) -> dict[str, str]:
    """What the environment of a user's own script says of the one run of its job."""
    (task,) = job.array_tasks
    place = {"HPCSWEEP_JOB_DIR": job_dir, "HPCSWEEP_ARRAY_INDEX": str(task.index)}
    return place | dict(task.runs[0].exports)

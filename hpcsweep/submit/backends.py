"""Backends submit, cancel and query jobs: `SchedulerBackend` for all schedulers; `LocalBackend` for this machine."""

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
"""For queries that run once, before a submission."""


class Backend(Protocol):
    """Submits, cancels and queries the jobs of a cluster."""

    template: str
    host: Host

    def submit(self, job: JobSpec, job_dir: str, script: str, after: Sequence[str] = ()) -> str:
        """Submit the job in `job_dir`; return the scheduler's id. `script`: the text of job.sh.

        `after`: ids of jobs that must have succeeded before it starts. A user's own script (`job.own_script`) is
        submitted unchanged, with the values of its run in the environment.
        Raises SchedulerError: the job was refused and does not exist. SchedulerUnreachable: it may or may not exist.
        """
        ...

    def cancel(self, job_id: str, indexes: Sequence[int] | None) -> None:
        """Cancel a job, or array tasks of it, in one call. Ended jobs are not an error. Raises SchedulerError."""
        ...

    def queue_snapshot(self, names: Mapping[str, str]) -> QueueSnapshot:
        """Return the states of these jobs (id -> name) with a constant number of calls, each under a time-out.

        Never raises.
        """
        ...

    def find(self, name: str, job_dir: str) -> list[str] | None:
        """Return ids of the jobs submitted from this folder, the oldest first; None: the scheduler did not respond.

        Raises SchedulerError.
        """
        ...

    def max_array_size(self) -> int | None:
        """Return the largest number of array tasks of one submission; None: no limit is known."""
        ...


class SchedulerBackend:
    """A scheduler on a host. `login_setup`: shell lines before each of its commands, such as `module load slurm`."""

    def __init__(
        self, scheduler: Scheduler, host: Host, user: str | None = None, login_setup: Sequence[str] = ()
    ) -> None:
        self._scheduler, self.host, self._login_setup = scheduler, host, tuple(login_setup)
        self._user = user or getpass.getuser()
        self.template = scheduler.template
        self.calls: list[CommandResult] = []

    def submit(self, job: JobSpec, job_dir: str, script: str, after: Sequence[str] = ()) -> str:
        """Submit with one call of sbatch or qsub; if it times out, search for the job. See `Backend.submit`."""
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
        if after:
            argv = self._scheduler.after_argv(argv, after)
        try:
            try:
                return self._scheduler.parse_submit(self._run(argv, SUBMIT_TIMEOUT_S))
            except LinkLost as exc:
                raise SchedulerUnreachable(
                    f"{exc.message}: the connection broke after {argv[0]} was sent, so the job may have been submitted",
                    code="submission_connection_lost",
                    hint="the next command connects again",
                ) from exc
        except SchedulerUnreachable:
            ids = self._find_lost(job.name, job_dir)
            if not ids:
                raise
            return ids[-1]

    def _find_lost(self, name: str, job_dir: str) -> list[str]:
        """Return the result of `find`; empty also when the host cannot be reached."""
        try:
            return self.find(name, job_dir) or []
        except HostError:
            return []

    def find(self, name: str, job_dir: str) -> list[str] | None:
        """Return ids of the jobs whose comment or log path has this folder. See `Backend.find`."""
        query = self._scheduler.find_query(name, self._user, job_dir)
        if query is None:
            return None
        answer = self._run(query.argv, self._patience_s())
        try:
            return query.parse(answer)
        except SchedulerError:  # this error is not about the unconfirmed submission
            return None

    def cancel(self, job_id: str, indexes: Sequence[int] | None) -> None:
        """Cancel with one call of scancel or qdel. See `Backend.cancel`."""
        answer = self._run(self._scheduler.cancel_argv(job_id, indexes), SUBMIT_TIMEOUT_S)
        trouble = self._scheduler.cancel_error(answer)
        if trouble:
            raise SchedulerError(
                f"cancelling {job_id} failed: {trouble}",
                code="cancel_failed",
                detail=answer.stderr,
                hint="its jobs may still run: check with `hpcsweep status`, and cancel again later",
            )

    def queue_snapshot(self, names: Mapping[str, str]) -> QueueSnapshot:
        """Return the merged results of all queries, without jobs of other users that reuse an id."""
        if not names:
            return QueueSnapshot()
        queries = self._scheduler.queries(list(names), self._user)
        timeout_s = self._scheduler.query_timeout_s + self._scheduler.query_timeout_per_job_s * len(names)
        with ThreadPoolExecutor(
            max_workers=max(1, len(queries))
        ) as pool:  # in parallel, so that time-outs do not add up
            merged = merge_snapshots(list(pool.map(lambda query: self._ask(query, timeout_s), queries)))
        ours = {key: status for key, status in merged.statuses.items() if _is_ours(status, names.get(status.job_id))}
        return replace(merged, statuses=ours)

    def _ask(self, query: Query[QueueSnapshot], timeout_s: float) -> QueueSnapshot:
        """Run one query; if the host cannot be reached, return an incomplete snapshot."""
        try:
            return query.parse(self._run(query.argv, timeout_s))
        except HostError as exc:
            return QueueSnapshot(complete=False, error=exc.message)

    def facts(self) -> ClusterFacts:
        """Return the facts about this cluster."""
        return self._scheduler.parse_probes(self._probe())

    def max_array_size(self) -> int | None:
        """Return the cluster's limit. Raises SchedulerUnreachable when the scheduler does not respond."""
        answers = self._probe()
        silent = next((answer for answer in answers if answer.exit_code is None), None)
        if silent is not None:
            raise SchedulerUnreachable(
                f"{silent.argv[0]} did not respond within {silent.wall_s:.0f} s; nothing was submitted",
                code="scheduler_timeout",
                hint="submit again when the scheduler responds; `hpcsweep doctor` checks it",
            )
        return self._scheduler.parse_probes(answers).max_array_size

    def _probe(self) -> list[CommandResult]:
        """Run the probes; after one that times out, skip the others."""
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
        answer = self.host.run(after_setup(argv, self._login_setup), timeout_s=timeout_s)
        answer = replace(answer, argv=tuple(argv))
        self.calls.append(answer)
        return answer


def after_setup(argv: Sequence[str], lines: Sequence[str]) -> Sequence[str]:
    """Return the argv that runs `argv` after shell lines, in a login shell, so that `module` is defined.

    The lines are the user's own shell text; `argv` reaches the shell as parameters. What the lines print goes to
    standard error, because the output of the command is parsed.
    """
    if not lines:
        return argv
    return ["bash", "-lc", "\n".join(["{", *lines, "} >&2", 'exec "$@"']), "hpcsweep", *argv]


def _is_ours(status: JobStatus, name: str | None) -> bool:
    """Return whether a status is about the job submitted as `name`: ids are reused, and jobs can be renamed."""
    return status.name is None or name in (None, status.name) or logs_into(status.log_path or "", str(name))


def own_script_exports(job: JobSpec, job_dir: str) -> dict[str, str]:
    """Return the environment variables of the one run of a job with the user's own script."""
    (task,) = job.array_tasks
    variables = {"HPCSWEEP_JOB_DIR": job_dir, "HPCSWEEP_ARRAY_INDEX": str(task.index)}
    return variables | dict(task.runs[0].exports)

"""The node agent: `python -m hpcsweep.node.agent JOB_DIR [--index K]` executes the runs of one allocation in order.

Exit codes: 0 every run ended by itself, whatever its outcome; 1 the job could not be executed (the reason is on
standard error); 2 usage error; 10 the walltime ended it; 11 preempted; 12 cancelled; 20 a preparation failed.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from hpcsweep import privacy
from hpcsweep.errors import HpcsweepError, SpecError
from hpcsweep.node.attempt import Attempt, JobContext
from hpcsweep.node.guardian import Guardian
from hpcsweep.node.identity import array_index, counted_restarts, identify, process_started_at
from hpcsweep.node.prepare.job import PreparationRun
from hpcsweep.node.process.gpus import Gpus
from hpcsweep.node.process.processes import become_subreaper, read_process
from hpcsweep.node.process.siblings import AgentClaim, other_rank
from hpcsweep.node.process.signals import Stop, catch
from hpcsweep.node.process.stop_reasons import Stopper, own_job_state
from hpcsweep.node.process.walltime import job_walltime
from hpcsweep.node.record.folders import close_dead_attempts, create_attempt, ended_in_this_job
from hpcsweep.node.record.notes import Note
from hpcsweep.node.record.preparations import failed_preparation, failed_warm_up, recorded
from hpcsweep.node.records import NOT_RUN_FILE, read_json, write_record
from hpcsweep.node.watch.outcome import AttemptVerdict
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.job import ArrayTask, JobSpec, PreparationJob, RunSpec
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.spec.records import NotRunRecord, TaskExitRecord

EXIT_CODES: Mapping[OutcomeKind, int] = {
    OutcomeKind.WALLTIME: 10,
    OutcomeKind.PREEMPTED: 11,
    OutcomeKind.CANCELLED: 12,
}
"""Exit codes of an array task that was ended from outside."""
PREPARATION_FAILED = 20
_RECORD_WITHIN_S = 60.0
"""A shared file system may show the end record of a preparation on another node this much later."""

_PREPARATION_MARGIN_S = 30.0
_RETRY = "retry with the startup budgets x {:g}"


def main(argv: Sequence[str] | None = None) -> int:
    """Execute one array task; see the module for the exit codes."""
    parser = argparse.ArgumentParser(prog="hpcsweep-node", description="Execute the runs of one job of a sweep.")
    parser.add_argument(
        "job_dir",
        nargs="?",
        default=os.environ.get("HPCSWEEP_JOB_DIR"),
        help="folder of the submission, SWEEP/jobs/N [default: $HPCSWEEP_JOB_DIR]",
    )
    parser.add_argument("--index", type=int, help="array task of the job [default: from the scheduler's environment]")
    parser.add_argument(
        "--experiment",
        metavar="NAME",
        help="without JOB_DIR: plan one run of this experiment from the environment (docs/scripts.md)",
    )
    parser.add_argument(
        "--script", type=Path, metavar="FILE", help="with --experiment: the job's script, which is stored in the sweep"
    )
    options = parser.parse_args(argv)
    if options.job_dir is None and options.experiment is None:
        parser.error("expected JOB_DIR, --experiment or the variable HPCSWEEP_JOB_DIR")
    rank = other_rank(os.environ)
    if rank is not None:
        _print_idle(f"{rank}, and only the process of rank 0 executes the job")
        return 0
    try:
        if options.job_dir is None:
            options.job_dir, options.index = _join(options.experiment, options.script)
        job_dir = Path(options.job_dir).absolute()
        privacy.enter(job_dir)
        job = read_job(job_dir)
        task = choose_task(job, options.index, os.environ)
        return Agent(job_dir, job, task, os.environ).run()
    except HpcsweepError as exc:
        print(f"Error: {exc}", file=sys.stderr)  # noqa: T201
        return 1


def _join(experiment: str, script: Path | None) -> tuple[Path, int]:
    """Add a job that was submitted without `hpcsweep submit` to a sweep. Raises HpcsweepError."""
    from hpcsweep.node.plain_job import add_plain_job  # a planned job does not import the planning code

    me = read_process(os.getpid())
    job_dir, index = add_plain_job(experiment, script, os.environ, identify(os.environ, me.started if me else 0))
    # The script of a planned job exports the same variables.
    os.environ |= {"HPCSWEEP_JOB_DIR": str(job_dir), "HPCSWEEP_ARRAY_INDEX": str(index)}
    print(f"hpcsweep-node: {job_dir}, array task {index}", file=sys.stderr, flush=True)  # noqa: T201
    return job_dir, index


def _print_idle(reason: str) -> None:
    hint = "start hpcsweep-node once per job, without srun or mpirun"
    print(f"hpcsweep-node: nothing to do: {reason}\nhint: {hint}", file=sys.stderr)  # noqa: T201


def read_job(job_dir: Path) -> JobSpec:
    """Read job.json of a submission's folder. Raises SpecError."""
    path = job_dir / "job.json"
    try:
        return JobSpec.model_validate_json(path.read_bytes())
    except OSError as exc:
        message = f"{path} cannot be read: {exc.strerror}"
        raise SpecError(message, code="job_file_unreadable", hint="JOB_DIR is SWEEP/jobs/N") from exc
    except ValidationError as exc:
        message = f"{path} is not a job file of this version"
        raise SpecError(message, code="job_file_invalid", detail=str(exc)) from exc


def choose_task(job: JobSpec, index: int | None, env: Mapping[str, str]) -> ArrayTask:
    """Return the array task with `index`, or with the index in the environment, or the only one. Raises SpecError."""
    chosen = array_index(env) if index is None else index
    if chosen is None and len(job.array_tasks) == 1:
        return job.array_tasks[0]
    known = ", ".join(str(task.index) for task in job.array_tasks[:20])
    if chosen is None:
        raise SpecError(
            f"job {job.name} has {len(job.array_tasks)} array tasks, and no index was given",
            code="task_index_missing",
            hint=f"add --index with one of {known}",
        )
    try:
        return job.array_task(chosen)
    except KeyError:
        message = f"job {job.name} has no array task {chosen}"
        raise SpecError(message, code="task_index_unknown", hint=f"its array tasks are {known}") from None


class Agent:
    """Executes one array task, from one start of its job."""

    def __init__(self, job_dir: Path, job: JobSpec, task: ArrayTask, env: Mapping[str, str]) -> None:
        self._job_dir, self._job, self._task, self._env = job_dir, job, task, env
        me = read_process(os.getpid())
        self._identity = identify(env, me.started if me else 0)
        margin_s = max((run.budgets.walltime_margin for run in task.runs), default=_PREPARATION_MARGIN_S)
        walltime = job_walltime(env, job.resources.walltime_s, margin_s, process_started_at(os.getpid()))
        self._stopper = Stopper(walltime, self._cancel_asked, lambda: own_job_state(env))

    def run(self) -> int:
        """Execute all runs in order, unless another agent of this job does. Return the exit code."""
        claim = AgentClaim(self._job_dir, self._task.index, self._identity, self._env)
        owner = claim.take()
        if owner is not None:
            _print_idle(f"{owner} executes array task {self._task.index} of {self._job.name}")
            return 0
        try:
            return self._run_all()
        finally:
            claim.release()

    def _run_all(self) -> int:
        started_at = time.time()
        catch(self._stopper.signalled)
        become_subreaper()
        guardian = Guardian()
        context = JobContext(self._job, self._identity, guardian, self._stopper, Gpus(self._env), self._env)
        stop: Stop | None = None
        exit_code = 1
        try:
            self._wait_for_preparations()
            if self._job.preparation is not None:
                outcome = self._prepare(self._job.preparation, context)
                exit_code = 0 if outcome is OutcomeKind.COMPLETED else EXIT_CODES.get(outcome, PREPARATION_FAILED)
                stop = self._stopper.check()
                return exit_code
            for run in self._task.runs:
                stop = stop or self._stopper.check()
                if stop is not None:
                    self._not_run(run, stop)
                elif not self._unprepared(run):
                    self._run(run, context)
                    stop = self._stopper.check()
            exit_code = EXIT_CODES[stop.kind] if stop is not None else 0
        finally:
            guardian.close()
            self._record_end(exit_code, started_at, stop)
        return exit_code

    def _prepare(self, step: PreparationJob, context: JobContext) -> OutcomeKind:
        """Execute the preparation that this job is."""

        def warm_up(run: RunSpec) -> AttemptVerdict:
            return self._attempt(run, run.budgets, context, [])

        preparation = PreparationRun(
            self._job_dir, self._job, step, self._identity, self._stopper, context.guardian, self._env, warm_up
        )
        try:
            return preparation.execute()
        except OSError as exc:
            raise HpcsweepError(
                f"{self._job_dir} is not writable: {exc}",
                code="job_folder_not_writable",
                hint="is HPCSWEEP_HOME on a file system that this node shares, with free space?",
            ) from exc

    def _wait_for_preparations(self) -> None:
        """Wait until this node sees the end records of the preparations, whose jobs have ended."""
        deadline = time.monotonic() + _RECORD_WITHIN_S
        while not recorded(self._job) and self._identity.job_id is not None and time.monotonic() < deadline:
            if self._stopper.check() is not None:
                return
            time.sleep(1.0)

    def _unprepared(self, run: RunSpec) -> bool:
        """Return whether a preparation that the run needs failed; then record this in place of an attempt."""
        reason = failed_preparation(self._job) or failed_warm_up(self._job, run)
        if reason is not None:
            stop = Stop(OutcomeKind.NOT_RUN, reason, "the agent: preparations", "preparation_failed")
            self._not_run(run, stop, reason)
        return reason is not None

    def _run(self, run: RunSpec, context: JobContext) -> None:
        run_dir = Path(run.run_dir)
        done = self._ended_before(run)
        if done is not None:
            self._say(f"{run.label}: skipped, because it ended as {done.value} before this job was requeued")
            return
        notes: list[Note] = close_dead_attempts(run_dir, self._identity)
        budgets = run.budgets
        for last in (False, True):
            verdict = self._attempt(run, budgets, context, notes)
            if last or not retry_asked(verdict, budgets):
                return
            budgets, notes = larger(budgets), [Note("retry", _RETRY.format(budgets.retry_factor))]

    def _attempt(self, run: RunSpec, budgets: Budgets, context: JobContext, notes: list[Note]) -> AttemptVerdict:
        try:
            folder = create_attempt(Path(run.run_dir), run.attempt_offset, self._identity)
            return Attempt(run, budgets, folder, context, notes).execute()
        except OSError as exc:
            raise HpcsweepError(
                f"{run.run_dir} is not writable: {exc}",
                code="run_folder_not_writable",
                hint="is HPCSWEEP_HOME on a file system that this node shares, with free space?",
            ) from exc

    def _ended_before(self, run: RunSpec) -> OutcomeKind | None:
        """Return the outcome of this run in an earlier start of this job; None: it has to run."""
        restarts = None if self._env.get("HPCSWEEP_JOB_ID") else counted_restarts(self._env)
        return ended_in_this_job(Path(run.run_dir), run.attempt_offset, self._identity.job_id, restarts)

    def _not_run(self, run: RunSpec, stop: Stop, reason: str | None = None) -> None:
        run_dir = Path(run.run_dir)
        if self._ended_before(run) is not None:
            return
        self._say(f"{run.label}: not started ({stop.reason})")
        record = NotRunRecord(
            run_id=run.run_id,
            label=run.label,
            axes=run.axes,
            outcome=OutcomeKind.NOT_RUN,
            code=stop.code,
            reason=reason or f"{stop.kind.value}: {stop.reason}",
            decided_by=stop.decided_by,
            at=time.time(),
            host=self._identity.host,
            job_id=self._identity.job_id,
        )
        with contextlib.suppress(OSError):  # then the state of the run is unknown
            run_dir.mkdir(parents=True, exist_ok=True)
            write_record(run_dir / NOT_RUN_FILE, record)

    def _record_end(self, exit_code: int, started_at: float, stop: Stop | None) -> None:
        record = TaskExitRecord(
            exit_code=exit_code,
            outcome=stop.kind if stop else None,
            code=stop.code if stop else None,
            reason=stop.reason if stop else "",
            host=self._identity.host,
            job_id=self._identity.job_id,
            restart_count=self._identity.restart_count,
            started_at=started_at,
            ended_at=time.time(),
        )
        folder = self._job_dir / "tasks"
        try:
            folder.mkdir(exist_ok=True)
            write_record(folder / f"{self._task.index}.exit.json", record)
        except OSError as exc:
            self._say(f"the end of the array task could not be recorded: {exc}")

    def _cancel_asked(self) -> bool:
        """Return whether `hpcsweep cancel` created its marker, which it does before it calls the scheduler."""
        index = self._task.index
        submission = read_json(self._job_dir / "submission.json") or {}
        marker = Path(self._job.sweep_dir) / "dispatcher" / "cancel" / f"{self._job.job}_{index}"
        return index in (submission.get("cancelled") or []) or marker.exists()

    def _say(self, text: str) -> None:
        print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)  # noqa: T201


def retry_asked(verdict: AttemptVerdict, budgets: Budgets) -> bool:
    """Return whether the experiment asks for a retry in the same job after this outcome."""
    policy = {
        OutcomeKind.STALLED: budgets.on_stall,
        OutcomeKind.STARTUP_TIMEOUT: budgets.on_startup_timeout,
    }.get(verdict.kind, "record")
    return policy in ("retry", "retry_warm")


def larger(budgets: Budgets) -> Budgets:
    """Return the budgets of a retry: those of the startup are multiplied by the retry factor."""
    factor = budgets.retry_factor
    return budgets.model_copy(
        update={
            "startup": budgets.startup * factor,
            "phases": {name: budget_s * factor for name, budget_s in budgets.phases.items()},
            "stall": budgets.stall * factor,
            "busy_stall": budgets.busy_stall * factor if budgets.busy_stall is not None else None,
        }
    )


if __name__ == "__main__":
    sys.exit(main())

"""`python -m hpcsweep.node.agent JOB_DIR [--index K]`: executes the runs of one allocation, one after the other.

Exit codes: 0 every run ended by itself, whatever its outcome; 1 the job cannot be executed (standard error says why);
2 the command line is wrong; 10 the walltime ended it; 11 preempted; 12 cancelled.
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
from hpcsweep.node.outcome import AttemptVerdict
from hpcsweep.node.process.guardian import Guardian
from hpcsweep.node.process.processes import become_subreaper, read_process
from hpcsweep.node.process.siblings import AgentClaim, other_rank
from hpcsweep.node.process.signals import Stop, catch
from hpcsweep.node.process.stop_reasons import Stopper, slurm_job_state
from hpcsweep.node.process.walltime import job_walltime
from hpcsweep.node.record.folders import close_dead_attempts, create_attempt, ended_in_this_job
from hpcsweep.node.record.identity import array_index, identify, process_started_at
from hpcsweep.node.record.records import NOT_RUN_FILE, read_json, write_record
from hpcsweep.node.watch.gpus import Gpus
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.job import ArrayTask, JobSpec, RunSpec
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.spec.records import NotRunRecord, TaskExitRecord

EXIT_CODES: Mapping[OutcomeKind, int] = {
    OutcomeKind.WALLTIME: 10,
    OutcomeKind.PREEMPTED: 11,
    OutcomeKind.CANCELLED: 12,
}
"""Exit codes of an element that was ended from outside."""


def main(argv: Sequence[str] | None = None) -> int:
    """Execute one element; see the module for the exit codes."""
    parser = argparse.ArgumentParser(prog="hpcsweep-node", description="Execute the runs of one job of a sweep.")
    parser.add_argument(
        "job_dir", nargs="?", default=os.environ.get("HPCSWEEP_JOB_DIR"), help="default: $HPCSWEEP_JOB_DIR"
    )
    parser.add_argument("--index", type=int, help="element of the job; default: as the scheduler's environment says")
    parser.add_argument(
        "--experiment",
        metavar="NAME",
        help="where no job folder is given: plan one run of this experiment from the environment (docs/scripts.md)",
    )
    parser.add_argument(
        "--script", type=Path, metavar="FILE", help="with --experiment: the job's script, for the record"
    )
    options = parser.parse_args(argv)
    if options.job_dir is None and options.experiment is None:
        parser.error("JOB_DIR is missing, and neither HPCSWEEP_JOB_DIR nor --experiment is given")
    rank = other_rank(os.environ)
    if rank is not None:
        _yield(f"{rank}: only the first of several processes executes the job")
        return 0
    try:
        if options.job_dir is None:
            options.job_dir, options.index = _join(options.experiment, options.script)
        job_dir = Path(options.job_dir).absolute()
        privacy.enter(job_dir)
        job = read_job(job_dir)
        element = choose_element(job, options.index, os.environ)
        return Agent(job_dir, job, element, os.environ).run()
    except HpcsweepError as exc:
        print(f"Error: {exc}", file=sys.stderr)  # noqa: T201
        return 1


def _join(experiment: str, script: Path | None) -> tuple[Path, int]:
    """A place in a sweep for a job that was submitted without `hpcsweep submit`. Raises HpcsweepError."""
    from hpcsweep.node.plain_job import place_plain_job  # planning is not imported by a job that is planned already

    me = read_process(os.getpid())
    job_dir, index = place_plain_job(experiment, script, os.environ, identify(os.environ, me.started if me else 0))
    # As the script of a planned job exports them.
    os.environ |= {"HPCSWEEP_JOB_DIR": str(job_dir), "HPCSWEEP_ARRAY_INDEX": str(index)}
    print(f"hpcsweep-node: {job_dir}, element {index}", file=sys.stderr, flush=True)  # noqa: T201
    return job_dir, index


def _yield(reason: str) -> None:
    hint = "start hpcsweep-node once per job, without srun or mpirun"
    print(f"hpcsweep-node: nothing to do here: {reason}\nhint: {hint}", file=sys.stderr)  # noqa: T201


def read_job(job_dir: Path) -> JobSpec:
    """job.json of a job folder. Raises SpecError."""
    path = job_dir / "job.json"
    try:
        return JobSpec.model_validate_json(path.read_bytes())
    except OSError as exc:
        raise SpecError(f"{path} cannot be read: {exc.strerror}", hint="JOB_DIR is SWEEP/jobs/N") from exc
    except ValidationError as exc:
        raise SpecError(f"{path} is no job of this version", detail=str(exc)) from exc


def choose_element(job: JobSpec, index: int | None, env: Mapping[str, str]) -> ArrayTask:
    """The element of the index asked for, or named by the environment, or the only one. Raises SpecError."""
    chosen = array_index(env) if index is None else index
    if chosen is None and len(job.array_tasks) == 1:
        return job.array_tasks[0]
    known = ", ".join(str(element.index) for element in job.array_tasks[:20])
    if chosen is None:
        raise SpecError(
            f"job {job.name} has {len(job.array_tasks)} elements: which one?", hint=f"--index, one of {known}"
        )
    try:
        return job.array_task(chosen)
    except KeyError:
        raise SpecError(f"job {job.name} has no element {chosen}", hint=f"it has {known}") from None


class Agent:
    """One life of one element."""

    def __init__(self, job_dir: Path, job: JobSpec, element: ArrayTask, env: Mapping[str, str]) -> None:
        self._job_dir, self._job, self._element, self._env = job_dir, job, element, env
        me = read_process(os.getpid())
        self._identity = identify(env, me.started if me else 0)
        margin_s = max((run.budgets.walltime_margin for run in element.runs), default=0.0)
        walltime = job_walltime(env, job.resources.walltime_s, margin_s, process_started_at(os.getpid()))
        self._stopper = Stopper(walltime, self._cancel_asked, lambda: slurm_job_state(env))

    def run(self) -> int:
        """Every run of the element, in order, unless another agent of this job has it. The exit code of the agent."""
        claim = AgentClaim(self._job_dir, self._element.index, self._identity, self._env)
        owner = claim.take()
        if owner is not None:
            _yield(f"{owner} executes element {self._element.index} of {self._job.name}")
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
            for run in self._element.runs:
                stop = stop or self._stopper.check()
                if stop is not None:
                    self._not_run(run, stop)
                    continue
                self._run(run, context)
                stop = self._stopper.check()
            exit_code = EXIT_CODES[stop.kind] if stop is not None else 0
        finally:
            guardian.close()
            self._record_end(exit_code, started_at, stop)
        return exit_code

    def _run(self, run: RunSpec, context: JobContext) -> None:
        run_dir = Path(run.run_dir)
        done = self._ended_before(run)
        if done is not None:
            self._say(f"{run.label}: ended as {done} before this job was requeued: not done again")
            return
        notes = close_dead_attempts(run_dir, self._identity)
        budgets = run.budgets
        for last in (False, True):
            verdict = self._attempt(run, budgets, context, notes)
            if last or not retry_asked(verdict, budgets):
                return
            budgets, notes = larger(budgets), [f"a retry with budgets x {budgets.retry_factor:g}"]

    def _attempt(self, run: RunSpec, budgets: Budgets, context: JobContext, notes: list[str]) -> AttemptVerdict:
        try:
            folder = create_attempt(Path(run.run_dir), run.attempt_offset, self._identity)
            return Attempt(run, budgets, folder, context, notes).execute()
        except OSError as exc:
            raise HpcsweepError(
                f"{run.run_dir} cannot be written: {exc}", hint="is HPCSWEEP_HOME shared with this node, and not full?"
            ) from exc

    def _ended_before(self, run: RunSpec) -> str | None:
        """The outcome with which an earlier life of this job has done this run already; None: it has to be done."""
        of_slurm = bool(self._env.get("SLURM_JOB_ID")) and not self._env.get("HPCSWEEP_JOB_ID")
        restarts = self._identity.restart_count if of_slurm else None
        return ended_in_this_job(Path(run.run_dir), run.attempt_offset, self._identity.job_id, restarts)

    def _not_run(self, run: RunSpec, stop: Stop) -> None:
        run_dir = Path(run.run_dir)
        if self._ended_before(run) is not None:
            return
        self._say(f"{run.label}: not run: {stop.reason}")
        record = NotRunRecord(
            run_id=run.run_id,
            label=run.label,
            axes=run.axes,
            outcome=OutcomeKind.NOT_RUN,
            code=stop.kind.value,
            reason=f"{stop.kind.value}: {stop.reason}",
            decided_by=stop.decided_by,
            at=time.time(),
            host=self._identity.host,
            job_id=self._identity.job_id,
        )
        with contextlib.suppress(OSError):  # without it the run is unknown, which is the truth
            run_dir.mkdir(parents=True, exist_ok=True)
            write_record(run_dir / NOT_RUN_FILE, record)

    def _record_end(self, exit_code: int, started_at: float, stop: Stop | None) -> None:
        record = TaskExitRecord(
            exit_code=exit_code,
            outcome=stop.kind if stop else None,
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
            write_record(folder / f"{self._element.index}.exit.json", record)
        except OSError as exc:
            self._say(f"the end of the element could not be recorded: {exc}")

    def _cancel_asked(self) -> bool:
        """Whether hpcsweep's own cancel left its marker: it does so before it asks the scheduler."""
        index = self._element.index
        submission = read_json(self._job_dir / "submission.json") or {}
        marker = Path(self._job.sweep_dir) / "dispatcher" / "cancel" / f"{self._job.job}_{index}"
        return index in (submission.get("cancelled") or []) or marker.exists()

    def _say(self, text: str) -> None:
        print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)  # noqa: T201


def retry_asked(verdict: AttemptVerdict, budgets: Budgets) -> bool:
    """Whether the experiment wants this outcome to be tried once more in the same job."""
    asked = {
        OutcomeKind.STALLED: budgets.on_stall,
        OutcomeKind.STARTUP_TIMEOUT: budgets.on_startup_timeout,
    }.get(verdict.kind, "record")
    return asked != "record"


def larger(budgets: Budgets) -> Budgets:
    """The budgets of a retry: those of the startup, times the retry factor."""
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

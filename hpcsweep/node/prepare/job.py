"""Execute one preparation in its job: once at a time, not at all where its result exists, with an end record."""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from hpcsweep.atomic_files import read_json
from hpcsweep.errors import SpecError
from hpcsweep.node.guardian import Guardian
from hpcsweep.node.identity import Identity, counted_restarts, tracked_by_session
from hpcsweep.node.prepare.commands import PREPARE_LOG, pause, run_commands
from hpcsweep.node.prepare.creation import Creation
from hpcsweep.node.process.secrets_file import hidden_values, secret_environment
from hpcsweep.node.process.signals import Stop
from hpcsweep.node.process.stop_reasons import Stopper
from hpcsweep.node.record.folders import AttemptFolder, close_dead_attempts, create_attempt, ended_in_this_job
from hpcsweep.node.record.preparations import failed_preparation
from hpcsweep.node.records import EXIT_FILE, write_record
from hpcsweep.node.watch.outcome import AttemptVerdict
from hpcsweep.spec.file_names import COMMANDS_FILE
from hpcsweep.spec.job import JobSpec, PreparationJob, RunSpec
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.spec.records import ExitRecord
from hpcsweep.sweep.layout import SUBMISSION_FILE, SweepFolder
from hpcsweep.units import counted, format_duration

CREATES_VARIABLE = "HPCSWEEP_CREATES"
_LOCK_LOOK_S = 2.0
_SUBMITTED_WITHIN_S = 60.0
"""The submitting command needs a few seconds for each job; this is also the time-out of one submission."""

WarmUp = Callable[[RunSpec], AttemptVerdict]
"""Start and stop the server of a run, as one attempt."""


class PreparationRun:
    """One execution of a preparation by the agent of its job."""

    def __init__(
        self,
        job_dir: Path,
        job: JobSpec,
        step: PreparationJob,
        identity: Identity,
        stopper: Stopper,
        guardian: Guardian,
        env: Mapping[str, str],
        warm_up: WarmUp,
    ) -> None:
        self._job_dir, self._job, self._step, self._identity = job_dir, job, step, identity
        self._stopper, self._guardian, self._env, self._warm_up = stopper, guardian, env, warm_up
        self._wake = threading.Event()

    def execute(self) -> OutcomeKind:
        """Prepare, and return the outcome, which is in the end record too. Raises OSError: it cannot be written."""
        restarts = None if self._env.get("HPCSWEEP_JOB_ID") else counted_restarts(self._env)
        if ended_in_this_job(self._job_dir, 0, self._identity.job_id, restarts) is OutcomeKind.COMPLETED:
            self._say("completed before this job was requeued")
            return OutcomeKind.COMPLETED
        for note in close_dead_attempts(self._job_dir, self._identity):
            self._say(note.text)
        self._stopper.wake = lambda signum: self._wake.set()
        folder = create_attempt(self._job_dir, 0, self._identity)
        verdict, killed = self._prepare(folder)
        self._record(folder, verdict, killed)
        self._wait_until_needed()
        return verdict.kind

    def _prepare(self, folder: AttemptFolder) -> tuple[AttemptVerdict, list[str]]:
        """Return how the preparation ended, and the processes that were killed."""
        earlier = failed_preparation(self._job)
        if earlier is not None:
            return AttemptVerdict(OutcomeKind.NOT_RUN, "preparation_failed", earlier, "the agent: preparations"), []
        try:
            creation = Creation(self._job, self._step, self._identity, {**self._env, **self._step.variables})
            existing = creation.found()
            if existing is not None and not self._step.warm_runs:
                return _done(f"{existing}; the commands were not run"), []
            stop = self._take(creation)
            if stop is not None:
                return self._stopped(stop), []
            self._guardian.watch(folder.token, folder.path, [creation.lock.path])
            try:
                return self._prepare_locked(folder, creation)
            finally:
                creation.lock.release()
                self._guardian.forget(folder.token)
        except SpecError as exc:
            return _failed(exc.code or "preparation_refused", exc.message, exc.hint), []
        except ValueError as exc:
            return _failed("preparation_path", f"creates: {exc}", "write an absolute path"), []
        except OSError as exc:
            hint = "is the disk or the quota full, and is the folder writable on this node?"
            return _failed("os_error", f"a file cannot be written or a process not started: {exc}", hint), []

    def _take(self, creation: Creation) -> Stop | None:
        """Take the lock of the preparation; return why the job has to stop before that. Raises OSError."""
        announced = ""
        while (holder := creation.lock.take()) is not None:
            if holder != announced:
                self._say(f"waiting for {holder}, which prepares the same")
                announced = holder
            pause(_LOCK_LOOK_S, self._wake)
            stop = self._stopper.check()
            if stop is not None:
                return replace(stop, reason=f"{stop.reason}, while it waited for {holder}")
        return None

    def _prepare_locked(self, folder: AttemptFolder, creation: Creation) -> tuple[AttemptVerdict, list[str]]:
        if self._step.warm_runs:
            return self._warm(folder), []
        existing = creation.found()  # another job may have created it while this one waited for the lock
        if existing is not None:
            return _done(f"{existing}; the commands were not run"), []
        if creation.unfinished():
            self._say(f"{creation.path}: an earlier preparation did not finish it; running the commands again")
        creation.begin()
        secrets = secret_environment(self._job.env_from, self._job.secrets_file, self._env)
        environment = {**self._env, **secrets}
        if creation.path is not None:
            environment[CREATES_VARIABLE] = str(creation.path)
        self._say(f"running {COMMANDS_FILE}; its output is in {folder.path / PREPARE_LOG}")
        end = run_commands(
            self._job_dir / COMMANDS_FILE, environment, folder,
            hidden=hidden_values({**environment, **self._step.variables}, list(secrets), None),
            in_session=tracked_by_session(self._env), not_ours={self._guardian.pid},
            check_stop=self._stopper.check, wake=self._wake,
        )  # fmt: skip
        if end.verdict is not None:
            verdict = end.verdict if end.verdict.kind is not OutcomeKind.WALLTIME else self._out_of_time(end.verdict)
            return replace(verdict, evidence=end.last_lines), end.killed
        creation.finish()
        if creation.path is None:
            return _done("its commands ended with exit code 0", *end.last_lines), end.killed
        existing = creation.found()
        if existing is None:
            reason = f"its commands ended with exit code 0, but {creation.path} is missing or empty"
            hint = "correct `creates`, or the commands"
            return replace(_failed("preparation_created_nothing", reason, hint), evidence=end.last_lines), end.killed
        return _done(existing, *end.last_lines), end.killed

    def _warm(self, folder: AttemptFolder) -> AttemptVerdict:
        """Start the server of each variant once. Variants that do not start are reported to their runs only."""
        failed: list[str] = []
        for run in self._step.warm_runs:
            stop = self._stopper.check()
            if stop is not None:
                return self._stopped(stop)
            self._say(f"starting the server of {run.label}")
            verdict = self._warm_up(run.model_copy(update={"run_dir": str(folder.path / run.variant_id)}))
            if verdict.kind is not OutcomeKind.COMPLETED:
                failed.append(f"{run.label}: {verdict.kind.value}: {verdict.reason}")
        stop = self._stopper.check()
        if stop is not None:
            return self._stopped(stop)
        variants = counted(len(self._step.warm_runs), "variant")
        started = f"the servers of {len(self._step.warm_runs) - len(failed)} of {variants} started"
        if len(failed) < len(self._step.warm_runs):
            return _done(started, *failed)
        reason = f"no server started, the first: {failed[0]}"
        hint = f"its log is below {folder.path}"
        return replace(_failed("warm_up_failed", reason, hint), evidence=tuple(failed))

    def _stopped(self, stop: Stop) -> AttemptVerdict:
        verdict = AttemptVerdict(stop.kind, stop.code, stop.reason, stop.decided_by)
        return self._out_of_time(verdict) if stop.kind is OutcomeKind.WALLTIME else verdict

    def _out_of_time(self, verdict: AttemptVerdict) -> AttemptVerdict:
        walltime = format_duration(self._job.resources.walltime_s)
        hint = "raise `resources.walltime` of the preparation, and submit again"
        return replace(verdict, reason=f"not done within its walltime of {walltime}", hint=hint)

    def _record(self, folder: AttemptFolder, verdict: AttemptVerdict, killed: list[str]) -> None:
        self._say(f"{verdict.kind.value}: {verdict.reason or verdict.evidence[0]}")
        record = ExitRecord(
            attempt=folder.number,
            outcome=verdict.kind,
            code=verdict.code,
            reason=verdict.reason,
            decided_by=verdict.decided_by,
            evidence=list(verdict.evidence),
            exit_code=verdict.exit_code,
            hint=verdict.hint,
            killed=killed,
            ended_at=time.time(),
            host=self._identity.host,
            job_id=self._identity.job_id,
        )
        write_record(folder.path / EXIT_FILE, record)

    def _wait_until_needed(self) -> None:
        """Wait until the jobs that depend on this one were submitted.

        PBS without job history deletes a job that depends on one that has ended, and so does Slurm when it has
        forgotten that one. A job that was started manually has no such jobs.
        """
        deadline_s = time.monotonic() + _SUBMITTED_WITHIN_S
        while self._identity.job_id is not None and self._waited_for() and time.monotonic() < deadline_s:
            pause(_LOCK_LOOK_S, self._wake)
            if self._stopper.check() is not None:
                return

    def _waited_for(self) -> bool:
        """Return whether a job that depends on this one has not been submitted."""
        sweep = SweepFolder(Path(self._job.sweep_dir))
        for number in sweep.job_numbers():
            submission = sweep.job_dir(number) / SUBMISSION_FILE
            if (read_json(submission) or {}).get("job_id") is not None:
                continue
            if sweep.read_job(number).needs.get(self._step.name) == self._job.job:
                return True
        return False

    def _say(self, text: str) -> None:
        stamp = time.strftime("%H:%M:%S")
        print(f"[{stamp}] preparation {self._step.name}: {text}", file=sys.stderr, flush=True)  # noqa: T201


def _done(*evidence: str) -> AttemptVerdict:
    return AttemptVerdict(OutcomeKind.COMPLETED, "completed", "", "the agent", evidence=evidence)


def _failed(code: str, reason: str, hint: str) -> AttemptVerdict:
    return AttemptVerdict(OutcomeKind.FAILED, code, reason, "the agent: preparation", hint)

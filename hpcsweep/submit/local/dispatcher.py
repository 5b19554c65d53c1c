"""The local dispatcher: one detached process per sweep that runs the array tasks of its jobs, a few at a time.

It owns `SWEEP_DIR/dispatcher/`: a lock that it holds while it runs, `state.json` (see `state.py`), and the folder
`cancel/`, in which other processes create a file `J_K` to stop array task K of job J.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from hpcsweep.errors import SchedulerError
from hpcsweep.node.record.preparations import failed_preparation
from hpcsweep.spec.file_names import SCRIPT_FILE
from hpcsweep.spec.job import ArrayTask, JobSpec
from hpcsweep.submit.backends import own_script_exports
from hpcsweep.submit.local.gpu_slots import GpuSlots, Taken
from hpcsweep.submit.local.state import DISPATCHER_DIR, TaskRecord, TaskState, read_state, task_key, write_state
from hpcsweep.sweep.layout import SweepFolder

QUEUED_FILE = "queued"
"""In a job folder: the dispatcher has to run the job."""

_POLL_S = 0.1
_CANCEL_GRACE_S = 90.0
_LOCK_WAIT_S = 2.0


@dataclass
class _Running:
    process: subprocess.Popen[bytes]
    slots: list[IO[str]]


class Dispatcher:
    """Run every queued array task of a sweep, at most `parallel` at the same time."""

    def __init__(self, sweep: SweepFolder, parallel: int, gpus: GpuSlots) -> None:
        self._sweep, self._parallel, self._gpus = sweep, parallel, gpus
        self._folder = sweep.path / DISPATCHER_DIR
        self._tasks: dict[str, TaskRecord] = {}
        self._needs: dict[str, int] = {}
        self._running: dict[str, _Running] = {}
        self._jobs: set[int] = set()
        self._waiting: dict[int, JobSpec] = {}  # jobs whose preparations have not ended

    def run(self) -> None:
        """Run until no array task is pending or running. The caller holds the lock."""
        self._take_over()
        while True:
            self._take_new_jobs()
            self._reap()
            self._cancel()
            self._release()
            self._start()
            if not self._running and not any(task.state.active for task in self._tasks.values()):
                return
            time.sleep(_POLL_S)

    def _take_over(self) -> None:
        """Continue from the state of a dispatcher that was killed; `hpcsweep retry` submits what it had not started."""
        for key, task in read_state(self._sweep).tasks.items():
            if task.state is TaskState.PENDING:
                task.state = TaskState.ABANDONED
            self._tasks[key] = task
            self._jobs.add(_job_of(key))

    def _take_new_jobs(self) -> None:
        new = [number for number in self._sweep.job_numbers() if number not in self._jobs]
        queued = [number for number in new if (self._sweep.job_dir(number) / QUEUED_FILE).exists()]
        for number in queued:
            job = self._sweep.read_job(number)
            for array_task in job.array_tasks:
                key = task_key(number, array_task.index)
                self._tasks[key] = TaskRecord(TaskState.PENDING)
                self._needs[key] = _gpus(job, array_task)
            if job.needs:
                self._waiting[number] = job
            self._jobs.add(number)
        if queued:
            self._write()

    def _release(self) -> None:
        """Let the jobs start whose preparations completed, and skip those of which one failed."""
        for number, job in list(self._waiting.items()):
            before = [self._tasks.get(task_key(needed, 0)) for needed in job.needs.values()]
            failure = failed_preparation(job)
            if failure is not None and any(task is not None and task.state.active for task in before):
                continue
            del self._waiting[number]
            for key, task in self._tasks.items():
                if failure is not None and _job_of(key) == number and task.state is TaskState.PENDING:
                    task.state, task.reason, task.ended_at = TaskState.SKIPPED, failure, time.time()
            self._write()

    def _start(self) -> None:
        for key, task in self._tasks.items():
            if sum(other.state is TaskState.RUNNING for other in self._tasks.values()) >= self._parallel:
                return
            if task.state is not TaskState.PENDING or _job_of(key) in self._waiting:
                continue
            needs = self._needs[key]
            if self._gpus.count and needs > self._gpus.count:
                task.state = TaskState.UNSCHEDULABLE
                task.reason = f"needs {needs} GPUs; this machine has {self._gpus.count}"
                self._write()
                continue
            taken = self._gpus.take(needs) if self._gpus.count and needs else None
            if taken is None and self._gpus.count and needs:
                continue  # other sweeps use the GPUs; a smaller array task may still fit
            self._launch(key, taken)

    def _launch(self, key: str, taken: Taken | None) -> None:
        number, index = _job_of(key), key.split("_")[1]
        job_dir = self._sweep.job_dir(number)
        environment = {**os.environ, "HPCSWEEP_ARRAY_INDEX": index}
        job = self._sweep.read_job(number)
        if job.own_script:
            environment |= own_script_exports(job, str(job_dir))
        if taken is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(taken.names)
        (job_dir / "logs").mkdir(exist_ok=True)
        with (job_dir / "logs" / f"{index}.log").open("ab") as log:
            process = subprocess.Popen(
                ["bash", str(job_dir / SCRIPT_FILE)],
                cwd=job_dir,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running[key] = _Running(process, taken.files if taken is not None else [])
        task = self._tasks[key]
        task.state, task.pid, task.created = TaskState.RUNNING, process.pid, created_at(process.pid)
        task.started_at = time.time()
        self._write()

    def _reap(self) -> None:
        for key, running in list(self._running.items()):
            code = running.process.poll()
            if code is None:
                continue
            for slot in running.slots:
                slot.close()
            del self._running[key]
            task = self._tasks[key]
            task.state, task.exit_code, task.ended_at = TaskState.ENDED, code, time.time()
            self._write()
        for key, task in self._tasks.items():
            inherited = task.state is TaskState.RUNNING and key not in self._running
            if inherited and not alive(task.pid, task.created):
                task.state, task.ended_at = TaskState.ENDED, time.time()  # not our child: its exit code is unknown
                self._write()

    def _cancel(self) -> None:
        for key, task in self._tasks.items():
            if not task.state.active or not (self._folder / "cancel" / key).exists():
                continue
            if task.state is TaskState.PENDING:
                task.state, task.ended_at = TaskState.CANCELLED, time.time()
                self._write()
            elif not task.cancelled_at:
                task.cancelled_at = time.time()
                self._write()
                self._signal(key, signal.SIGTERM)
            elif time.time() - task.cancelled_at > _CANCEL_GRACE_S:
                self._signal(key, signal.SIGKILL)

    def _signal(self, key: str, signum: signal.Signals) -> None:
        """Signal the process of an array task: a child, or one that an earlier dispatcher started."""
        running = self._running.get(key)
        if running is not None:
            running.process.send_signal(signum)
        else:
            signal_task(self._tasks[key], signum, self._sweep.job_dir(_job_of(key)))

    def _write(self) -> None:
        try:
            write_state(self._sweep, created_at(os.getpid()), self._tasks)
        except OSError as exc:  # a full disk must not end the sweep; the next change is written again
            print(f"dispatcher: state.json: {exc}", file=sys.stderr)  # noqa: T201


def _gpus(job: JobSpec, task: ArrayTask) -> int:
    """Return the GPUs of an array task: what its runs use, or what a preparation requests."""
    step = job.preparation
    if step is not None and not any(run.simulation is not None for run in step.warm_runs):
        return job.resources.gpus
    return max((run.gpus * run.nodes for run in task.runs if run.simulation is None), default=0)


def _job_of(key: str) -> int:
    return int(key.split("_")[0])


def created_at(pid: int) -> float | None:
    """Return when a process started, in Unix seconds; None when it does not exist. With the pid it is unique."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def alive(pid: int | None, created: float | None) -> bool:
    """Return whether the process with this pid and start time still runs (and is not a zombie)."""
    return _process(pid, created) is not None


def signal_task(task: TaskRecord, signum: signal.Signals, job_dir: Path) -> None:
    """Signal the process of an array task, if it is the same process, of this user, and runs this job's script.

    These checks are needed because state.json may come from another user and contain the pid of any process.
    """
    process = _process(task.pid, task.created)
    if process is None or not _works_in(process, job_dir):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signum)


def _process(pid: int | None, created: float | None) -> psutil.Process | None:
    """Return this user's process with this pid and start time; None when it does not run, or a value is unknown."""
    if pid is None or created is None or pid <= 1:
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < 1.0 and process.uids().real == os.getuid()
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, OverflowError):
        return None


def _works_in(process: psutil.Process, job_dir: Path) -> bool:
    """Return whether a process runs job.sh of this job, or is the agent that job.sh became."""
    folder = str(job_dir)
    try:
        argv = process.cmdline()
        return any(argument in (folder, f"{folder}/{SCRIPT_FILE}") for argument in argv) or (
            process.environ().get("HPCSWEEP_JOB_DIR") == folder
        )
    except psutil.Error:
        return False


def lock(folder: Path) -> IO[str] | None:
    """Take the lock of a sweep's dispatcher, until the file is closed; None: another process holds it.

    Raises SchedulerError when the file cannot be opened, or its file system does not support locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / "lock").open("a")
    except OSError as exc:
        raise SchedulerError(
            f"{folder / 'lock'} cannot be opened: {exc.strerror}", code="dispatcher_lock_unusable"
        ) from exc
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    except OSError as exc:  # ENOLCK, ENOTSUP
        stream.close()
        raise SchedulerError(
            f"{folder / 'lock'} cannot be locked: {exc.strerror}",
            code="dispatcher_lock_unusable",
            hint="choose a --home on a file system that supports locks, such as a local disk",
        ) from exc
    return stream


def main() -> None:
    """Run `python -m hpcsweep.submit.local.dispatcher SWEEP_DIR PARALLEL HOME`; return when another one runs."""
    sweep_dir, parallel, home = sys.argv[1:4]
    sweep = SweepFolder(Path(sweep_dir))
    held = lock(sweep.path / DISPATCHER_DIR)
    deadline = time.monotonic() + _LOCK_WAIT_S
    while held is None and time.monotonic() < deadline:
        time.sleep(0.05)  # another process may hold the lock briefly, to test whether it is free
        held = lock(sweep.path / DISPATCHER_DIR)
    if held is None:
        return
    with held:
        Dispatcher(sweep, int(parallel), GpuSlots.of_this_machine(Path(home))).run()


if __name__ == "__main__":
    main()

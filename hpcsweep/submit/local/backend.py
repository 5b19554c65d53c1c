"""The backend of this machine: a detached dispatcher, started with submitit's LocalExecutor, runs the array tasks."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import submitit

from hpcsweep.errors import SchedulerError, SpecError
from hpcsweep.hosts.base import Host
from hpcsweep.hosts.local import LocalHost
from hpcsweep.schedulers.base import JobState, JobStatus, QueueSnapshot
from hpcsweep.spec.job import JobSpec
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.submit.local.dispatcher import QUEUED_FILE, alive, lock, signal_task
from hpcsweep.submit.local.state import DISPATCHER_DIR, TaskRecord, TaskState, read_state, task_key
from hpcsweep.sweep.layout import Home, SweepFolder

_START_TIMEOUT_S = 60.0
_LOG_FILE = "dispatcher.log"


class LocalBackend:
    """Jobs of this machine. A job id is `SWEEP:N`; every status has the index of its array task."""

    template = "local.sh.j2"

    def __init__(self, home: Home, parallel: int | None) -> None:
        self._home = home
        self.host: Host = LocalHost()
        self._parallel = parallel or max(1, os.cpu_count() or 1)

    def submit(self, job: JobSpec, job_dir: str, script: str, after: Sequence[str] = ()) -> str:
        """Mark the job as queued, and start a dispatcher for its sweep unless one runs. See `Backend.submit`.

        `after` is not used: the dispatcher reads from job.json which preparations a job needs.
        """
        sweep = SweepFolder(Path(job.sweep_dir))
        if "%" in str(sweep.path):  # submitit replaces % sequences in paths, or fails
            raise SpecError(
                f"HPCSWEEP_HOME {self._home.path} has a % in its path",
                code="percent_in_home",
                hint="choose another --home",
            )
        (Path(job_dir) / QUEUED_FILE).touch()
        keys = {task_key(job.job, array_task.index) for array_task in job.array_tasks}
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            free = lock(sweep.path / DISPATCHER_DIR)
            if free is not None:
                free.close()
                if keys <= read_state(sweep).tasks.keys():
                    break  # a dispatcher has run the job already, and exited
                self._start(sweep)
            elif keys <= read_state(sweep).tasks.keys():
                break
            time.sleep(0.05)
        else:
            raise SchedulerError(
                f"the local dispatcher of {job.sweep} did not start within {_START_TIMEOUT_S:.0f} s",
                code="dispatcher_start_timeout",
                hint=f"see {sweep.path / DISPATCHER_DIR / _LOG_FILE}",
            )
        return f"{job.sweep}:{job.job}"

    def cancel(self, job_id: str, indexes: Sequence[int] | None) -> None:
        """Create a file per array task, which makes the dispatcher stop it; without a dispatcher, signal the processes.

        See `Backend.cancel`.
        """
        sweep, number = self._sweep(job_id)
        folder = sweep.path / DISPATCHER_DIR / "cancel"
        folder.mkdir(parents=True, exist_ok=True)
        tasks = read_state(sweep).of_job(number)
        chosen = list(tasks) if indexes is None else list(indexes)
        for index in chosen:
            (folder / task_key(number, index)).touch()
        free = lock(sweep.path / DISPATCHER_DIR)
        if free is None:
            return
        with free:
            for index in chosen:
                if index in tasks and tasks[index].state is TaskState.RUNNING:
                    signal_task(tasks[index], signal.SIGTERM, sweep.job_dir(number))  # its agent cleans up

    def max_array_size(self) -> int | None:
        """Return None: arrays have no limit."""
        return None

    def find(self, name: str, job_dir: str) -> list[str]:
        """Return the job's id if a dispatcher has started it. See `Backend.find`.

        The submitting process may have been killed, or its terminal closed, before it could record the id.
        """
        folder = Path(job_dir)
        sweep = SweepFolder(folder.parent.parent)
        number = int(folder.name)
        return [f"{sweep.name}:{number}"] if read_state(sweep).of_job(number) else []

    def queue_snapshot(self, names: Mapping[str, str]) -> QueueSnapshot:
        """Return the states from the dispatchers' state files and the process table. See `Backend.queue_snapshot`."""
        statuses: dict[tuple[str, int | None], JobStatus] = {}
        errors: list[str] = []
        for job_id in names:
            try:
                sweep, number = self._sweep(job_id)
            except SchedulerError as exc:
                errors.append(exc.message)
                continue
            state = read_state(sweep)
            dispatcher_alive = alive(state.pid, state.created)
            for index, task in state.of_job(number).items():
                statuses[(job_id, index)] = _status(job_id, index, task, dispatcher_alive)
        return QueueSnapshot(statuses, complete=not errors, error="; ".join(errors))

    def _sweep(self, job_id: str) -> tuple[SweepFolder, int]:
        name, _, number = job_id.rpartition(":")
        if not number.isdecimal() or "/" in name:
            raise SchedulerError(
                f"{job_id!r} is not the id of a local job",
                code="invalid_local_job_id",
                hint="check whether its submission.json is corrupt",
            )
        return SweepFolder(self._home.sweeps_dir / name), int(number)

    def _start(self, sweep: SweepFolder) -> None:
        logging.getLogger("submitit").setLevel(logging.ERROR)
        executor = submitit.LocalExecutor(sweep.path / DISPATCHER_DIR / "submitit")
        executor.update_parameters(timeout_min=2)
        job = executor.submit(
            start_dispatcher,
            str(sweep.path),
            self._parallel,
            str(self._home.path),
            os.environ.get("CUDA_VISIBLE_DEVICES"),
        )
        job.result()


def start_dispatcher(sweep_dir: str, parallel: int, home: str, cuda_visible_devices: str | None) -> int:
    """Start the dispatcher in its own session, detached from the terminal; return its pid.

    submitit runs this function. The dispatcher is a process of its own because submitit's controller exits with the
    terminal, and because submitit hides the GPUs from its jobs.
    """
    folder = Path(sweep_dir) / DISPATCHER_DIR
    env = {name: value for name, value in os.environ.items() if not name.startswith("SUBMITIT_")}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    if cuda_visible_devices is not None:
        env["CUDA_VISIBLE_DEVICES"] = cuda_visible_devices
    with (folder / _LOG_FILE).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hpcsweep.submit.local.dispatcher", sweep_dir, str(parallel), home],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=env,
        )
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        free = lock(folder)
        if free is None:
            break
        free.close()
        time.sleep(0.05)
    return process.pid


def _status(job_id: str, index: int, task: TaskRecord, dispatcher_alive: bool) -> JobStatus:
    native = task.state.value
    if task.state is TaskState.PENDING and dispatcher_alive:
        return JobStatus(job_id, index, JobState.PENDING, native, "waiting for a free slot")
    if task.state in (TaskState.PENDING, TaskState.ABANDONED):
        return JobStatus(
            job_id,
            index,
            JobState.FAILED,
            "dispatcher gone",
            "the local dispatcher of this sweep exited (it was killed, or the machine was restarted)",
            hint="`hpcsweep retry` submits the missing runs",
            outcome=OutcomeKind.NOT_RUN,
        )
    if task.state is TaskState.RUNNING:
        if alive(task.pid, task.created):
            return JobStatus(job_id, index, JobState.RUNNING, native, node=os.uname().nodename)
        return JobStatus(job_id, index, JobState.FAILED, "gone", "the process exited unexpectedly")
    if task.state is TaskState.CANCELLED:
        return JobStatus(
            job_id, index, JobState.FAILED, native, "cancelled before it started", outcome=OutcomeKind.CANCELLED
        )
    if task.state is TaskState.SKIPPED:
        return JobStatus(job_id, index, JobState.FAILED, native, task.reason or "", outcome=OutcomeKind.NOT_RUN)
    if task.state is TaskState.UNSCHEDULABLE:
        return JobStatus(job_id, index, JobState.UNSCHEDULABLE, native, task.reason or "")
    code = task.exit_code
    return JobStatus(
        job_id,
        index,
        JobState.COMPLETED if code == 0 else JobState.FAILED,
        native,
        outcome=OutcomeKind.CANCELLED if task.cancelled_at else None,
        exit_code=code if code is not None and code >= 0 else None,
        signal=-code if code is not None and code < 0 else None,
        node=os.uname().nodename,
    )

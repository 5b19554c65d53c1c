"""The backend of this machine: elements run under a detached dispatcher, which submitit's LocalExecutor starts."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit

from hpcsweep.errors import SchedulerError, SpecError
from hpcsweep.hosts.base import Host
from hpcsweep.hosts.local import LocalHost
from hpcsweep.schedulers.base import JobState, JobStatus, QueueSnapshot
from hpcsweep.spec.job import JobSpec
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.submit.local.dispatcher import QUEUED_FILE, alive, lock, read_state, tell
from hpcsweep.sweep.layout import Home, SweepFolder

_START_TIMEOUT_S = 60.0


class LocalBackend:
    """Jobs of one machine. A job id is `SWEEP:N`; elements are always told by their index."""

    template = "local.sh.j2"

    def __init__(self, home: Home, parallel: int | None) -> None:
        self._home = home
        self.host: Host = LocalHost()
        self._parallel = parallel or max(1, os.cpu_count() or 1)

    def submit(self, job: JobSpec, job_dir: str, script: str) -> str:
        """Mark the job as queued and see to it that a dispatcher of its sweep is alive."""
        sweep = SweepFolder(Path(job.sweep_dir))
        if "%" in str(sweep.path):  # submitit would put the id of its job there, or fail
            raise SpecError(f"HPCSWEEP_HOME {self._home.path} has a % in its path", hint="choose another --home")
        (Path(job_dir) / QUEUED_FILE).touch()
        keys = {f"{job.job}_{element.index}" for element in job.array_tasks}
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            free = lock(sweep.path / "dispatcher")
            if free is not None:
                free.close()
                if keys <= read_state(sweep).get("elements", {}).keys():
                    break  # it has come, done its work and gone
                self._start(sweep)
            elif keys <= read_state(sweep).get("elements", {}).keys():
                break
            time.sleep(0.05)
        else:
            raise SchedulerError(
                f"the local dispatcher of {job.sweep} did not start within {_START_TIMEOUT_S:.0f} s",
                hint=f"see {sweep.path / 'dispatcher' / 'dispatcher.log'}",
            )
        return f"{job.sweep}:{job.job}"

    def cancel(self, job_id: str, indexes: Sequence[int] | None) -> None:
        """Leave a mark for each element; the dispatcher stops them. Without one alive the processes are told here."""
        sweep, number = self._sweep(job_id)
        folder = sweep.path / "dispatcher" / "cancel"
        folder.mkdir(parents=True, exist_ok=True)
        elements = read_state(sweep).get("elements", {})
        keys = [k for k in elements if k.startswith(f"{number}_")]
        if indexes is not None:
            keys = [f"{number}_{index}" for index in indexes]
        for key in keys:
            (folder / key).touch()
        free = lock(sweep.path / "dispatcher")
        if free is None:
            return
        with free:
            for key in keys:
                if elements.get(key, {}).get("state") == "running":
                    tell(elements[key], signal.SIGTERM, sweep.job_dir(number))  # its agent cleans up by itself

    def max_array_size(self) -> int | None:
        """No limit here."""
        return None

    def find(self, name: str, job_dir: str) -> list[str]:
        """The job, once a dispatcher has taken it: the submitter may have been killed, or its terminal closed, before
        it could write that down; see `Backend.find`.
        """
        folder = Path(job_dir)
        sweep = SweepFolder(folder.parent.parent)
        taken = any(key.startswith(f"{folder.name}_") for key in read_state(sweep).get("elements", {}))
        return [f"{sweep.name}:{folder.name}"] if taken else []

    def queue_snapshot(self, names: Mapping[str, str]) -> QueueSnapshot:
        """What the dispatchers' state files and the process table say."""
        statuses: dict[tuple[str, int | None], JobStatus] = {}
        troubles: list[str] = []
        for job_id in names:
            try:
                sweep, number = self._sweep(job_id)
            except SchedulerError as exc:
                troubles.append(exc.message)
                continue
            state = read_state(sweep)
            living = bool(state) and alive(state["pid"], state["created"])
            for key, element in state.get("elements", {}).items():
                job, index = key.split("_")
                if int(job) == number:
                    statuses[(job_id, int(index))] = _status(job_id, int(index), element, living)
        return QueueSnapshot(statuses, complete=not troubles, error="; ".join(troubles))

    def _sweep(self, job_id: str) -> tuple[SweepFolder, int]:
        name, _, number = job_id.rpartition(":")
        if not number.isdecimal() or "/" in name:
            raise SchedulerError(f"{job_id!r} is no job of this machine", hint="is its submission.json damaged?")
        return SweepFolder(self._home.sweeps_dir / name), int(number)

    def _start(self, sweep: SweepFolder) -> None:
        logging.getLogger("submitit").setLevel(logging.ERROR)
        executor = submitit.LocalExecutor(sweep.path / "dispatcher" / "submitit")
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
    """Start the dispatcher in a session of its own, away from the terminal; its pid.

    submitit runs this: its controller would otherwise die with the terminal, and it hides the GPUs of its jobs.
    """
    folder = Path(sweep_dir) / "dispatcher"
    env = {name: value for name, value in os.environ.items() if not name.startswith("SUBMITIT_")}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    if cuda_visible_devices is not None:
        env["CUDA_VISIBLE_DEVICES"] = cuda_visible_devices
    with (folder / "dispatcher.log").open("ab") as log:
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


def _status(job_id: str, index: int, element: Mapping[str, Any], dispatcher_alive: bool) -> JobStatus:
    native = str(element["state"])
    if native == "pending" and dispatcher_alive:
        return JobStatus(job_id, index, JobState.PENDING, native, "waits for a free lane")
    if native in ("pending", "abandoned"):
        return JobStatus(
            job_id,
            index,
            JobState.FAILED,
            "dispatcher gone",
            "the local dispatcher of this sweep is gone (killed, or the machine was restarted)",
            hint="`hpcsweep retry` submits what is missing",
            outcome=OutcomeKind.NOT_RUN,
        )
    if native == "running":
        if alive(element.get("pid", 0), element.get("created")):
            return JobStatus(job_id, index, JobState.RUNNING, native, node=os.uname().nodename)
        return JobStatus(job_id, index, JobState.FAILED, "gone", "its process is gone without a word")
    if native == "cancelled":
        return JobStatus(
            job_id, index, JobState.FAILED, native, "cancelled before it started", outcome=OutcomeKind.CANCELLED
        )
    if native == "never":
        return JobStatus(job_id, index, JobState.UNSCHEDULABLE, native, str(element.get("reason", "")))
    code = element.get("exit_code")
    state = JobState.COMPLETED if code == 0 else JobState.FAILED
    cancelled = OutcomeKind.CANCELLED if element.get("cancelled_at") else None
    return JobStatus(
        job_id,
        index,
        state,
        native,
        outcome=cancelled,
        exit_code=code if code is not None and code >= 0 else None,
        signal=-code if code is not None and code < 0 else None,
        node=os.uname().nodename,
    )

"""The local dispatcher: one detached process per sweep that runs the elements of its jobs, a few at a time.

It owns `SWEEP_DIR/dispatcher/`: a lock held for its life, `state.json` (what each element does), and `cancel/J_K`,
which other processes make to have element K of job J stopped.
"""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from hpcsweep.errors import HpcsweepError, SchedulerError
from hpcsweep.foreign_files import integer_or_none, number_or_none, text_or_none
from hpcsweep.submit.backends import own_script_exports
from hpcsweep.submit.local.gpu_slots import GpuSlots
from hpcsweep.sweep.layout import SweepFolder, read_json, write_json

QUEUED_FILE = "queued"  # in a job folder: the dispatcher is to run it
_POLL_S = 0.1
_CANCEL_GRACE_S = 90.0
_LOCK_WAIT_S = 2.0
_KEY = re.compile(r"[0-9]{1,9}_[0-9]{1,9}")


@dataclass
class _Running:
    process: subprocess.Popen[bytes]
    slots: list[IO[str]]


class Dispatcher:
    """Runs every queued element of a sweep, at most `parallel` at once."""

    def __init__(self, sweep: SweepFolder, parallel: int, gpus: GpuSlots) -> None:
        self._sweep, self._parallel, self._gpus = sweep, parallel, gpus
        self._folder = sweep.path / "dispatcher"
        self._tasks: dict[str, dict[str, Any]] = {}
        self._needs: dict[str, int] = {}
        self._running: dict[str, _Running] = {}
        self._jobs: set[int] = set()

    def run(self) -> None:
        """Until nothing is left to do. The caller holds the lock."""
        self._take_over()
        while True:
            self._take_new_jobs()
            self._reap()
            self._cancel()
            self._start()
            if not self._running and all(e["state"] not in ("pending", "running") for e in self._tasks.values()):
                return
            time.sleep(_POLL_S)

    def _take_over(self) -> None:
        """Go on from the state of a dispatcher that was killed: what it had not begun is left to `hpcsweep retry`."""
        for key, task in read_state(self._sweep).get("tasks", {}).items():
            if task["state"] == "pending":
                task["state"] = "abandoned"
            self._tasks[key] = task
            self._jobs.add(int(key.split("_")[0]))

    def _take_new_jobs(self) -> None:
        new = [n for n in self._sweep.job_numbers() if n not in self._jobs]
        queued = [n for n in new if (self._sweep.job_dir(n) / QUEUED_FILE).exists()]
        for number in queued:
            job = self._sweep.read_job(number)
            for task in job.tasks:
                key = f"{number}_{task.index}"
                self._tasks[key] = {"state": "pending"}
                self._needs[key] = max((run.gpus for run in task.runs if run.simulation is None), default=0)
            self._jobs.add(number)
        if queued:
            self._write()

    def _start(self) -> None:
        for key, task in self._tasks.items():
            if sum(e["state"] == "running" for e in self._tasks.values()) >= self._parallel:
                return
            if task["state"] != "pending":
                continue
            needs = self._needs[key]
            if self._gpus.count and needs > self._gpus.count:
                task.update(state="never", reason=f"needs {needs} GPUs; this machine has {self._gpus.count}")
                self._write()
                continue
            taken = self._gpus.take(needs) if self._gpus.count and needs else None
            if taken is None and self._gpus.count and needs:
                continue  # other sweeps hold the GPUs: a smaller element may still fit
            self._launch(key, taken)

    def _launch(self, key: str, taken: Any) -> None:
        number, index = key.split("_")
        job_dir = self._sweep.job_dir(int(number))
        environment = {**os.environ, "HPCSWEEP_ARRAY_INDEX": index}
        job = self._sweep.read_job(int(number))
        if job.own_script:
            environment |= own_script_exports(job, str(job_dir))
        if taken is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(taken.names)
        (job_dir / "logs").mkdir(exist_ok=True)
        with (job_dir / "logs" / f"{index}.log").open("ab") as log:
            process = subprocess.Popen(
                ["bash", str(job_dir / "job.sh")],
                cwd=job_dir,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running[key] = _Running(process, taken.files if taken is not None else [])
        self._tasks[key].update(
            state="running", pid=process.pid, created=created_at(process.pid), started_at=time.time()
        )
        self._write()

    def _reap(self) -> None:
        for key, running in list(self._running.items()):
            code = running.process.poll()
            if code is None:
                continue
            for slot in running.slots:
                slot.close()
            del self._running[key]
            self._tasks[key].update(state="ended", exit_code=code, ended_at=time.time())
            self._write()
        for key, task in self._tasks.items():
            inherited = task["state"] == "running" and key not in self._running
            if inherited and not alive(task.get("pid", 0), task.get("created")):
                task.update(state="ended", ended_at=time.time())  # whose child it was is gone: no exit code
                self._write()

    def _cancel(self) -> None:
        for key, task in self._tasks.items():
            if task["state"] not in ("pending", "running") or not (self._folder / "cancel" / key).exists():
                continue
            if task["state"] == "pending":
                task.update(state="cancelled", ended_at=time.time())
                self._write()
            elif not task.get("cancelled_at"):
                task["cancelled_at"] = time.time()
                self._write()
                self._signal(key, signal.SIGTERM)
            elif time.time() - task["cancelled_at"] > _CANCEL_GRACE_S:
                self._signal(key, signal.SIGKILL)

    def _signal(self, key: str, signum: signal.Signals) -> None:
        """Signal an element: a child of ours, or one that a dispatcher before this one started."""
        running = self._running.get(key)
        if running is not None:
            running.process.send_signal(signum)
        else:
            tell(self._tasks[key], signum, self._sweep.job_dir(int(key.split("_")[0])))

    def _write(self) -> None:
        state = {"pid": os.getpid(), "created": created_at(os.getpid()), "tasks": self._tasks}
        try:
            write_json(self._folder / "state.json", state)
        except OSError as exc:  # a full disk must not end the sweep; the next change is written again
            print(f"dispatcher: state.json: {exc}", file=sys.stderr)  # noqa: T201


def created_at(pid: int) -> float | None:
    """When the process began, Unix seconds; with the pid it names a process for ever. None: it is gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def alive(pid: int, created: float | None) -> bool:
    """Whether the very process that had this pid then is still there (and no zombie). `created` None: not known."""
    return created is not None and _process(pid, created) is not None


def tell(task: Mapping[str, Any], signum: signal.Signals, job_dir: Path) -> None:
    """Send a signal to the process of an element, if it is still the same one, ours, and at work in this job's folder.

    state.json may have come with a folder from somebody else, and name any process of ours.
    """
    created = task.get("created")
    process = _process(task.get("pid"), created) if created is not None else None
    if process is None or not _works_in(process, job_dir):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signum)


def _process(pid: object, created: float) -> psutil.Process | None:
    """The living process of this user with this pid that began then; None: there is none."""
    if not isinstance(pid, int) or pid <= 1:
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < 1.0 and process.uids().real == os.getuid()
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, OverflowError):
        return None


def _works_in(process: psutil.Process, job_dir: Path) -> bool:
    """Whether a process runs job.sh of this job, or what that has become: its agent names the folder."""
    folder = str(job_dir)
    try:
        words = process.cmdline()
        return any(word in (folder, f"{folder}/job.sh") for word in words) or (
            process.environ().get("HPCSWEEP_JOB_DIR") == folder
        )
    except psutil.Error:
        return False


def lock(folder: Path) -> IO[str] | None:
    """Take the dispatcher's lock of a sweep; None: somebody holds it. Held until the file is closed.

    Raises SchedulerError: its file system has no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / "lock").open("a")
    except OSError as exc:
        raise SchedulerError(f"{folder / 'lock'} cannot be opened: {exc.strerror}") from exc
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    except OSError as exc:  # ENOLCK, ENOTSUP: a file system without locks
        stream.close()
        raise SchedulerError(
            f"{folder / 'lock'} cannot be locked: {exc.strerror}",
            hint="choose a --home on a file system that has locks, such as a local disk; schedulers need none",
        ) from exc
    return stream


def read_state(sweep: SweepFolder) -> Mapping[str, Any]:
    """state.json of the dispatcher, its `elements` by J_K; empty when none was ever started, or it cannot be read."""
    try:
        found = read_json(sweep.path / "dispatcher" / "state.json")
    except HpcsweepError:
        return {}
    if not isinstance(found, dict) or integer_or_none(found.get("pid")) is None:
        return {}
    tasks = found.get("tasks")
    known = tasks.items() if isinstance(tasks, dict) else ()
    return {
        "pid": found["pid"],
        "created": number_or_none(found.get("created")),
        "tasks": {key: _task(one) for key, one in known if _KEY.fullmatch(key) and isinstance(one, dict)},
    }


def _task(found: Mapping[str, Any]) -> dict[str, Any]:
    """What state.json says of an element; a field of another form is not known."""
    task: dict[str, Any] = {"state": str(found.get("state"))}
    for name in ("pid", "exit_code"):
        task[name] = integer_or_none(found.get(name))
    for name in ("created", "started_at", "ended_at", "cancelled_at"):
        task[name] = number_or_none(found.get(name))
    task["reason"] = text_or_none(found.get("reason"))
    return {name: value for name, value in task.items() if value is not None}


def main() -> None:
    """`python -m hpcsweep.submit.local.dispatcher SWEEP_DIR PARALLEL HOME`: returns at once when another is alive."""
    sweep_dir, parallel, home = sys.argv[1:4]
    sweep = SweepFolder(Path(sweep_dir))
    held = lock(sweep.path / "dispatcher")
    deadline = time.monotonic() + _LOCK_WAIT_S
    while held is None and time.monotonic() < deadline:
        time.sleep(0.05)  # somebody may just be looking whether the lock is free
        held = lock(sweep.path / "dispatcher")
    if held is None:
        return
    with held:
        Dispatcher(sweep, int(parallel), GpuSlots.of_this_machine(Path(home))).run()


if __name__ == "__main__":
    main()

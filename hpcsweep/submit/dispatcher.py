"""The local dispatcher: one detached process per sweep that runs the elements of its jobs, a few at a time.

It owns `SWEEP_DIR/dispatcher/`: a lock held for its life, `state.json` (what each element does), and `cancel/J_K`,
which other processes make to have element K of job J stopped.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from hpcsweep.submit.backends import own_script_exports
from hpcsweep.submit.gpu_slots import GpuSlots
from hpcsweep.sweep.layout import SweepFolder, read_json, write_json

QUEUED_FILE = "queued"  # in a job folder: the dispatcher is to run it
_POLL_S = 0.1
_CANCEL_GRACE_S = 90.0
_LOCK_WAIT_S = 2.0


@dataclass
class _Running:
    process: subprocess.Popen[bytes]
    slots: list[IO[str]]


class Dispatcher:
    """Runs every queued element of a sweep, at most `parallel` at once."""

    def __init__(self, sweep: SweepFolder, parallel: int, gpus: GpuSlots) -> None:
        self._sweep, self._parallel, self._gpus = sweep, parallel, gpus
        self._folder = sweep.path / "dispatcher"
        self._elements: dict[str, dict[str, Any]] = {}
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
            if not self._running and all(e["state"] not in ("pending", "running") for e in self._elements.values()):
                return
            time.sleep(_POLL_S)

    def _take_over(self) -> None:
        """Go on from the state of a dispatcher that was killed: what it had not begun is left to `hpcsweep retry`."""
        for key, element in read_state(self._sweep).get("elements", {}).items():
            if element["state"] == "pending":
                element["state"] = "abandoned"
            self._elements[key] = element
            self._jobs.add(int(key.split("_")[0]))

    def _take_new_jobs(self) -> None:
        new = [n for n in self._sweep.job_numbers() if n not in self._jobs]
        queued = [n for n in new if (self._sweep.job_dir(n) / QUEUED_FILE).exists()]
        for number in queued:
            job = self._sweep.read_job(number)
            for element in job.elements:
                key = f"{number}_{element.index}"
                self._elements[key] = {"state": "pending"}
                self._needs[key] = max((run.gpus for run in element.runs if run.simulation is None), default=0)
            self._jobs.add(number)
        if queued:
            self._write()

    def _start(self) -> None:
        for key, element in self._elements.items():
            if sum(e["state"] == "running" for e in self._elements.values()) >= self._parallel:
                return
            if element["state"] != "pending":
                continue
            needs = self._needs[key]
            if self._gpus.count and needs > self._gpus.count:
                element.update(state="never", reason=f"needs {needs} GPUs; this machine has {self._gpus.count}")
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
        self._elements[key].update(
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
            self._elements[key].update(state="ended", exit_code=code, ended_at=time.time())
            self._write()
        for key, element in self._elements.items():
            inherited = element["state"] == "running" and key not in self._running
            if inherited and not alive(element["pid"], element.get("created")):
                element.update(state="ended", ended_at=time.time())  # whose child it was is gone: no exit code
                self._write()

    def _cancel(self) -> None:
        for key, element in self._elements.items():
            if element["state"] not in ("pending", "running") or not (self._folder / "cancel" / key).exists():
                continue
            if element["state"] == "pending":
                element.update(state="cancelled", ended_at=time.time())
                self._write()
            elif not element.get("cancelled_at"):
                element["cancelled_at"] = time.time()
                self._write()
                tell(element, signal.SIGTERM)
            elif time.time() - element["cancelled_at"] > _CANCEL_GRACE_S:
                tell(element, signal.SIGKILL)

    def _write(self) -> None:
        state = {"pid": os.getpid(), "created": created_at(os.getpid()), "elements": self._elements}
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
    """Whether the very process that had this pid then is still there (and no zombie)."""
    try:
        process = psutil.Process(pid)
        same = created is None or abs(process.create_time() - created) < 1.0
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def tell(element: Mapping[str, Any], signum: signal.Signals) -> None:
    """Send a signal to the process of an element, if it is still the same one."""
    if alive(element["pid"], element.get("created")):
        with contextlib.suppress(ProcessLookupError):
            os.kill(element["pid"], signum)


def lock(folder: Path) -> IO[str] | None:
    """Take the dispatcher's lock of a sweep; None: somebody holds it. Held until the file is closed."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = (folder / "lock").open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    return stream


def read_state(sweep: SweepFolder) -> Mapping[str, Any]:
    """state.json of the dispatcher; empty when none was ever started."""
    path = sweep.path / "dispatcher" / "state.json"
    return dict(read_json(path)) if path.exists() else {}


def main() -> None:
    """`python -m hpcsweep.submit.dispatcher SWEEP_DIR PARALLEL HOME`: returns at once when another one is alive."""
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

"""The sending process: `python -m hpcsweep.load.client.sender FD` sends the schedule of a file descriptor.

It imports small modules only, to start fast. With several sending processes it forks them, starts them at the same
time, and forwards their lines.
"""

import gc
import json
import os
import resource
import selectors
import signal
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from types import FrameType
from typing import Any

from hpcsweep.events.load_lines import WorkloadEndedLine, WorkloadStartedLine, warning_line
from hpcsweep.load.client.figures import SelfMeasurement, client_warnings, merged
from hpcsweep.load.client.lines import LineWriter
from hpcsweep.load.client.record import Tally
from hpcsweep.load.client.send_loop import Client
from hpcsweep.load.schedule import API_KEY_VARIABLE, Schedule, ScheduledRequest, ScheduleFile

_READY, _RESULT = b'{"kind":"ready"', b'{"kind":"result"'
_START_DELAY_NS = 20_000_000  # enough for every process to read the common start


def main(argv: list[str]) -> int:
    """Send everything and write the lines to standard output. Return 0, also after SIGTERM."""
    file = ScheduleFile(int(argv[0]))
    schedule = file.schedule
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    out = LineWriter(sys.stdout.fileno())
    for message in schedule.warnings:
        out.add(warning_line("dataset", message))
    measured = [item for item in schedule.items if not item.warmup]
    started: WorkloadStartedLine = {
        "kind": "workload_started",
        "workload": schedule.workload,
        "repeat": schedule.repeat,
        "samples_total": len(measured),
        "client": "builtin",
        "closed_loop": schedule.closed_loop,
    }
    out.add(started)
    out.flush()
    try:
        if schedule.processes == 1:
            results = [_send(file, 0, out, lambda: time.monotonic_ns())]
        else:
            results = _send_by_several(file, out)
        out.add(_ended(schedule, results, len(measured)))
        out.close()
    except BrokenPipeError:  # the agent has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _send(file: ScheduleFile, process: int, out: LineWriter, start: Callable[[], int]) -> dict[str, Any]:
    """Send the share of this process. `start` waits until all are ready and returns the common start, monotonic ns."""
    schedule = file.schedule
    share = schedule.items[process :: schedule.processes]
    limit = schedule.max_concurrency
    if limit is not None:
        limit = limit // schedule.processes + (process < limit % schedule.processes)
    client = Client(file, out.add, out.flush, api_key=os.environ.get(API_KEY_VARIABLE), max_concurrency=limit)
    signal.signal(signal.SIGTERM, lambda number, frame: client.stop())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    warmups = [item for item in share if item.warmup]
    measured = [item for item in share if not item.warmup]
    gc.freeze()  # no reference cycles are created; a collection would delay requests
    gc.disable()
    client.connect(_connections(schedule, measured, limit))
    if warmups:
        client.run(warmups, time.monotonic_ns())
        if client.tally.failures:
            out.add(warning_line("warmup_failed", f"warm-up requests failed: {client.tally.failures}"))
        client.tally, client.measured = Tally(), SelfMeasurement()
    start_ns = start()
    client.measured.begin()
    client.run(measured, start_ns)
    figures = client.measured.figures(schedule.scale)
    client.close()
    return {"tally": asdict(client.tally), "figures": figures}


def _connections(schedule: Schedule, items: list[ScheduledRequest], limit: int | None) -> int:
    """Return how many connections to open before the start: the expected number in flight."""
    at_once = sum(1 for item in items if item.due_s == 0.0)
    return min(len(items), limit if limit is not None else max(at_once, 64))


def _ended(schedule: Schedule, results: list[dict[str, Any]], samples: int) -> WorkloadEndedLine:
    """Return the record `workload_ended` of all processes together, without their warm-up requests."""
    tallies = [result["tally"] for result in results]
    failures: dict[str, int] = {}
    for tally in tallies:
        for cause, count in tally["failures"].items():
            failures[cause] = failures.get(cause, 0) + count
    sent_ns = [tally["first_sent_ns"] for tally in tallies if tally["first_sent_ns"] is not None]
    ended_ns = [tally["last_end_ns"] for tally in tallies if tally["last_end_ns"] is not None]
    duration_ns = max(ended_ns) - min(sent_ns) if sent_ns and ended_ns else 0
    figures = merged([result["figures"] for result in results])
    warnings = client_warnings(figures, schedule.scale, closed_loop=schedule.closed_loop)
    missing = schedule.processes - len(results)
    if missing:
        warnings.append(
            f"client_died: {missing} of {schedule.processes} sending processes died; their samples are lost"
        )
    completed = sum(tally["completed"] for tally in tallies)
    if completed + sum(failures.values()) < samples and not missing:
        warnings.append(f"stopped: {samples - completed - sum(failures.values())} requests were not sent")
    return {
        "kind": "workload_ended",
        "workload": schedule.workload,
        "repeat": schedule.repeat,
        "duration_s": round(max(0, duration_ns) * 1e-9 * schedule.scale, 6),
        "completed": completed,
        "failed": sum(failures.values()),
        "failures": failures,
        "warnings": warnings,
        "client_figures": figures,
    }


def _send_by_several(file: ScheduleFile, out: LineWriter) -> list[dict[str, Any]]:
    """Fork the senders, start them together and forward their lines. Return their results in any order."""
    children = [_fork(file, process) for process in range(file.schedule.processes)]

    def forward(number: int, frame: FrameType | None) -> None:
        for child in children:
            if child.alive:
                os.kill(child.pid, number)

    signal.signal(signal.SIGTERM, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    selector = selectors.DefaultSelector()
    for child in children:
        selector.register(child.lines_fd, selectors.EVENT_READ, child)
    started = False
    results: list[dict[str, Any]] = []
    while any(child.alive for child in children):
        for key, _ in selector.select(0.25):
            child = key.data
            for line in child.read_lines():
                if line.startswith(_READY):
                    child.ready = True
                elif line.startswith(_RESULT):
                    results.append(json.loads(line))
                else:
                    out.add_lines(line + b"\n")
            if not child.alive:
                selector.unregister(child.lines_fd)
                child.reap(out)
        if not started and all(child.ready or not child.alive for child in children):
            started = True
            start_ns = time.monotonic_ns() + _START_DELAY_NS
            for child in children:
                child.go(start_ns)
        out.flush()
    return results


class _Child:
    """A forked sender in its parent. `alive`: its end of the pipe is open."""

    def __init__(self, pid: int, lines_fd: int, go_fd: int) -> None:
        self.pid, self.lines_fd, self._go_fd = pid, lines_fd, go_fd
        self.ready, self.alive = False, True
        self._incomplete = b""

    def read_lines(self) -> list[bytes]:
        data = os.read(self.lines_fd, 1 << 18)
        self.alive = bool(data)
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        return lines

    def go(self, start_ns: int) -> None:
        if self.alive:
            os.write(self._go_fd, struct.pack("q", start_ns))

    def reap(self, out: LineWriter) -> None:
        os.close(self.lines_fd)
        os.close(self._go_fd)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if code:
            out.add(warning_line("sender_died", f"a sending process exited with {code}; its samples are lost"))


def _fork(file: ScheduleFile, process: int) -> _Child:
    lines_read, lines_write = os.pipe()
    go_read, go_write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(lines_write)
        os.close(go_read)
        return _Child(pid, lines_read, go_write)
    code = 1
    try:
        os.close(lines_read)
        os.close(go_write)
        out = LineWriter(lines_write)

        def start() -> int:
            out.add({"kind": "ready"})
            out.flush()
            data = os.read(go_read, 8)
            return int(struct.unpack("q", data)[0]) if data else time.monotonic_ns()

        result = _send(file, process, out, start)
        out.add({"kind": "result", **result})
        out.close()
        code = 0
    except BrokenPipeError:
        pass  # the parent has exited
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

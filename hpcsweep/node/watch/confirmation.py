"""Before a busy server is declared stuck: the stacks of its processes are taken twice, and compared."""

import contextlib
import subprocess
import time
from collections.abc import Mapping, MutableSet, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.node.process.processes import Process, die_with_parent, read_process, wait_channel
from hpcsweep.node.process.roles import ProcessKind, ProcessRole
from hpcsweep.node.watch.diagnostics import DIAGNOSTICS, py_spy_argv
from hpcsweep.node.watch.stacks import ProcessStack, StackActivity, doing, parse_dump, where
from hpcsweep.node.watch.stall import Situation

_TOOL_S = 20.0
_LIMIT = 24
_ORDER = {ProcessKind.RANK: 0, ProcessKind.ENGINE_CORE: 1, ProcessKind.OTHER: 2, ProcessKind.FRONT_END: 3}


@dataclass(frozen=True)
class ConfirmationResult:
    """What two samples say. `certain`: they confirm that nothing gets done; else `why` they do not.

    `computing`: ranks were seen at work, in functions that are not known to wait; not: they could not be seen.
    `doing`, `place`: pid -> what it did, and where it is.
    """

    certain: bool
    why: str
    computing: bool
    doing: Mapping[int, StackActivity]
    place: Mapping[int, str]


def judge(
    doings: Mapping[int, StackActivity], roles: Mapping[int, ProcessRole], situation: Situation
) -> tuple[bool, str]:
    """Return whether the samples confirm a stall, and in words why not.

    A rank that stays busy in one function may be in one long computation, while the server starts and in a prefill:
    that is not known, and not guessed. It is stuck when others wait for it in the middle of a request, since ranks
    compute a step together; or when every request has its first token, since what follows are short steps.
    """
    workers = {pid for pid in doings if roles[pid].kind in (ProcessKind.RANK, ProcessKind.ENGINE_CORE)}
    counted = workers or set(doings)
    if any(doings[pid] is StackActivity.STOPPED for pid in counted):
        return True, ""
    for bad in (StackActivity.CHANGING, StackActivity.UNKNOWN, StackActivity.LOOPING):
        named = [f"{roles[pid]} (pid {pid})" for pid in sorted(counted) if doings[pid] is bad]
        if named and not (bad is StackActivity.LOOPING and _stuck_in_a_step(doings, roles, situation)):
            return False, f"{_WHY[bad]}: {', '.join(named[:8])}"
    return True, ""


def _stuck_in_a_step(
    doings: Mapping[int, StackActivity], roles: Mapping[int, ProcessRole], situation: Situation
) -> bool:
    if situation is not Situation.PREFILL:
        return situation is Situation.SERVING
    ranks = [doings[pid] for pid in doings if roles[pid].kind is ProcessKind.RANK]
    return (
        any(one in (StackActivity.WAITING, StackActivity.BLOCKED) for one in ranks) and StackActivity.LOOPING in ranks
    )


_WHY = {
    StackActivity.CHANGING: "stacks change",
    StackActivity.UNKNOWN: "stacks cannot be read (is py-spy installed, and allowed to look?)",
    StackActivity.LOOPING: "busy in one function that is not known to wait",
}


class Confirmation:
    """Two samples of the processes of one server, `gap_s` real seconds apart. `step` never waits.

    `not_server_pids`: children of the agent that do not belong to the server; the tools that are started here are added
    while they run. The dumps are stored in `diagnostics/`.
    """

    def __init__(
        self,
        folder: Path,
        processes: Sequence[Process],
        roles: Mapping[int, ProcessRole],
        gap_s: float,
        not_server_pids: MutableSet[int],
    ) -> None:
        chosen = [process for process in processes if roles[process.pid].kind is not ProcessKind.COMPILER]
        chosen.sort(key=lambda process: _ORDER[roles[process.pid].kind])
        self._processes, self._roles = chosen[:_LIMIT], roles
        self._folder, self._gap_s, self._not_server_pids = folder / DIAGNOSTICS, gap_s, not_server_pids
        self._samples: list[_Sample] = []
        self._take()

    def step(self, now_s: float, situation: Situation) -> ConfirmationResult | None:
        """Go on; the result, when both samples are there. `now_s`: monotonic."""
        latest = self._samples[-1]
        if not latest.ready(now_s):
            return None
        if len(self._samples) == 1:
            if now_s - latest.begun_s >= self._gap_s:
                self._take()
            return None
        first, second = self._samples
        one, two = first.stacks(), second.stacks()
        elapsed_s = second.begun_s - first.begun_s
        doings = {pid: doing(one[pid], two[pid], elapsed_s) for pid in one.keys() & two.keys()}
        certain, why = judge(doings, self._roles, situation)
        computing = any(one in (StackActivity.CHANGING, StackActivity.LOOPING) for one in doings.values())
        return ConfirmationResult(certain, why, computing, doings, {pid: where(two[pid]) for pid in doings})

    def stop(self) -> None:
        """End the tools that still run."""
        for sample in self._samples:
            sample.stop()

    def _take(self) -> None:
        number = len(self._samples) + 1
        self._samples.append(_Sample(self._folder, number, self._processes, self._not_server_pids))


class _Sample:
    """One sample: a tool for each process, all at once."""

    def __init__(
        self, folder: Path, number: int, processes: Sequence[Process], not_server_pids: MutableSet[int]
    ) -> None:
        self.begun_s = time.monotonic()
        self._not_server_pids = not_server_pids
        self._tools: dict[int, tuple[subprocess.Popen[bytes], Path]] = {}
        self._seen: dict[int, ProcessStack] = {}
        tool = py_spy_argv()
        for process in processes:
            now = read_process(process.pid)
            if now is None or now.started != process.started:
                continue
            self._seen[now.pid] = ProcessStack(now.state, now.cpu_s, wait_channel(now.pid))
            if tool is not None:
                self._start(tool, now.pid, folder / f"stack-{now.pid}-{number}.json")

    def _start(self, tool: Sequence[str], pid: int, path: Path) -> None:
        argv = [*tool, "dump", "--json", "--nonblocking", "--pid", str(pid)]
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as out:
                process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, preexec_fn=die_with_parent
                )
        except OSError:  # then this stack is not known
            return
        self._not_server_pids.add(process.pid)
        self._tools[pid] = (process, path)

    def ready(self, now_s: float) -> bool:
        """Whether every tool has ended; those that take too long are ended here."""
        if now_s - self.begun_s > _TOOL_S:
            self.stop()
        running = [tool for tool, _ in self._tools.values() if tool.poll() is None]
        for tool, _ in self._tools.values():
            if tool.returncode is not None:
                self._not_server_pids.discard(tool.pid)
        return not running

    def stop(self) -> None:
        """Kill what still runs."""
        for tool, _ in self._tools.values():
            if tool.poll() is None:
                tool.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in the kernel cannot be killed
                    tool.wait(timeout=1.0)
            self._not_server_pids.discard(tool.pid)

    def stacks(self) -> dict[int, ProcessStack]:
        """Pid -> where it was."""
        found = dict(self._seen)
        for pid, (_, path) in self._tools.items():
            try:
                parsed = parse_dump(path.read_text(encoding="utf-8", errors="replace"))
            except OSError:
                parsed = None
            if parsed is not None:
                seen = found[pid]
                found[pid] = ProcessStack(seen.state, seen.cpu_s, seen.wait_channel, parsed[0], parsed[1])
        return found

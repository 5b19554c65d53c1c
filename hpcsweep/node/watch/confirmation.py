"""Confirm that a busy server is stuck: sample the stacks of its processes twice and compare them."""

import contextlib
import subprocess
import time
from collections.abc import Mapping, MutableSet, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.node.process.processes import Process, die_with_parent, read_process, wait_channel
from hpcsweep.node.process.roles import ProcessKind, ProcessRole
from hpcsweep.node.watch.diagnostics import DIAGNOSTICS, py_spy_argv
from hpcsweep.node.watch.others import NO_SAMPLES, NodeSamples
from hpcsweep.node.watch.stacks import ProcessStack, StackActivity, compare_stacks, innermost_function, parse_dump
from hpcsweep.node.watch.stall import Situation

_TOOL_S = 20.0
_MOST_PROCESSES = 24
_ORDER = {ProcessKind.RANK: 0, ProcessKind.ENGINE_CORE: 1, ProcessKind.OTHER: 2, ProcessKind.FRONT_END: 3}
_PARTS = frozenset({ProcessKind.RANK, ProcessKind.ENGINE_CORE, ProcessKind.FRONT_END})


ProcessKey = int | str
"""A process of this node by its pid; of another node by a text with pid and node."""


@dataclass(frozen=True)
class ConfirmationResult:
    """The result of comparing two samples. `certain`: they confirm the stall; otherwise `problem` is the reason.

    `computing`: ranks were seen in functions that are not known to wait. `activity`, `functions`: by pid.
    """

    certain: bool
    problem: str
    computing: bool
    activity: Mapping[int, StackActivity]
    functions: Mapping[int, str]


def judge(
    activity: Mapping[ProcessKey, StackActivity], roles: Mapping[ProcessKey, ProcessRole], situation: Situation
) -> tuple[bool, str]:
    """Return whether the samples confirm a stall; if not, also why.

    A rank that stays in one function may be in a long computation while the server starts or prefills, so that does
    not confirm a stall. It does when other ranks wait for it in the middle of a request, because ranks compute a step
    together, or when every request has its first token, because the steps that follow are short. A stopped process
    confirms it, also one of the front end: the scheduler of SGLang polls while its detokenizer is stopped.
    """
    workers = {pid for pid in activity if roles[pid].kind in (ProcessKind.RANK, ProcessKind.ENGINE_CORE)}
    counted = workers or set(activity)
    if any(activity[pid] is StackActivity.STOPPED for pid in activity if roles[pid].kind in _PARTS):
        return True, ""
    for doubtful, problem in _PROBLEMS.items():
        named = [f"{roles[pid]} (pid {pid})" for pid in sorted(counted, key=str) if activity[pid] is doubtful]
        if named and not (doubtful is StackActivity.LOOPING and _stuck_in_a_step(activity, roles, situation)):
            return False, f"{problem}: {', '.join(named[:8])}"
    return True, ""


def _stuck_in_a_step(
    activity: Mapping[ProcessKey, StackActivity], roles: Mapping[ProcessKey, ProcessRole], situation: Situation
) -> bool:
    if situation is not Situation.PREFILL:
        return situation is Situation.SERVING
    ranks = [activity[pid] for pid in activity if roles[pid].kind is ProcessKind.RANK]
    return StackActivity.LOOPING in ranks and any(
        rank in (StackActivity.WAITING, StackActivity.BLOCKED) for rank in ranks
    )


def confirm(
    activity: Mapping[int, StackActivity],
    functions: Mapping[int, str],
    roles: Mapping[int, ProcessRole],
    situation: Situation,
    others: NodeSamples = NO_SAMPLES,
) -> ConfirmationResult:
    """Return the result of two samples of this node, together with those of the `others`."""
    everyone: dict[ProcessKey, StackActivity] = dict(activity.items())
    everyone.update(others.activity.items())
    all_roles: dict[ProcessKey, ProcessRole] = dict(roles.items())
    all_roles.update(others.roles.items())
    certain, problem = judge(everyone, all_roles, situation)
    computing = any(kind in (StackActivity.CHANGING, StackActivity.LOOPING) for kind in everyone.values())
    return ConfirmationResult(certain, problem, computing, activity, functions)


_PROBLEMS = {
    StackActivity.CHANGING: "stacks change",
    StackActivity.UNKNOWN: "stacks cannot be read (py-spy is missing or not permitted)",
    StackActivity.LOOPING: "busy in a function that is not known to wait",
}


class Confirmation:
    """Two samples of the processes of one server, `gap_s` real seconds apart. `step` does not block.

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
        self._processes, self._roles = chosen[:_MOST_PROCESSES], roles
        self._folder, self._gap_s, self._not_server_pids = folder / DIAGNOSTICS, gap_s, not_server_pids
        self._samples: list[_Sample] = []
        self._take()

    def step(self, now_s: float, situation: Situation) -> ConfirmationResult | None:
        """Continue; return the result when both samples have been taken. `now_s`: monotonic."""
        latest = self._samples[-1]
        if not latest.ready(now_s):
            return None
        if len(self._samples) == 1:
            if now_s - latest.begun_s >= self._gap_s:
                self._take()
            return None
        first, second = self._samples
        before, after = first.stacks(), second.stacks()
        elapsed_s = second.begun_s - first.begun_s
        activity = {pid: compare_stacks(before[pid], after[pid], elapsed_s) for pid in before.keys() & after.keys()}
        functions = {pid: innermost_function(after[pid]) for pid in activity}
        return confirm(activity, functions, self._roles, situation)

    def stop(self) -> None:
        """End the tools that are running."""
        for sample in self._samples:
            sample.stop()

    def _take(self) -> None:
        number = len(self._samples) + 1
        self._samples.append(_Sample(self._folder, number, self._processes, self._not_server_pids))


class _Sample:
    """One sample: a py-spy for each process, all at the same time."""

    def __init__(
        self, folder: Path, number: int, processes: Sequence[Process], not_server_pids: MutableSet[int]
    ) -> None:
        self.begun_s = time.monotonic()
        self._not_server_pids = not_server_pids
        self._tools: dict[int, tuple[subprocess.Popen[bytes], Path]] = {}
        self._by_kernel: dict[int, ProcessStack] = {}
        tool = py_spy_argv()
        for process in processes:
            now = read_process(process.pid)
            if now is None or now.started != process.started:
                continue
            self._by_kernel[now.pid] = ProcessStack(now.state, now.cpu_s, wait_channel(now.pid))
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
        except OSError:  # this stack is unknown then
            return
        self._not_server_pids.add(process.pid)
        self._tools[pid] = (process, path)

    def ready(self, now_s: float) -> bool:
        """Return whether every tool has ended. Tools that run for more than 20 s are killed."""
        if now_s - self.begun_s > _TOOL_S:
            self.stop()
        running = [tool for tool, _ in self._tools.values() if tool.poll() is None]
        for tool, _ in self._tools.values():
            if tool.returncode is not None:
                self._not_server_pids.discard(tool.pid)
        return not running

    def stop(self) -> None:
        """Kill the tools that are running."""
        for tool, _ in self._tools.values():
            if tool.poll() is None:
                tool.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):  # a tool that hangs in the kernel cannot be killed
                    tool.wait(timeout=1.0)
            self._not_server_pids.discard(tool.pid)

    def stacks(self) -> dict[int, ProcessStack]:
        """Return pid -> stack."""
        stacks = dict(self._by_kernel)
        for pid, (_, path) in self._tools.items():
            try:
                parsed = parse_dump(path.read_text(encoding="utf-8", errors="replace"))
            except OSError:
                parsed = None
            if parsed is not None:
                kernel = stacks[pid]
                stacks[pid] = ProcessStack(kernel.state, kernel.cpu_s, kernel.wait_channel, parsed[0], parsed[1])
        return stacks

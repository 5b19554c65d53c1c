"""Compare two samples of the stacks of a server's processes, taken some seconds apart. Pure.

Python stacks come from `py-spy dump --json`. Where they cannot be read, the kernel's view is used: the state of the
process, and the function in which it sleeps (`/proc/PID/wchan`).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

Frames = tuple[str, ...]
"""Innermost first: `function (file)`. Line numbers are left out, because they change in a loop that only waits."""

_WAITING_FUNCTION = re.compile(
    r"^(?:_?(?:wait|acquire|recv|receive|poll|select|epoll|join|sleep|barrier|synchronize|get|result|accept|read)"
    r"(?:_\w+)?|\w*_(?:wait|recv|poll|barrier|synchronize|until_ready)"
    r"|(?:\w+_)?(?:all_?reduce|all_?gather|reduce_scatter|broadcast|gather|scatter|all_to_all)(?:_\w+)?"
    r"|dequeue|enqueue|acquire_read|acquire_write|_wait_for_tstate_lock|run_until_complete|run_forever|_run_once"
    r"|wait_for_\w+|recv_\w+|get_response|sched_yield|record_function|item|cpu|tolist|monitor\w*)$",
    re.IGNORECASE,
)
_WAITING_FILE = re.compile(
    r"(?:^|/)(?:shm_broadcast|parallel_state|distributed_c10d|device_communicators/\w+|pynccl\w*|cpu_communicator"
    r"|custom_all_reduce|selectors|threading|queue|connection|socket|subprocess|popen_\w+|asyncio/\w+|zmq/\S+"
    r"|torch/distributed/\S+)\.py\b"
)


class StackActivity(str, Enum):
    """What a process did between two samples."""

    STOPPED = "stopped"
    BLOCKED = "blocked"
    WAITING = "waiting in a loop"
    LOOPING = "in the same function"
    CHANGING = "moving on"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ProcessStack:
    """One process in one sample. `threads`: id -> frames, of the main thread and of active ones.

    `threads` None: not read. `state`, `wait_channel`: reported by the kernel.
    """

    state: str
    cpu_s: float
    wait_channel: str = ""
    threads: Mapping[int, Frames] | None = None
    main: int = 0


def parse_dump(text: str) -> tuple[dict[int, Frames], int] | None:
    """Parse the output of `py-spy dump --json`. Return the relevant threads, and the id of the main thread.

    Relevant are the main thread and active ones (py-spy's term for not asleep). None: the text is not a dump.
    """
    try:
        threads: list[dict[str, Any]] = json.loads(text)
        frames = {
            int(thread["thread_id"]): tuple(
                f"{frame['name']} ({frame.get('short_filename') or frame['filename']})" for frame in thread["frames"]
            )
            for position, thread in enumerate(threads)
            if thread.get("active") or _is_main(thread, position)
        }
        main = next((int(t["thread_id"]) for n, t in enumerate(threads) if _is_main(t, n)), 0)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return frames, main


def _is_main(thread: Mapping[str, Any], position: int) -> bool:
    name = thread.get("thread_name")
    return name == "MainThread" or (name is None and position == 0)


def waits(frames: Frames) -> bool:
    """Return whether the process is in a function that only waits for another process, a device or a message.

    A collective may call a helper of its own, so the two innermost frames are checked.
    """
    for frame in frames[:2]:
        function, _, file = frame.partition(" (")
        if _WAITING_FUNCTION.match(function.rpartition(".")[2]) or _WAITING_FILE.search(file.rstrip(")")):
            return True
    return False


def compare_stacks(first: ProcessStack, second: ProcessStack, elapsed_s: float) -> StackActivity:
    """Return what one process did between two samples, `elapsed_s` apart."""
    if first.state in "Tt" and second.state in "Tt":
        return StackActivity.STOPPED
    quiet = second.cpu_s - first.cpu_s < 0.05 * elapsed_s
    if quiet and first.state in "SDI" and second.state in "SDI":
        return StackActivity.BLOCKED
    if first.threads is None or second.threads is None:
        return StackActivity.UNKNOWN
    looping = False
    for thread in first.threads.keys() | second.threads.keys():
        before, after = first.threads.get(thread), second.threads.get(thread)
        if all(frames is None or waits(frames) for frames in (before, after)):
            continue
        if before != after:
            return StackActivity.CHANGING
        looping = True
    return StackActivity.LOOPING if looping else StackActivity.WAITING


def innermost_function(stack: ProcessStack) -> str:
    """Return the innermost Python function of a process, or the kernel function in which it sleeps."""
    frames = (stack.threads or {}).get(stack.main)
    if frames:
        return frames[0]
    if stack.wait_channel not in ("", "0", "-"):
        return stack.wait_channel
    return ""

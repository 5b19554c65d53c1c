"""The local dispatcher's state file `SWEEP_DIR/dispatcher/state.json`: a typed record of each array task."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hpcsweep.atomic_files import read_json, write_json
from hpcsweep.foreign_files import integer_or_none, number_or_none, text_or_none
from hpcsweep.sweep.layout import SweepFolder

DISPATCHER_DIR = "dispatcher"
STATE_FILE = "state.json"
_KEY = re.compile(r"[0-9]{1,9}_[0-9]{1,9}")


class TaskState(str, Enum):
    """State of an array task under the local dispatcher.

    `abandoned`: it was pending when the dispatcher was killed. `unschedulable`: it needs more GPUs than this machine
    has. `skipped`: a preparation that it needs failed. `unknown`: the file has a state that this version does not have.
    """

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"
    UNSCHEDULABLE = "unschedulable"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"

    @property
    def active(self) -> bool:
        """Whether the dispatcher still has to wait for the task."""
        return self in (TaskState.PENDING, TaskState.RUNNING)


_OLD_STATES = {"never": TaskState.UNSCHEDULABLE}
"""Names of states before version 0.2."""


@dataclass
class TaskRecord:
    """One array task. Times are Unix seconds; `created`: the start of the process, which identifies it with `pid`."""

    state: TaskState
    reason: str | None = None
    pid: int | None = None
    created: float | None = None
    exit_code: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    cancelled_at: float | None = None

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> "TaskRecord":
        """Return the record in a JSON object; a field of an unexpected form is None."""
        name = content.get("state")
        known = {state.value: state for state in TaskState} | _OLD_STATES
        return cls(
            state=known.get(name, TaskState.UNKNOWN) if isinstance(name, str) else TaskState.UNKNOWN,
            reason=text_or_none(content.get("reason")),
            pid=integer_or_none(content.get("pid")),
            created=number_or_none(content.get("created")),
            exit_code=integer_or_none(content.get("exit_code")),
            started_at=number_or_none(content.get("started_at")),
            ended_at=number_or_none(content.get("ended_at")),
            cancelled_at=number_or_none(content.get("cancelled_at")),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of the record, without fields that are None."""
        content = {name: value for name, value in vars(self).items() if value is not None}
        return content | {"state": self.state.value}


@dataclass
class DispatcherState:
    """State of the dispatcher of one sweep. `pid` None: no dispatcher was ever started, or the file is unreadable.

    `tasks`: JOB_INDEX -> array task.
    """

    pid: int | None = None
    created: float | None = None
    tasks: dict[str, TaskRecord] = field(default_factory=dict)

    def of_job(self, number: int) -> dict[int, TaskRecord]:
        """Return index -> array task of job `number`."""
        pairs = ((key.split("_"), task) for key, task in self.tasks.items())
        return {int(index): task for (job, index), task in pairs if int(job) == number}


def task_key(job: int, index: int) -> str:
    """Return the key of an array task in the state file, and the name of its file in `cancel/`."""
    return f"{job}_{index}"


def read_state(sweep: SweepFolder) -> DispatcherState:
    """Read the state of a sweep's dispatcher. A file that is missing or unreadable gives an empty state."""
    content = read_json(sweep.path / DISPATCHER_DIR / STATE_FILE) or {}
    pid = integer_or_none(content.get("pid"))
    if pid is None:
        return DispatcherState()
    tasks = content.get("tasks", content.get("elements"))  # `elements`: the key before version 0.2
    entries = tasks.items() if isinstance(tasks, dict) else ()
    return DispatcherState(
        pid=pid,
        created=number_or_none(content.get("created")),
        tasks={
            key: TaskRecord.parse(entry) for key, entry in entries if _KEY.fullmatch(key) and isinstance(entry, dict)
        },
    )


def write_state(sweep: SweepFolder, created: float | None, tasks: Mapping[str, TaskRecord]) -> None:
    """Write the state of this process as the dispatcher of a sweep. Raises OSError."""
    content = {"pid": os.getpid(), "created": created, "tasks": {key: task.as_json() for key, task in tasks.items()}}
    write_json(sweep.path / DISPATCHER_DIR / STATE_FILE, content)

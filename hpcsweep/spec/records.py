"""The small JSON records beside the events: one class each, for writing and for reading.

They are plain dataclasses: `hpcsweep status` and the guardian of a job read them and do not load pydantic. Reading is
lenient, because a record may come from another version, another host or another user: a field with a value of another
form is None, and its name is reported.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, TypeVar

from hpcsweep.foreign_files import integer_or_none, number_or_none, text_or_none, texts_or_none
from hpcsweep.spec.phases import OutcomeKind, Phase

OWNER_FILE = "owner.json"
EXIT_FILE = "exit.json"
NOT_RUN_FILE = "not_run.json"
RUN_FILE = "run.json"
CONTAINER_KEY = "container"
"""In run.json: the container of the attempt, as it was started."""

_EARLIEST, _LATEST = 0.0, 1e11
"""Unix seconds that are accepted as a time: 1970 to the year 5138."""

ProcessMark = tuple[int, int, int]
"""Pid, start (clock ticks since boot), and session or process group of a process."""

R = TypeVar("R", bound="DiskRecord")


def time_or_none(value: object) -> float | None:
    """Return Unix seconds; None for anything that cannot be a time."""
    number = number_or_none(value)
    return number if number is not None and _EARLIEST <= number <= _LATEST and math.isfinite(number) else None


def _outcome_or_none(value: object) -> OutcomeKind | None:
    return OutcomeKind(value) if isinstance(value, str) and value in {kind.value for kind in OutcomeKind} else None


def _phase_or_none(value: object) -> Phase | None:
    return Phase(value) if isinstance(value, str) and value in {phase.value for phase in Phase} else None


def _levels_or_none(value: object) -> dict[str, str] | None:
    if not isinstance(value, dict) or not all(isinstance(part, str) for pair in value.items() for part in pair):
        return None
    return dict(value)


def _mark_or_none(value: object) -> ProcessMark | None:
    if not isinstance(value, list) or len(value) != 3:
        return None
    pid, started, session = (integer_or_none(part) for part in value)
    return None if pid is None or started is None or session is None else (pid, started, session)


_PARSERS: Mapping[object, Callable[[object], object]] = {
    str | None: text_or_none,
    int | None: integer_or_none,
    float | None: time_or_none,
    list[str] | None: texts_or_none,
    dict[str, str] | None: _levels_or_none,
    ProcessMark | None: _mark_or_none,
    OutcomeKind | None: _outcome_or_none,
    Phase | None: _phase_or_none,
}
"""Type of a field -> function that returns its value, or None for a value of another form."""


@dataclass(frozen=True)
class DiskRecord:
    """The base of the records. Every field has a default, because an older version may not have written it."""

    @classmethod
    def parse(cls: type[R], content: Mapping[str, object]) -> tuple[R, list[str]]:
        """Return the record of a JSON object, and the names of the fields that could not be read."""
        values, unreadable = {}, []
        for item in fields(cls):
            raw = content.get(item.name)
            value = _PARSERS[item.type](raw) if raw is not None else None
            if value is not None:
                values[item.name] = value
            elif raw is not None:
                unreadable.append(item.name)
        return cls(**values), unreadable

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `parse` reads."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


@dataclass(frozen=True)
class OwnerRecord(DiskRecord):
    """owner.json: the agent that created an attempt's folder.

    `taken_at`: Unix seconds. `token`: in the environment of all processes of the attempt. `server`: the process that
    the agent started; None: not started yet. `container_runtime`: of its container; None: it has none.
    """

    job_id: str | None = None
    host: str | None = None
    boot_id: str | None = None
    pid: int | None = None
    started_ticks: int | None = None
    restart_count: int | None = None
    token: str | None = None
    taken_at: float | None = None
    server: ProcessMark | None = None
    container_runtime: str | None = None


@dataclass(frozen=True)
class ExitRecord(DiskRecord):
    """exit.json: how an attempt ended. Fields as in the event `attempt_ended`; `ended_at`: Unix seconds.

    `host`: of the agent; `node`: at fault, None: unknown.

    Written by the agent, or with outcome `lost` by its guardian or by the next agent.
    """

    run_id: str | None = None
    attempt: int | None = None
    outcome: OutcomeKind | None = None
    phase: Phase | None = None
    code: str | None = None
    reason: str | None = None
    cause: str | None = None
    decided_by: str | None = None
    evidence: list[str] | None = None
    exit_code: int | None = None
    hint: str | None = None
    killed: list[str] | None = None
    t_s: float | None = None
    ended_at: float | None = None
    host: str | None = None
    job_id: str | None = None
    node: str | None = None


@dataclass(frozen=True)
class NotRunRecord(DiskRecord):
    """not_run.json: why the agent did not start a run. `at`: Unix seconds."""

    run_id: str | None = None
    label: str | None = None
    axes: dict[str, str] | None = None
    outcome: OutcomeKind | None = None
    code: str | None = None
    reason: str | None = None
    decided_by: str | None = None
    at: float | None = None
    host: str | None = None
    job_id: str | None = None


@dataclass(frozen=True)
class TaskExitRecord(DiskRecord):
    """tasks/K.exit.json: how the agent of an array task ended. `outcome` None: no run was stopped from outside."""

    exit_code: int | None = None
    outcome: OutcomeKind | None = None
    code: str | None = None
    reason: str | None = None
    host: str | None = None
    job_id: str | None = None
    restart_count: int | None = None
    started_at: float | None = None
    ended_at: float | None = None

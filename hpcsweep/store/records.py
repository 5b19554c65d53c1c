"""exit.json, owner.json and not_run.json as far as they can be believed: a field of another form is not known."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcsweep.foreign_files import (
    RECORD_LIMIT_BYTES,
    integer_or_none,
    number_or_none,
    parse_json,
    read_regular,
    text_or_none,
    texts_or_none,
)
from hpcsweep.spec.phases import OutcomeKind, Phase

_EARLIEST, _LATEST = 0.0, 1e11
"""Unix seconds that are a time: from 1970 to the year 5138."""

_END_FIELDS = {
    "reason": text_or_none,
    "cause": text_or_none,
    "decided_by": text_or_none,
    "evidence": texts_or_none,
    "exit_code": integer_or_none,
    "hint": text_or_none,
    "killed": texts_or_none,
}
_OUTCOMES = {kind.value for kind in OutcomeKind}
_PHASES = {phase.value for phase in Phase}


def time_or_none(value: object) -> float | None:
    """Unix seconds, as far as they can be a time; None for anything else."""
    number = number_or_none(value)
    return number if number is not None and _EARLIEST <= number <= _LATEST and math.isfinite(number) else None


def read_record(path: Path, troubles: list[str]) -> Mapping[str, Any] | None:
    """The object in a record; None: there is no file, or nothing in it can be used, which `troubles` then says."""
    try:
        content = parse_json(read_regular(path, RECORD_LIMIT_BYTES))
    except FileNotFoundError:
        return None
    except OSError as exc:
        troubles.append(f"{path}: {exc.strerror or exc}")
        return None
    except ValueError as exc:
        troubles.append(f"{path} is no JSON: {exc}")
        return None
    if not isinstance(content, dict):
        troubles.append(f"{path} is no JSON object")
        return None
    return content


def read_end(path: Path, troubles: list[str]) -> dict[str, Any] | None:
    """The columns of `attempt` that exit.json fills; None: there is none, or it names no outcome that is known."""
    content = read_record(path, troubles)
    if content is None:
        return None
    outcome = content.get("outcome")
    if not isinstance(outcome, str) or outcome not in _OUTCOMES:
        troubles.append(f"{path} names no outcome that is known: {ascii(outcome)[:100]}")
        return None
    end: dict[str, Any] = {"outcome": outcome, "ended_at": time_or_none(content.get("ended_at"))}
    phase = content.get("phase")
    end["phase"] = phase if isinstance(phase, str) and phase in _PHASES else None
    for name, kind in _END_FIELDS.items():
        end[name] = kind(content.get(name))
    wrong = [
        name for name in ("phase", "ended_at", *_END_FIELDS) if content.get(name) is not None and end[name] is None
    ]
    if wrong:
        troubles.append(f"{path}: {', '.join(wrong)} cannot be read, and is left out")
    return end


def read_owner(path: Path, troubles: list[str]) -> dict[str, Any]:
    """The columns of `attempt` that owner.json fills; each None where it is not known."""
    content = read_record(path, troubles) or {}
    return {
        "host": text_or_none(content.get("host")),
        "pid": integer_or_none(content.get("pid")),
        "job_id": text_or_none(content.get("job_id")),
        "started_at": time_or_none(content.get("taken_at")),
    }


def read_not_run(path: Path, troubles: list[str]) -> str | None:
    """Why the agent did not get to a run; None: there is no such word that can be read."""
    content = read_record(path, troubles)
    if content is None:
        return None
    return text_or_none(content.get("reason")) or "the agent did not get to it"

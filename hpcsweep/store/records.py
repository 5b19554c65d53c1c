"""Read exit.json, owner.json and not_run.json as columns of the store; a field of another form is None."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcsweep.foreign_files import RECORD_LIMIT_BYTES, parse_json, read_regular
from hpcsweep.spec.records import ExitRecord, NotRunRecord, OwnerRecord
from hpcsweep.spec.records import time_or_none as time_or_none

_END_COLUMNS = ("phase", "ended_at", "reason", "cause", "decided_by", "evidence", "exit_code", "hint", "killed")


def read_record(path: Path, troubles: list[str]) -> Mapping[str, Any] | None:
    """Return the JSON object of a record. None: no file, or not usable (added to `troubles`)."""
    try:
        content = parse_json(read_regular(path, RECORD_LIMIT_BYTES))
    except FileNotFoundError:
        return None
    except OSError as exc:
        troubles.append(f"{path}: {exc.strerror or exc}")
        return None
    except ValueError as exc:
        troubles.append(f"{path} is not valid JSON: {exc}")
        return None
    if not isinstance(content, dict):
        troubles.append(f"{path} is not a JSON object")
        return None
    return content


def read_end(path: Path, troubles: list[str]) -> dict[str, Any] | None:
    """Return the columns of `attempt` from exit.json. None: no file, or an unknown outcome."""
    content = read_record(path, troubles)
    if content is None:
        return None
    record, unreadable = ExitRecord.parse(content)
    if record.outcome is None:
        troubles.append(f"{path} has an unknown outcome: {ascii(content.get('outcome'))[:100]}")
        return None
    columns = record.as_json()
    if skipped := [name for name in _END_COLUMNS if name in unreadable]:
        troubles.append(f"{path}: skipped {', '.join(skipped)}: unreadable")
    return {name: columns[name] for name in ("outcome", *_END_COLUMNS)}


def read_owner(path: Path, troubles: list[str]) -> dict[str, Any]:
    """Return the columns of `attempt` from owner.json; each is None where it is not known."""
    owner, _ = OwnerRecord.parse(read_record(path, troubles) or {})
    return {"host": owner.host, "pid": owner.pid, "job_id": owner.job_id, "started_at": owner.taken_at}


def read_not_run(path: Path, troubles: list[str]) -> str | None:
    """Return why the agent did not start a run. None: no readable file."""
    content = read_record(path, troubles)
    if content is None:
        return None
    return NotRunRecord.parse(content)[0].reason or "the agent did not start it"

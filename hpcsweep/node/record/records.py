"""Write and read the small JSON files beside the events (`spec/records.py`)."""

import json
import os
from pathlib import Path
from typing import Any, TypeVar

from hpcsweep.foreign_files import RECORD_LIMIT_BYTES, parse_json, read_regular
from hpcsweep.spec.records import EXIT_FILE as EXIT_FILE
from hpcsweep.spec.records import NOT_RUN_FILE as NOT_RUN_FILE
from hpcsweep.spec.records import OWNER_FILE as OWNER_FILE
from hpcsweep.spec.records import DiskRecord

R = TypeVar("R", bound=DiskRecord)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a file by an atomic rename, after a flush to the disk. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, ensure_ascii=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file. None: no regular file, or not a JSON object of at most RECORD_LIMIT_BYTES."""
    try:
        content = parse_json(read_regular(path, RECORD_LIMIT_BYTES))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_record(path: Path, record: DiskRecord) -> None:
    """Write a record. Raises OSError."""
    write_json(path, record.as_json())


def read_record(path: Path, kind: type[R]) -> R | None:
    """Return a record; fields that cannot be read are None. None: see `read_json`."""
    content = read_json(path)
    return kind.parse(content)[0] if content is not None else None

"""The small JSON files beside the events: owner.json, exit.json, not_run.json, tasks/K.exit.json."""

import json
import os
from pathlib import Path
from typing import Any

from hpcsweep.foreign_files import RECORD_LIMIT_BYTES, parse_json, read_regular

OWNER_FILE = "owner.json"
EXIT_FILE = "exit.json"
NOT_RUN_FILE = "not_run.json"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write beside, flush to the disk, rename: a reader sees the old file or the whole new one. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, ensure_ascii=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None when there is no file, no regular one, or no whole object of a sensible size in it."""
    try:
        content = parse_json(read_regular(path, RECORD_LIMIT_BYTES))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None

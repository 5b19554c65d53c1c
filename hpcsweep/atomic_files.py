"""Write files atomically, and read the small JSON records that hpcsweep writes.

A reader sees the old file or the complete new one, never a part: the text goes to a temporary file in the same folder,
is flushed to the disk, and the file is renamed.
"""

import json
import os
from pathlib import Path
from typing import Any

from hpcsweep.foreign_files import RECORD_LIMIT_BYTES, parse_json, read_regular


def write_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a text file atomically. `mode`: permissions before the umask. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, *, mode: int = 0o666) -> None:
    """Write a JSON file atomically. Raises OSError."""
    write_text(path, json.dumps(value, indent=1) + "\n", mode=mode)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a small file; None when the file is missing, irregular, too large or not an object."""
    try:
        content = parse_json(read_regular(path, RECORD_LIMIT_BYTES))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None

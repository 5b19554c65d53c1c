"""Write and read the small JSON files beside the events (`spec/records.py`)."""

from pathlib import Path
from typing import TypeVar

from hpcsweep.atomic_files import read_json as read_json
from hpcsweep.atomic_files import write_json as write_json
from hpcsweep.spec.records import EXIT_FILE as EXIT_FILE
from hpcsweep.spec.records import NOT_RUN_FILE as NOT_RUN_FILE
from hpcsweep.spec.records import OWNER_FILE as OWNER_FILE
from hpcsweep.spec.records import DiskRecord

RANKS_DIR = "ranks"

R = TypeVar("R", bound=DiskRecord)


def write_record(path: Path, record: DiskRecord) -> None:
    """Write a record. Raises OSError."""
    write_json(path, record.as_json())


def read_record(path: Path, kind: type[R]) -> R | None:
    """Return a record; fields that cannot be read are None. None: see `read_json`."""
    content = read_json(path)
    return kind.parse(content)[0] if content is not None else None


def ranks_dir(attempt_dir: Path) -> Path:
    """Return the folder of the other nodes' parts of an attempt."""
    return attempt_dir / RANKS_DIR


def rank_dir(attempt_dir: Path, rank: int) -> Path:
    """Return the folder with the log and the diagnostics of one rank."""
    return ranks_dir(attempt_dir) / str(rank)

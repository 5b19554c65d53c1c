"""What belongs to what: a sweep to its home, an event to its run and attempt."""

import re
from pathlib import Path
from typing import Any

from sqlalchemy import Row

from hpcsweep.errors import StoreConflict
from hpcsweep.sweep.layout import SWEEP_FILE, Home, SweepFolder

_NAME = re.compile(rb'"sweep":\s*"([A-Za-z0-9][A-Za-z0-9._-]*)"')
_HEAD_BYTES = 4096


def home_id_of(folder: SweepFolder) -> str | None:
    """Return the UUID of the home that a sweep's folder is in; None: it is in none, or in one without a UUID."""
    sweeps = folder.path.absolute().parent
    return Home(sweeps.parent).identity() if sweeps.name == "sweeps" else None


def refuse_other_home(folder: SweepFolder, home_id: str | None, row: Row[Any]) -> None:
    """Raise StoreConflict when `row`, another sweep of this name, belongs to another home.

    A sweep that was submitted at the same moment is the same one, in a folder that was moved or copied.
    """
    if home_id is not None and row.home_id is not None and row.home_id != home_id:
        raise StoreConflict(
            f"{folder.path}: the store has another sweep {folder.name}, of the home that was at {row.sweep_dir}",
            hint="give each HPCSWEEP_HOME its own store (--store, HPCSWEEP_STORE): it is filled from the run folders",
        )


def run_id_of(attempt_dir: Path) -> str:
    """Return the run id that the events of SWEEP/runs/LABEL/attempt-N have: `SWEEP/LABEL`.

    SWEEP is the name in sweep.json: the folder may have been renamed. It stands at the beginning of the file.
    """
    sweep_dir = attempt_dir.parents[2]
    try:
        with (sweep_dir / SWEEP_FILE).open("rb") as file:
            found = _NAME.search(file.read(_HEAD_BYTES))
    except OSError:
        found = None
    return f"{found[1].decode() if found else sweep_dir.name}/{attempt_dir.parent.name}"

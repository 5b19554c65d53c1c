"""Determine the home of a sweep, and the run of an event."""

import re
from pathlib import Path
from typing import Any

from sqlalchemy import Row

from hpcsweep.errors import StoreConflict
from hpcsweep.sweep.layout import SWEEP_FILE, Home, SweepFolder

_NAME = re.compile(rb'"sweep":\s*"([A-Za-z0-9][A-Za-z0-9._-]*)"')
_HEAD_BYTES = 4096


def home_id_of(folder: SweepFolder) -> str | None:
    """Return the UUID of the home of a sweep's folder; None: it has no home, or a home without a UUID."""
    sweeps = folder.path.absolute().parent
    return Home(sweeps.parent).identity() if sweeps.name == "sweeps" else None


def refuse_other_home(folder: SweepFolder, home_id: str | None, row: Row[Any]) -> None:
    """Raise StoreConflict when `row`, another sweep of this name, belongs to another home.

    A sweep with the same submission time is the same sweep, in a folder that was moved or copied.
    """
    if home_id is not None and row.home_id is not None and row.home_id != home_id:
        raise StoreConflict(
            f"{folder.path}: the store has another sweep {folder.name}, of the home at {row.sweep_dir}",
            code="sweep_name_conflict",
            hint="give each HPCSWEEP_HOME its own store (--store, HPCSWEEP_STORE): it is filled from the run folders",
        )


def run_id_of(attempt_dir: Path) -> str:
    """Return the run id that the events of SWEEP/runs/LABEL/attempt-N have: `SWEEP/LABEL`.

    SWEEP is the name at the start of sweep.json, because the folder may have been renamed.
    """
    sweep_dir = attempt_dir.parents[2]
    try:
        with (sweep_dir / SWEEP_FILE).open("rb") as file:
            match = _NAME.search(file.read(_HEAD_BYTES))
    except OSError:
        match = None
    return f"{match[1].decode() if match else sweep_dir.name}/{attempt_dir.parent.name}"

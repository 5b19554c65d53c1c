"""Open the home folder and the store that a function or a command works on."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpcsweep import privacy
from hpcsweep.errors import SpecError
from hpcsweep.store.open import default_home, default_store, open_store
from hpcsweep.sweep.layout import Home
from hpcsweep.track.refresh import Session


class HpcsweepWarning(UserWarning):
    """Something that the user should see and that does not stop the function, such as a scheduler that timed out."""


@contextmanager
def open_session(home: str | Path | None = None, store: str | None = None) -> Iterator[Session]:
    """Open a home folder and its store; restore the process's umask afterwards.

    `home`: None: $HPCSWEEP_HOME, else `./.hpcsweep`. `store`: a path or an SQLAlchemy URL; None: $HPCSWEEP_STORE, else
    `hpcsweep.db` in the home folder. Raises SpecError or StoreError.
    """
    folder = Home(Path(home or default_home()).absolute())
    if not str(folder.path).isprintable():
        raise SpecError(
            f"HPCSWEEP_HOME has a character that is not allowed in job scripts and JSON files: {str(folder.path)!a}",
            code="home_not_printable",
            hint="choose another folder with --home",
        )
    umask = _current_umask()
    privacy.enter(folder.sweeps_dir)
    try:
        opened = open_store(store or default_store(folder.path))
        try:
            yield Session(folder, opened)
        finally:
            opened.close()
    finally:
        os.umask(umask)


def _current_umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def warn(message: str) -> None:
    """Issue an HpcsweepWarning."""
    warnings.warn(message, HpcsweepWarning, stacklevel=4)

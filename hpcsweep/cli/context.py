"""What commands share: the home folder and the store that the options of the command line name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from hpcsweep import privacy
from hpcsweep.errors import SpecError
from hpcsweep.store.open import default_home, default_store, open_store
from hpcsweep.sweep.layout import Home
from hpcsweep.track.refresh import Session


@contextmanager
def session(ctx: click.Context) -> Iterator[Session]:
    """The home and the store that the options of the command line name."""
    options = ctx.obj or {}
    home = Home(Path(options.get("home") or default_home()).absolute())
    if not str(home.path).isprintable():
        raise SpecError(
            f"HPCSWEEP_HOME {str(home.path)!a} has a character that job scripts and JSON files cannot have",
            hint="choose another with --home",
        )
    privacy.enter(home.sweeps_dir)
    store = open_store(options.get("store") or default_store(home.path))
    try:
        yield Session(home, store)
    finally:
        store.close()

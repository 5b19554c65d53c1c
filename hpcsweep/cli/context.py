"""Open the home folder and the store that the options of the command line name."""

from contextlib import AbstractContextManager

import click

from hpcsweep.api.session import open_session
from hpcsweep.cli.output import warn
from hpcsweep.track.refresh import Session


def session(ctx: click.Context) -> AbstractContextManager[Session]:
    """Return the session of the command line's home folder and store."""
    options = ctx.obj or {}
    return open_session(options.get("home"), options.get("store"))


def refresh(opened: Session, sweeps: list[str], *, ended_too: bool = False) -> None:
    """Bring these sweeps up to date and print the warnings."""
    for warning in opened.refresh(sweeps, ended_too=ended_too):
        warn(warning)

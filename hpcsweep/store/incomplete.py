"""Sweeps whose files could not all be read: what is missing may be there, so nothing may be concluded from it."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import select

from hpcsweep.spec.phases import RunState
from hpcsweep.store.open import Store
from hpcsweep.store.schema import SWEEP
from hpcsweep.submit.merge import RunVerdict

_FROM_FILES = ("run folder", "plan")
"""Witnesses whose word stands although other files are missing."""


def record_incomplete(store: Store, sweep: str, reasons: Sequence[str]) -> None:
    """Remember why files of a sweep could not be read (empty: all were), until the next time. Raises StoreError."""
    if store.read_only:
        return
    reason = "; ".join(dict.fromkeys(reasons)) or None
    with store.reading() as connection:
        known = connection.execute(select(SWEEP.c.incomplete).where(SWEEP.c.name == sweep)).one_or_none()
    if known is None or known.incomplete == reason:
        return
    with store.writing() as connection:
        connection.execute(SWEEP.update().where(SWEEP.c.name == sweep).values(incomplete=reason))


def with_missing_files(verdict: RunVerdict, incomplete: str | None) -> RunVerdict:
    """The verdict, or `unknown` where it rests on the absence of files that could not be read."""
    if incomplete is None or not verdict.state.final or verdict.settled_by in _FROM_FILES:
        return verdict
    return replace(
        verdict,
        state=RunState.UNKNOWN,
        outcome=None,
        reason=f"its files could not all be read ({incomplete}); the scheduler says: {verdict.reason}",
        hint="the next status reads them again; until then it is not submitted again",
        settled_by="nobody",
    )

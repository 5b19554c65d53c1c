"""Record sweeps whose files could not all be read: the absence of a file then proves nothing."""

from collections.abc import Sequence

from sqlalchemy import select

from hpcsweep.store.open import Store
from hpcsweep.store.schema import SWEEP


def record_incomplete(store: Store, sweep: str, reasons: Sequence[str]) -> None:
    """Store why files of a sweep could not be read (empty: all were read), until the next ingest. Raises StoreError."""
    if store.read_only:
        return
    reason = "; ".join(dict.fromkeys(reasons)) or None
    with store.reading() as connection:
        known = connection.execute(select(SWEEP.c.incomplete).where(SWEEP.c.name == sweep)).one_or_none()
    if known is None or known.incomplete == reason:
        return
    with store.writing() as connection:
        connection.execute(SWEEP.update().where(SWEEP.c.name == sweep).values(incomplete=reason))

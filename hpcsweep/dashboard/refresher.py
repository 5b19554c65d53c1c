"""Keeps the store current while a page is open: one thread, however many browsers there are."""

import threading
import time

from hpcsweep.errors import HpcsweepError
from hpcsweep.store.ingest.sweeps import ingest_home
from hpcsweep.track.refresh import Session
from hpcsweep.track.status import unfinished_sweeps

INGEST_S = 1.0
"""Interval at which run folders on this machine are read."""

INTEREST_S = 5.0
"""For this long after a page or a stream asked for a sweep, it is kept current."""


class Refresher:
    """Reads run folders every second, and asks schedulers every `interval_s`, for the sweeps that are looked at.

    `lock` serialises what changes the session: refreshes, cancel, retry. `asked`: number of times that schedulers were
    asked; `asked_at`: Unix seconds of the last time, None: not yet.
    """

    def __init__(self, session: Session, interval_s: float) -> None:
        self._session, self._interval_s = session, interval_s
        self.lock = threading.RLock()
        self.asked = 0
        self.asked_at: float | None = None
        self._wanted: dict[str | None, float] = {}
        self._notes: tuple[str, ...] = ()
        self._asked_clock = float("-inf")
        self._wake, self._stopped, self._first = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop, name="refresh", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the query that it may be waiting for."""
        self._stopped.set()
        self._wake.set()

    def want(self, sweep: str | None) -> None:
        """Keep a sweep current for some seconds; None: every sweep of the home that has not ended."""
        self._wanted[sweep] = time.monotonic() + INTEREST_S
        self._wake.set()

    def wait_for_first(self, timeout_s: float) -> None:
        """Wait until the first refresh has ended, so that the first page is not empty."""
        self._first.wait(timeout_s)

    @property
    def notes(self) -> tuple[str, ...]:
        """What kept the last refresh from being complete, such as a scheduler that timed out."""
        return self._notes

    def _loop(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            now = time.monotonic()
            wanted = {name for name, until in dict(self._wanted).items() if until >= now}
            if wanted:
                self._turn(None if None in wanted else [name for name in wanted if name is not None])
                self._stopped.wait(INGEST_S)
            else:
                self._wake.wait()

    def _turn(self, wanted: list[str] | None) -> None:
        """Bring these sweeps up to date; None: all of the home. A failure becomes a note."""
        session = self._session
        try:
            with self.lock:
                known = session.home.sweep_names()
                names = known if wanted is None else [name for name in known if name in wanted]
                if time.monotonic() - self._asked_clock >= self._interval_s:
                    self._asked_clock = time.monotonic()
                    self.asked += 1
                    self._notes = tuple(session.refresh(None if wanted is None else names))
                    self.asked_at = time.time()
                    return
                with session.store.reading() as connection:
                    unfinished = set(unfinished_sweeps(connection))
                ingest_home(session.store, session.home.path, [name for name in names if name in unfinished])
        except HpcsweepError as exc:
            self._notes = (f"{exc.message}{f' ({exc.hint})' if exc.hint else ''}",)
        except OSError as exc:
            self._notes = (f"{exc.filename or session.home.path}: {exc.strerror or exc}",)
        finally:
            self._first.set()

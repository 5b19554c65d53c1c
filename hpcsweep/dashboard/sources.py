"""Everything the dashboard shows, read from the store and cached; called in worker threads."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from hpcsweep.analysis.compared.regressions import DEFAULT_METRICS, SweepComparison, compare_sweeps
from hpcsweep.analysis.rows import RunRow, SweepRow
from hpcsweep.analysis.summary import analyse
from hpcsweep.api.results import no_collection
from hpcsweep.dashboard.answers import FAILED, Answers, answer_in_short, fingerprint
from hpcsweep.dashboard.history_view import Series, history
from hpcsweep.dashboard.index_view import index_view
from hpcsweep.dashboard.links import Links
from hpcsweep.dashboard.refresher import Refresher
from hpcsweep.dashboard.status_view import LiveView, status_view
from hpcsweep.errors import HpcsweepError, StoreError, nearest
from hpcsweep.report.formats.registry import get_format
from hpcsweep.store.ingest.sweeps import ingest_home
from hpcsweep.sweep.layout import SWEEP_FILE, SweepFolder, is_label
from hpcsweep.track.live_rows import latest_attempt_rows, models_and_engines, names_of_sweeps, runs_of_variant
from hpcsweep.track.refresh import Session
from hpcsweep.track.runs import SweepStatus, read_runs
from hpcsweep.track.sweep_rows import file_troubles, load_sweep

FRESH_S = 0.9
"""A view is shared by all browsers for so long, or for longer where reading it takes long."""

_LONGER = 4.0
MAX_REPORTS = 6
FIRST_REFRESH_S = 3.0
_MEMORY = "memory"


class _Shared:
    """Values that several browsers ask for: each is computed once per `FRESH_S`, by one thread."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, threading.Lock] = {}
        self._values: dict[Hashable, tuple[float, Any]] = {}

    def get(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        with self._locks.setdefault(key, threading.Lock()):
            known = self._values.get(key)
            if known is not None and time.monotonic() < known[0]:
                return known[1]
            begun = time.monotonic()
            value = compute()
            ended = time.monotonic()
            self._values[key] = (ended + max(FRESH_S, _LONGER * (ended - begun)), value)
            return value


class _InFolder(StringIO):
    """Text whose relative links start in the folder of a file: the dashboard has addresses of the same form."""

    def __init__(self, neighbour: Path) -> None:
        super().__init__()
        self.name = str(neighbour)


def _unknown_run(sweep: str, label: str) -> StoreError:
    return StoreError(f"{sweep} has no run {label!r}", code="unknown_run", hint="the page of the sweep lists its runs")


class Sources:
    """Reads what a page shows. Every sweep and run is looked up in the store before a file of it is opened."""

    def __init__(self, session: Session, refresher: Refresher, links: Links) -> None:
        self.session, self.refresher, self.links = session, refresher, links
        self.answers = Answers(self._answer)
        self._shared = _Shared()
        self._seen: set[str] = set()
        self._reports: OrderedDict[Hashable, str] = OrderedDict()
        self._rendering = threading.Lock()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        store = self.session.store
        if store.url != _MEMORY:
            with store.reading() as connection:
                yield connection
            return
        with self.refresher.lock, store.reading() as connection:  # a store in memory is one connection
            yield connection

    def _look(self, sweep: str | None) -> None:
        self.refresher.want(sweep)
        self.refresher.wait_for_first(FIRST_REFRESH_S)
        if sweep is None or sweep in self._seen or sweep not in self.session.home.sweep_names():
            return
        with self.refresher.lock:  # a sweep that was submitted a moment ago is not in the store yet
            ingest_home(self.session.store, self.session.home.path, [sweep])
        self._seen.add(sweep)

    def index(self) -> LiveView:
        """Return the sweeps of the store."""
        self._look(None)
        view: LiveView = self._shared.get("index", self._index)
        return view

    def _index(self) -> LiveView:
        with self._reading() as connection:
            sweeps, models = read_runs(connection), models_and_engines(connection)
        return index_view(sweeps, models, self.answers.known(sweeps), self.refresher.notes, self.links, time.time())

    def statuses(self) -> list[SweepStatus]:
        """Return the states of all sweeps."""
        self._look(None)
        with self._reading() as connection:
            return read_runs(connection)

    def status(self, name: str) -> tuple[SweepStatus, LiveView]:
        """Return a sweep and its live view. Raises StoreError when the store has no such sweep."""
        self._look(name)
        pair: tuple[SweepStatus, LiveView] = self._shared.get(("status", name), lambda: self._status(name))
        return pair

    def _status(self, name: str) -> tuple[SweepStatus, LiveView]:
        with self._reading() as connection:
            sweep = self._find(connection, name)
            attempts = latest_attempt_rows(connection, sweep.sweep_id)
        return sweep, status_view(sweep, attempts, self.refresher.notes, self.links, time.time())

    def _find(self, connection: Connection, name: str) -> SweepStatus:
        sweeps = read_runs(connection, [name])
        if not sweeps:
            known = names_of_sweeps(connection)[:20]
            raise StoreError(f"the store has no sweep {name!r}", code="unknown_sweep", hint=nearest(name, known))
        return sweeps[0]

    def run(self, name: str, label: str, *, itl: bool = False) -> tuple[SweepRow, RunRow, list[str]]:
        """Return a run with its sweep and the unreadable lines of its files. Raises StoreError."""
        self._look(name)
        with self._reading() as connection:
            sweep = load_sweep(connection, name, runs=[label], itl=itl)
            troubles = file_troubles(connection, name, label)
        if not sweep.runs or not is_label(label):
            raise _unknown_run(name, label)
        return sweep, sweep.runs[0], troubles

    def folder(self, name: str, label: str) -> SweepFolder:
        """Return the folder of a sweep that has this run, as the store has it. Raises StoreError."""
        sweep, _ = self.status(name)
        if not is_label(label) or all(run.run != label for run in sweep.runs):
            raise _unknown_run(name, label)
        return SweepFolder(Path(sweep.sweep_dir))

    def report(self, name: str, format_name: str) -> str:
        """Return the report of a sweep in a format. It is rendered again when the store has something new."""
        sweep, _ = self.status(name)
        key = (name, format_name, fingerprint(sweep))
        with self._rendering:
            if key not in self._reports:
                chosen, stream = get_format(format_name), _InFolder(Path(sweep.sweep_dir) / SWEEP_FILE)
                with no_collection():
                    chosen.write(analyse(self._rows(name, telemetry=chosen.telemetry)), stream)
                self._reports[key] = stream.getvalue()
                while len(self._reports) > MAX_REPORTS:
                    self._reports.popitem(last=False)
            self._reports.move_to_end(key)
            return self._reports[key]

    def compare(self, first: str, second: str) -> SweepComparison:
        """Return the comparison of two sweeps. Raises StoreError."""
        for name in (first, second):
            self._look(name)
        return compare_sweeps(self._rows(first), self._rows(second), DEFAULT_METRICS, "warm")

    def history(self, variant: str, metric: str) -> Sequence[Series]:
        """Return the runs of a variant over all sweeps. Raises StoreError when no sweep has it."""
        with self._reading() as connection:
            runs = runs_of_variant(connection, variant)
            if not runs:
                raise StoreError(f"no sweep has a variant {variant!r}", code="unknown_variant")
            return history([load_sweep(connection, name, runs=labels) for name, labels in runs.items()], metric)

    def sweep_names(self) -> list[str]:
        """Return the names of all sweeps, the latest first."""
        with self._reading() as connection:
            return names_of_sweeps(connection)

    def _rows(self, name: str, *, telemetry: bool = False) -> SweepRow:
        with self._reading() as connection:
            return load_sweep(connection, name, telemetry=telemetry)

    def _answer(self, name: str) -> str:
        try:
            return answer_in_short(analyse(self._rows(name)))
        except HpcsweepError:
            return FAILED

"""What commands share: the home folder, the store, and bringing both up to date."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcsweep.errors import HpcsweepError, SpecError, StoreDiskError, StoreError
from hpcsweep.schedulers.base import JobStatus
from hpcsweep.store.incomplete import record_incomplete
from hpcsweep.store.ingest import ingest_sweep
from hpcsweep.store.open import Store, default_home, default_store, open_store
from hpcsweep.store.status import last_told_at, record_status, unfinished_sweeps
from hpcsweep.submit.layout import SWEEP_FILE, Home, SweepFolder
from hpcsweep.submit.merge import every_element
from hpcsweep.units import format_duration

if TYPE_CHECKING:  # profiles and schedulers are imported when one is asked: not for a status of ended sweeps
    from hpcsweep.spec.cluster import Cluster
    from hpcsweep.submit.backends import Backend
    from hpcsweep.submit.submission import Submission


@dataclass(frozen=True)
class Session:
    """The home folder and the open store of one command."""

    home: Home
    store: Store
    _backends: "dict[str, Backend]" = field(default_factory=dict)
    _documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    incomplete: dict[str, list[str]] = field(default_factory=dict)
    """Sweep -> why not all of its files could be read the last time."""

    def refresh(self, sweeps: Sequence[str] | None = None) -> list[str]:
        """Ask the schedulers and read what is new in the run folders. `sweeps` None: all that have not ended.

        Returns troubles in words: a scheduler that does not answer leaves the last known states standing. When the
        disk under the store is full, the command goes on with a store in memory.
        """
        try:
            troubles = self._refresh(sweeps)
        except StoreDiskError as exc:
            self.store.move_into_memory(exc)
            troubles = self._refresh(sweeps)
        return list(dict.fromkeys([self.store.notice, *troubles] if self.store.notice else troubles))

    def _refresh(self, sweeps: Sequence[str] | None) -> list[str]:
        names = self.home.sweep_names() if sweeps is None else list(sweeps)
        troubles: list[str] = []
        for name in names:
            troubles += self._ingest(SweepFolder(self.home.sweeps_dir / name))
        with self.store.reading() as connection:
            open_ones = set(unfinished_sweeps(connection))
        asked = [SweepFolder(self.home.sweeps_dir / name) for name in names if name in open_ones]
        troubles += self._ask_schedulers(asked)
        for sweep in asked:  # an agent may have left its last word just before the scheduler said that the job is over
            troubles += self._ingest(sweep)
        return troubles

    def backend(self, sweep: SweepFolder) -> "Backend":
        """The backend that a sweep was submitted to, from the profile that it keeps."""
        from hpcsweep.submit.factory import make_backend

        document = self.document(sweep)
        key = f"{document['profile']} {document.get('parallel')}"
        if key not in self._backends:
            self._backends[key] = make_backend(self.cluster(sweep), self.home, document.get("parallel"))
        return self._backends[key]

    def cluster(self, sweep: SweepFolder) -> "Cluster":
        """The cluster profile that a sweep was submitted with; its connection, if any, is the user's own of that name.

        Raises SpecError: no such profile, or one that leads elsewhere; HpcsweepError: the sweep's file is damaged.
        """
        from pydantic import ValidationError

        from hpcsweep.spec.cluster import Cluster
        from hpcsweep.submit.inputs import own_connection

        document = self.document(sweep)
        try:
            cluster = Cluster.model_validate(document["profile"])
        except ValidationError as exc:
            first = exc.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise HpcsweepError(f"{sweep.path / SWEEP_FILE}: profile.{place}: {first['msg']}") from exc
        if cluster.ssh is None:
            return cluster
        own = own_connection(str(document.get("cluster")), cluster.ssh, sweep.name)
        return cluster.model_copy(update={"ssh": own})

    def document(self, sweep: SweepFolder) -> dict[str, Any]:
        """sweep.json, read once a command: it is large for a large sweep, and does not change once it is written."""
        if sweep.name not in self._documents:
            self._documents[sweep.name] = sweep.read_sweep()
        return self._documents[sweep.name]

    def _ingest(self, sweep: SweepFolder) -> list[str]:
        """Read what is new in a sweep's folder; over SSH it is fetched first. A damaged sweep is a trouble, no end."""
        try:
            profile = self.document(sweep)["profile"]
        except HpcsweepError as exc:
            return [f"{sweep.name}: {exc.message}"]
        troubles: list[str] = []
        missing: list[str] = []
        try:
            if profile.get("ssh") is not None:
                from hpcsweep.submit.place import find_place

                find_place(sweep, self.cluster(sweep), self.backend(sweep)).fetch()
        except HpcsweepError as exc:
            missing.append(exc.message)
            troubles.append(f"{sweep.name}: {exc.message}{f' ({exc.hint})' if exc.hint else ''}")
        try:
            count = ingest_sweep(self.store, sweep.path)
            missing += count.unreadable
            troubles += [f"{sweep.name}: {trouble}" for trouble in (*count.unreadable, *count.troubles)]
            record_incomplete(self.store, sweep.name, missing)
        except StoreDiskError:
            raise
        except StoreError as exc:
            troubles.append(f"{sweep.name}: {exc.message}")
            missing.append(exc.message)
        self.incomplete[sweep.name] = missing
        return troubles

    def _ask_schedulers(self, sweeps: Iterable[SweepFolder]) -> list[str]:
        """One listing per scheduler and host for all sweeps there."""
        troubles: list[str] = []
        groups: dict[str, list[SweepFolder]] = {}
        for sweep in sweeps:
            profile = self.document(sweep)["profile"]
            try:
                self.backend(sweep)
            except HpcsweepError as exc:  # a connection that is not the user's own, or a scheduler that is not here
                troubles.append(f"{sweep.name}: {exc.message}")
                continue
            groups.setdefault(f"{profile.get('scheduler')} {profile.get('ssh')}", []).append(sweep)
        for members in groups.values():
            places: dict[str, tuple[str, int]] = {}
            elements: dict[str, int] = {}
            for sweep in members:
                for number in sweep.job_numbers():
                    try:
                        submission = sweep.read_submission(number)
                    except HpcsweepError as exc:
                        troubles.append(f"{sweep.name}: {exc.message}")
                        continue
                    if submission is not None and submission.job_id is None:
                        submission = self._look_for(sweep, number, submission, troubles)
                    if submission is not None and submission.job_id is not None:
                        places[submission.job_id] = (sweep.name, number)
                        elements[submission.job_id] = submission.elements
            listing = self.backend(members[0]).listing({i: f"{name}-{n}" for i, (name, n) in places.items()})
            if listing.trouble:
                troubles.append(listing.trouble + self._age([sweep.name for sweep in members]))
            self._record(every_element(listing, elements), places)
        return troubles

    def _look_for(self, sweep: SweepFolder, number: int, lost: "Submission", troubles: list[str]) -> "Submission":
        """A submission whose answer was lost, with the job's id when the scheduler shows that it took it."""
        from hpcsweep.submit.place import find_place

        backend = self.backend(sweep)
        try:
            job_dir = f"{find_place(sweep, self.cluster(sweep), backend).sweep_dir}/jobs/{number}"
            ids = backend.find(f"{sweep.name}-{number}", job_dir)
        except HpcsweepError as exc:
            troubles.append(f"{sweep.name}: {exc.message}")
            return lost
        if not ids:
            return lost
        found = lost.model_copy(update={"job_id": ids[-1]})
        sweep.write_submission(number, found)
        return found

    def _age(self, sweeps: list[str]) -> str:
        """How old the scheduler's last word about these sweeps is."""
        with self.store.reading() as connection:
            at = last_told_at(connection, sweeps)
        return "" if at is None else f"; its last word is {format_duration(max(0.0, time.time() - at))} old"

    def _record(self, told: Mapping[tuple[str, int], JobStatus], places: Mapping[str, tuple[str, int]]) -> None:
        if self.store.read_only or not told:
            return
        at = time.time()
        with self.store.writing() as connection:
            for (job_id, index), status in told.items():
                sweep, number = places[job_id]
                record_status(connection, sweep, number, index, status, at)


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
    store = open_store(options.get("store") or default_store(home.path))
    try:
        yield Session(home, store)
    finally:
        store.close()

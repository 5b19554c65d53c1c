"""What commands share: the home folder, the store, and bringing both up to date."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from hpcsweep.spec.cluster import Cluster
from hpcsweep.store.ingest import ingest_sweep
from hpcsweep.store.open import Store, default_home, default_store, open_store
from hpcsweep.store.queries import unfinished_sweeps
from hpcsweep.store.scheduler import record_listing
from hpcsweep.submit.backends import Backend
from hpcsweep.submit.factory import make_backend
from hpcsweep.submit.layout import Home, SweepFolder


@dataclass(frozen=True)
class Session:
    """The home folder and the open store of one command."""

    home: Home
    store: Store

    def refresh(self, sweeps: Sequence[str] | None = None) -> list[str]:
        """Ask the schedulers and read what is new in the run folders. `sweeps` None: all that have not ended.

        Returns troubles in words: a scheduler that does not answer leaves the last known states standing.
        """
        names = self.home.sweep_names() if sweeps is None else list(sweeps)
        for name in names:
            ingest_sweep(self.store, self.home.sweeps_dir / name)
        with self.store.reading() as connection:
            open_ones = set(unfinished_sweeps(connection))
        return self._ask_schedulers([SweepFolder(self.home.sweeps_dir / n) for n in names if n in open_ones])

    def backend(self, sweep: SweepFolder) -> Backend:
        """The backend that a sweep was submitted to, from the profile that it keeps."""
        return make_backend(self.cluster(sweep), self.home, sweep.read_sweep().get("parallel"))

    def cluster(self, sweep: SweepFolder) -> Cluster:
        """The cluster profile that a sweep was submitted with."""
        return Cluster.model_validate(sweep.read_sweep()["profile"])

    def _ask_schedulers(self, sweeps: Iterable[SweepFolder]) -> list[str]:
        """One listing per cluster for all its sweeps."""
        troubles: list[str] = []
        groups: dict[str, list[SweepFolder]] = {}
        for sweep in sweeps:
            groups.setdefault(str(sweep.read_sweep()["profile"]), []).append(sweep)
        for members in groups.values():
            names: dict[str, str] = {}
            for sweep in members:
                for number in sweep.job_numbers():
                    submission = sweep.read_submission(number)
                    if submission is not None and submission.job_id is not None:
                        names[submission.job_id] = f"{sweep.name}-{number}"
            listing = self.backend(members[0]).listing(names)
            if listing.trouble:
                troubles.append(listing.trouble)
            at = time.time()
            for sweep in members:
                record_listing(self.store, sweep.name, listing, at)
        return troubles


@contextmanager
def session(ctx: click.Context) -> Iterator[Session]:
    """The home and the store that the options of the command line name."""
    options = ctx.obj or {}
    home = Home(Path(options.get("home") or default_home()).absolute())
    store = open_store(options.get("store") or default_store(home.path))
    try:
        yield Session(home, store)
    finally:
        store.close()

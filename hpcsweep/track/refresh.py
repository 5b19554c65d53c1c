"""Bring a home and its store up to date: fetch, ingest, ask the schedulers, record what they report."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpcsweep.errors import HpcsweepError, StoreConflict, StoreDiskError, StoreError
from hpcsweep.schedulers.base import JobStatus
from hpcsweep.schedulers.listings import every_array_task
from hpcsweep.store.ingest.incomplete import record_incomplete
from hpcsweep.store.ingest.sweeps import ingest_sweep
from hpcsweep.store.open import Store
from hpcsweep.sweep.layout import SWEEP_FILE, Home, SweepFolder
from hpcsweep.track.status import highest_number, last_told_at, record_absence, record_status, unfinished_sweeps
from hpcsweep.units import format_duration

if TYPE_CHECKING:  # profiles and schedulers are imported when one is asked: not for a status of ended sweeps
    from hpcsweep.spec.cluster import Cluster
    from hpcsweep.submit.backends import Backend
    from hpcsweep.sweep.submission import Submission


_SEARCH_S = 900.0
"""How long after a submission whose answer was lost every status looks for its job."""


@dataclass(frozen=True)
class Session:
    """The home folder and the open store of one command."""

    home: Home
    store: Store
    _backends: "dict[str, Backend]" = field(default_factory=dict)
    _documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    incomplete: dict[str, list[str]] = field(default_factory=dict)
    """Sweep -> why not all of its files could be read the last time."""

    def refresh(self, sweeps: Sequence[str] | None = None, *, ended_too: bool = False) -> list[str]:
        """Ask the schedulers and read what is new in the run folders. `sweeps` None: all that have not ended.

        `ended_too`: ask about sweeps whose runs have all ended as well. A scheduler may have started a job again since,
        so whoever submits or cancels runs asks before.
        Returns troubles in words: a scheduler that does not answer leaves the last known states standing. When the
        disk under the store is full, the command goes on with a store in memory.
        """
        try:
            troubles = self._refresh(sweeps, ended_too)
        except StoreDiskError as exc:
            self.store.move_into_memory(exc)
            troubles = self._refresh(sweeps, ended_too)
        return list(dict.fromkeys([self.store.notice, *troubles] if self.store.notice else troubles))

    def _refresh(self, sweeps: Sequence[str] | None, ended_too: bool) -> list[str]:
        names = self.home.sweep_names() if sweeps is None else list(sweeps)
        troubles: list[str] = []
        conflicting: set[str] = set()
        for name in names:
            try:
                troubles += self._ingest(SweepFolder(self.home.sweeps_dir / name))
            except StoreConflict as exc:
                if sweeps is not None:  # what the store has under this name is not what was asked for
                    raise
                troubles.append(exc.message)
                conflicting.add(name)
        with self.store.reading() as connection:
            open_ones = set(unfinished_sweeps(connection)) - conflicting
        asked = [SweepFolder(self.home.sweeps_dir / name) for name in names if ended_too or name in open_ones]
        asked = [sweep for sweep in asked if sweep.name not in conflicting]
        troubles += self._ask_schedulers(asked, ended_too)
        for sweep in asked:  # an agent may have left its last word just before the scheduler said that the job is over
            troubles += self._ingest(sweep)
        return troubles

    def highest_number_elsewhere(self, experiment: str) -> int:
        """The highest number of this experiment's sweeps in the store that are of another home; 0: there is none."""
        if self.store.unmade:  # a dry run leaves nothing behind
            return 0
        with self.store.reading() as connection:
            return highest_number(connection, experiment, self.home.identity() if self.home.path.is_dir() else None)

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

        from hpcsweep.spec.base import validation_text
        from hpcsweep.spec.cluster import Cluster
        from hpcsweep.sweep.inputs import own_connection

        document = self.document(sweep)
        try:
            cluster = Cluster.model_validate(document["profile"])
        except ValidationError as exc:
            raise HpcsweepError(f"{sweep.path / SWEEP_FILE}: profile.{validation_text(exc)}") from exc
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
        except (StoreDiskError, StoreConflict):
            raise
        except StoreError as exc:
            troubles.append(f"{sweep.name}: {exc.message}")
            missing.append(exc.message)
        self.incomplete[sweep.name] = missing
        return troubles

    def _ask_schedulers(self, sweeps: Iterable[SweepFolder], search_again: bool) -> list[str]:
        """One listing per scheduler and host for all sweeps there. `search_again`: see `_look_for`."""
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
            job_names: dict[str, str] = {}
            for sweep in members:
                for number in sweep.job_numbers():
                    try:
                        submission = sweep.read_submission(number)
                    except HpcsweepError as exc:
                        troubles.append(f"{sweep.name}: {exc.message}")
                        continue
                    lost = submission is not None and submission.job_id is None
                    if submission is not None and lost and (search_again or not submission.searched_in_vain):
                        submission = self._look_for(sweep, number, submission, troubles)
                    if submission is not None and submission.job_id is not None:
                        places[submission.job_id] = (sweep.name, number)
                        elements[submission.job_id] = submission.elements
                        job_names[submission.job_id] = submission.name or f"{sweep.name}-{number}"
            listing = self.backend(members[0]).queue_snapshot(job_names)
            if listing.error:
                troubles.append(listing.error + self._age([sweep.name for sweep in members]))
            absent = [
                (job_id, each)
                for job_id, index in listing.absent
                for each in (range(elements[job_id]) if index is None else [index])
            ]
            self._record(every_array_task(listing, elements), absent, places)
        return troubles

    def _look_for(self, sweep: SweepFolder, number: int, lost: "Submission", troubles: list[str]) -> "Submission":
        """A submission whose answer was lost, with the job's id when the scheduler shows that it took it.

        A scheduler that answers, some time after the submission, that it has no such job is not asked each time again.
        """
        from hpcsweep.submit.place import find_place
        from hpcsweep.submit.sweep_lock import changing_if_free

        backend = self.backend(sweep)
        try:
            job_dir = f"{find_place(sweep, self.cluster(sweep), backend).sweep_dir}/jobs/{number}"
            ids = backend.find(f"{sweep.name}-{number}", job_dir)
        except HpcsweepError as exc:
            troubles.append(f"{sweep.name}: {exc.message}")
            return lost
        if ids:
            news: dict[str, object] = {"job_id": ids[-1]}
        elif ids is not None and time.time() - lost.submitted_at > _SEARCH_S:
            news = {"searched_in_vain": True}
        else:
            return lost
        with changing_if_free(sweep, "status") as free:
            known = sweep.read_submission(number)
            if not free or known is None or known.job_id is not None:
                return known or lost  # a command that is submitting or cancelling writes the file itself
            found = known.model_copy(update=news)
            sweep.write_submission(number, found)
        return found

    def _age(self, sweeps: list[str]) -> str:
        """How old the scheduler's last word about these sweeps is."""
        with self.store.reading() as connection:
            at = last_told_at(connection, sweeps)
        return "" if at is None else f"; its last word is {format_duration(max(0.0, time.time() - at))} old"

    def _record(
        self,
        told: Mapping[tuple[str, int], JobStatus],
        absent: Collection[tuple[str, int]],
        places: Mapping[str, tuple[str, int]],
    ) -> None:
        if self.store.read_only or not (told or absent):
            return
        at = time.time()
        with self.store.writing() as connection:
            for (job_id, index), status in told.items():
                sweep, number = places[job_id]
                record_status(connection, sweep, number, index, status, at)
            for job_id, index in absent:
                record_absence(connection, *places[job_id], index, at)

"""Bring a home and its store up to date: fetch, ingest, query the schedulers, record what they report."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hpcsweep.errors import HpcsweepError, StoreConflict, StoreDiskError, StoreError
from hpcsweep.schedulers.base import QueueSnapshot
from hpcsweep.schedulers.listings import every_array_task
from hpcsweep.store.ingest.incomplete import record_incomplete
from hpcsweep.store.ingest.sweeps import ingest_sweep
from hpcsweep.store.open import Store
from hpcsweep.sweep.layout import SWEEP_FILE, Home, SweepFolder
from hpcsweep.track.status import (
    highest_number,
    last_reported_at,
    record_absence,
    record_status,
    unfinished_sweeps,
)
from hpcsweep.units import format_duration

if TYPE_CHECKING:  # profiles and schedulers are imported when one is queried: `status` of ended sweeps needs none
    from hpcsweep.spec.cluster import Cluster
    from hpcsweep.spec.sweep import SweepFile
    from hpcsweep.submit.backends import Backend
    from hpcsweep.sweep.submission import Submission


_SEARCH_S = 900.0
"""For this long after an unconfirmed submission, every refresh searches for its job."""


@dataclass(frozen=True)
class Session:
    """A home folder and its open store, with the definitions and backends of the sweeps that were used.

    `incomplete`: sweep -> why not all of its files could be read in the last refresh.
    """

    home: Home
    store: Store
    incomplete: dict[str, list[str]] = field(default_factory=dict)
    _backends: "dict[tuple[str, int | None], Backend]" = field(default_factory=dict)
    _definitions: "dict[str, SweepFile]" = field(default_factory=dict)
    _over_ssh: dict[str, bool] = field(default_factory=dict)

    def refresh(self, sweeps: Sequence[str] | None = None, *, ended_too: bool = False) -> list[str]:
        """Query the schedulers and read new data of the run folders; return warnings. `sweeps` None: all unfinished.

        `ended_too`: also query sweeps whose runs have all ended. Use it before runs are submitted or cancelled, because
        the scheduler may have started a job again. If a scheduler does not respond, its last states stay. If the disk
        of the store is full, the session continues with a store in memory.
        """
        try:
            warnings = Tracker(self).refresh(sweeps, ended_too=ended_too)
        except StoreDiskError as exc:
            self.store.move_into_memory(exc)
            warnings = Tracker(self).refresh(sweeps, ended_too=ended_too)
        return list(dict.fromkeys([self.store.notice, *warnings] if self.store.notice else warnings))

    def highest_number_elsewhere(self, experiment: str) -> int:
        """Return the highest number of this experiment's sweeps of other homes in the store; 0: none."""
        if self.store.unmade:  # a dry run must not create the store
            return 0
        with self.store.reading() as connection:
            return highest_number(connection, experiment, self.home.identity() if self.home.path.is_dir() else None)

    def document(self, sweep: SweepFolder) -> "SweepFile":
        """Return sweep.json, which is read once per session. Raises HpcsweepError."""
        if sweep.name not in self._definitions:
            self._definitions[sweep.name] = sweep.read_sweep()
        return self._definitions[sweep.name]

    def cluster(self, sweep: SweepFolder) -> "Cluster":
        """Return the cluster profile of a sweep at submission, with the SSH connection of the user's own configuration.

        Raises SpecError when the user's configuration has no such connection, HpcsweepError when sweep.json is corrupt.
        """
        from pydantic import ValidationError

        from hpcsweep.spec.base import validation_text
        from hpcsweep.sweep.inputs import own_connection

        definition = self.document(sweep)
        try:
            cluster = definition.cluster_profile
        except ValidationError as exc:
            raise HpcsweepError(
                f"{sweep.path / SWEEP_FILE}: profile.{validation_text(exc)}", code="sweep_profile_unreadable"
            ) from exc
        if cluster.ssh is None:
            return cluster
        return cluster.model_copy(update={"ssh": own_connection(definition.cluster, cluster.ssh, sweep.name)})

    def backend(self, sweep: SweepFolder) -> "Backend":
        """Return the backend that a sweep was submitted to. Raises as `cluster`."""
        from hpcsweep.submit.factory import make_backend

        cluster, parallel = self.cluster(sweep), self.document(sweep).parallel
        key = (cluster.model_dump_json(), parallel)
        if key not in self._backends:
            self._backends[key] = make_backend(cluster, self.home, parallel)
        return self._backends[key]

    def uses_ssh(self, sweep: SweepFolder) -> bool:
        """Return whether a sweep was submitted over SSH. Raises HpcsweepError when sweep.json is corrupt."""
        if sweep.name not in self._over_ssh:
            self._over_ssh[sweep.name] = sweep.uses_ssh()
        return self._over_ssh[sweep.name]


@dataclass
class _Submitted:
    """The submissions of one scheduler: for each job id, its sweep and number, array size and job name."""

    jobs: dict[str, tuple[str, int]] = field(default_factory=dict)
    array_sizes: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def add(self, sweep: str, number: int, submission: "Submission") -> None:
        """Add a submission whose job id is known."""
        if submission.job_id is not None:
            self.jobs[submission.job_id] = (sweep, number)
            self.array_sizes[submission.job_id] = submission.array_tasks
            self.names[submission.job_id] = submission.name or f"{sweep}-{number}"


class Tracker:
    """One refresh of a session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._warnings: list[str] = []

    def refresh(self, sweeps: Sequence[str] | None, *, ended_too: bool) -> list[str]:
        """See `Session.refresh`."""
        home, store = self._session.home, self._session.store
        names = home.sweep_names() if sweeps is None else list(sweeps)
        conflicting: set[str] = set()
        for name in names:
            try:
                self._ingest(SweepFolder(home.sweeps_dir / name))
            except StoreConflict as exc:
                if sweeps is not None:  # the sweep of this name in the store is not the one that was asked for
                    raise
                self._warnings.append(exc.message)
                conflicting.add(name)
        with store.reading() as connection:
            unfinished = set(unfinished_sweeps(connection))
        chosen = [name for name in names if name not in conflicting and (ended_too or name in unfinished)]
        folders = [SweepFolder(home.sweeps_dir / name) for name in chosen]
        for members in self._by_scheduler(folders):
            self._query(members, search_again=ended_too)
        for sweep in folders:  # an agent may have written its end record just before the scheduler reported the end
            self._ingest(sweep)
        return self._warnings

    def _ingest(self, sweep: SweepFolder) -> None:
        """Read new data of a sweep's folder into the store, after fetching it over SSH. A corrupt sweep is a warning.

        Raises StoreDiskError, StoreConflict.
        """
        try:
            over_ssh = self._session.uses_ssh(sweep)
        except HpcsweepError as exc:
            self._warn(sweep, exc.message)
            return
        missing: list[str] = []
        if over_ssh:
            try:
                self._fetch(sweep)
            except HpcsweepError as exc:
                missing.append(exc.message)
                self._warn(sweep, f"{exc.message}{f' ({exc.hint})' if exc.hint else ''}")
        store = self._session.store
        try:
            count = ingest_sweep(store, sweep.path)
            missing += count.unreadable
            for problem in (*count.unreadable, *count.troubles):
                self._warn(sweep, problem)
            record_incomplete(store, sweep.name, missing)
        except (StoreDiskError, StoreConflict):
            raise
        except StoreError as exc:
            self._warn(sweep, exc.message)
            missing.append(exc.message)
        self._session.incomplete[sweep.name] = missing

    def _fetch(self, sweep: SweepFolder) -> None:
        from hpcsweep.submit.location import locate_sweep

        locate_sweep(sweep, self._session.cluster(sweep), self._session.backend(sweep)).fetch()

    def _by_scheduler(self, sweeps: Iterable[SweepFolder]) -> list[list[SweepFolder]]:
        """Group the sweeps by scheduler and host. A sweep without a usable backend is a warning."""
        groups: dict[object, list[SweepFolder]] = {}
        for sweep in sweeps:
            try:
                self._session.backend(sweep)
                cluster = self._session.cluster(sweep)
            except HpcsweepError as exc:  # a connection that is not the user's own, or an unknown scheduler
                self._warn(sweep, exc.message)
                continue
            groups.setdefault((cluster.scheduler, cluster.ssh), []).append(sweep)
        return list(groups.values())

    def _query(self, sweeps: Sequence[SweepFolder], *, search_again: bool) -> None:
        """Query one scheduler about all its sweeps, and record the states. `search_again`: see `_submissions`."""
        submitted = self._submissions(sweeps, search_again=search_again)
        snapshot = self._session.backend(sweeps[0]).queue_snapshot(submitted.names)
        if snapshot.error:
            self._warnings.append(snapshot.error + self._age([sweep.name for sweep in sweeps]))
        self._record(snapshot, submitted)

    def _submissions(self, sweeps: Sequence[SweepFolder], *, search_again: bool) -> _Submitted:
        """Read the submissions of these sweeps, and search for the jobs of unconfirmed ones.

        `search_again`: also for those that an earlier search did not find.
        """
        submitted = _Submitted()
        for sweep in sweeps:
            for number in sweep.job_numbers():
                try:
                    submission = sweep.read_submission(number)
                except HpcsweepError as exc:
                    self._warn(sweep, exc.message)
                    continue
                if submission is None:
                    continue
                if submission.job_id is None and (search_again or not submission.searched_in_vain):
                    submission = self._search(sweep, number, submission)
                submitted.add(sweep.name, number, submission)
        return submitted

    def _search(self, sweep: SweepFolder, number: int, unconfirmed: "Submission") -> "Submission":
        """Search the scheduler for the job of an unconfirmed submission; return it, with its job id if found.

        If the scheduler has no such job some time after the submission, this is recorded, and the search ends.
        """
        from hpcsweep.submit.location import locate_sweep
        from hpcsweep.submit.sweep_lock import changing_if_free

        backend = self._session.backend(sweep)
        try:
            job_dir = f"{locate_sweep(sweep, self._session.cluster(sweep), backend).sweep_dir}/jobs/{number}"
            ids = backend.find(f"{sweep.name}-{number}", job_dir)
        except HpcsweepError as exc:
            self._warn(sweep, exc.message)
            return unconfirmed
        if ids:
            update: dict[str, object] = {"job_id": ids[-1]}
        elif ids is not None and time.time() - unconfirmed.submitted_at > _SEARCH_S:
            update = {"searched_in_vain": True}
        else:
            return unconfirmed
        with changing_if_free(sweep, "status") as free:
            current = sweep.read_submission(number)
            if not free or current is None or current.job_id is not None:
                return current or unconfirmed  # a command that submits or cancels writes the file itself
            updated = current.model_copy(update=update)
            sweep.write_submission(number, updated)
        return updated

    def _age(self, sweeps: list[str]) -> str:
        """Return how old the scheduler's last report about these sweeps is, for a warning."""
        with self._session.store.reading() as connection:
            at = last_reported_at(connection, sweeps)
        return "" if at is None else f"; its last report is {format_duration(max(0.0, time.time() - at))} old"

    def _record(self, snapshot: QueueSnapshot, submitted: _Submitted) -> None:
        statuses = every_array_task(snapshot, submitted.array_sizes)
        absent = [
            (job_id, each)
            for job_id, index in snapshot.absent
            for each in (range(submitted.array_sizes[job_id]) if index is None else [index])
        ]
        store = self._session.store
        if store.read_only or not (statuses or absent):
            return
        at = time.time()
        with store.writing() as connection:
            for (job_id, index), status in statuses.items():
                sweep, number = submitted.jobs[job_id]
                record_status(connection, sweep, number, index, status, at)
            for job_id, index in absent:
                record_absence(connection, *submitted.jobs[job_id], index, at)

    def _warn(self, sweep: SweepFolder, text: str) -> None:
        self._warnings.append(f"{sweep.name}: {text}")

"""Follow sweeps: `hpcsweep.status`, `hpcsweep.wait` and `hpcsweep.list_sweeps`."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hpcsweep.api.info import SweepInfo, sweep_info
from hpcsweep.api.session import open_session, warn
from hpcsweep.schedulers.listings import ABSENCE_GRACE_S
from hpcsweep.spec.phases import RunState
from hpcsweep.store.ingest.sweeps import ingest_home
from hpcsweep.track.refresh import Session
from hpcsweep.track.runs import SweepStatus, read_runs

_POLL_S = 1.0
_ASK_LOCAL_S = 1.0
_ASK_S = 15.0  # squeue and qstat every second would load a scheduler that all users share
_UNKNOWN_PATIENCE_S = ABSENCE_GRACE_S + 60.0  # an unknown run may come back, but not after this
_MAY_NOT_END = (RunState.FINISHED, RunState.UNKNOWN, RunState.PLANNED)


def list_sweeps(*, home: str | Path | None = None, store: str | None = None) -> list[str]:
    """Return the names of all sweeps in the home folder, the oldest first."""
    with open_session(home, store) as opened:
        return opened.home.sweep_names()


def status(sweep: str | None = None, *, home: str | Path | None = None, store: str | None = None) -> SweepInfo:
    """Return the current state of a sweep; None: of the latest one.

    Ask the scheduler and read what is new in the run folders first. Problems, such as a scheduler that timed out, are
    in `SweepInfo.warnings`. Raises SpecError for a sweep that does not exist.
    """
    with open_session(home, store) as opened:
        (current,), warnings = read_status(opened, [opened.home.sweep(sweep).name])
    return sweep_info(current, tuple(warnings))


def wait(
    sweep: str | None = None,
    *,
    timeout_s: float | None = None,
    on_change: Callable[[SweepInfo], None] | None = None,
    home: str | Path | None = None,
    store: str | None = None,
) -> SweepInfo:
    """Wait until every run of a sweep (None: of the latest one) has ended, and return its state.

    Also return when the remaining runs cannot end: runs that were never submitted, and runs that have been `unknown`
    for some minutes. `on_change` is called with the first state and with each one that differs from the last. Raises
    TimeoutError after `timeout_s` seconds; the runs continue. Raises SpecError for a sweep that does not exist.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    last: SweepInfo | None = None
    with open_session(home, store) as opened:
        name = opened.home.sweep(sweep).name
        for (current,) in follow(opened, [name], warn):
            latest = sweep_info(current)
            if on_change is not None and latest != last:
                on_change(latest)
            last = latest
            if deadline is not None and time.monotonic() >= deadline and not last.finished:
                raise TimeoutError(f"{name} has runs that have not ended after {timeout_s:g} s: {dict(last.outcomes)}")
    assert last is not None  # `follow` yields at least once
    return last


def read_status(opened: Session, names: Sequence[str]) -> tuple[list[SweepStatus], list[str]]:
    """Bring these sweeps up to date and return their states, the oldest first, and the warnings."""
    warnings = opened.refresh(names)
    with opened.store.reading() as connection:
        return read_runs(connection, names), warnings


def follow(opened: Session, names: Sequence[str], on_warning: Callable[[str], None]) -> Iterator[list[SweepStatus]]:
    """Yield the states of these sweeps about once a second, the last time when all runs have ended.

    Run folders are read each time, schedulers are asked less often. Also stop when the other runs were never submitted
    or have been `unknown` for `_UNKNOWN_PATIENCE_S`. Each warning is passed to `on_warning` once.
    """
    reported: set[str] = set()
    asked_at = float("-inf")
    interval_s = _ASK_LOCAL_S
    changed_at = time.monotonic()
    while True:
        if time.monotonic() - asked_at >= interval_s:
            warnings = opened.refresh(names)
            asked_at = time.monotonic()
        else:
            warnings = list(ingest_home(opened.store, opened.home.path, names).troubles)
        for warning in warnings:
            if warning not in reported:
                reported.add(warning)
                on_warning(warning)
        with opened.store.reading() as connection:
            sweeps = read_runs(connection, names)
        interval_s = _ASK_LOCAL_S if all(sweep.scheduler == "local" for sweep in sweeps) else _ASK_S
        yield sweeps
        runs = [run for sweep in sweeps for run in sweep.runs]
        if all(run.verdict.state.final for run in runs):
            return
        if not all(run.verdict.state in _MAY_NOT_END for run in runs):
            changed_at = time.monotonic()
        elif time.monotonic() - changed_at > _UNKNOWN_PATIENCE_S:
            return
        time.sleep(_POLL_S)

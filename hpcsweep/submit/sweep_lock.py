"""Lock a sweep, so that one command at a time submits or cancels its runs, on all machines that share its folder."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from hpcsweep.errors import HostError, HpcsweepError
from hpcsweep.node.identity import identify
from hpcsweep.node.process.file_lock import FileLock
from hpcsweep.node.process.processes import read_process
from hpcsweep.sweep.layout import SweepFolder

LOCK_FILE = ".lock"
"""In the sweep's folder. Files with a leading dot are not copied to a remote host."""

REFRESH_S = 5.0
STALE_S = 60.0
"""Age at which the lock of a process on another machine counts as abandoned."""

WAIT_S = 180.0
"""Time that a command waits for another one: three times the time-out of a submission."""

_LOOK_EVERY_S = 0.2


class SweepLock:
    """The lock that a command holds while it submits or cancels runs of a sweep."""

    def __init__(self, sweep: SweepFolder, command: str) -> None:
        me = read_process(os.getpid())
        identity = identify({}, me.started if me else 0)
        self._sweep = sweep
        self._lock = FileLock(
            sweep.path / LOCK_FILE, identity, refresh_s=REFRESH_S, stale_s=STALE_S, purpose=f"hpcsweep {command}"
        )

    def take(self, say: Callable[[str], None], wait_s: float = WAIT_S) -> None:
        """Wait until the lock is free, and take it. `say`: prints one line when the command has to wait.

        Raises HpcsweepError with the holder after `wait_s` seconds, HostError when the folder is not writable.
        """
        deadline_s = time.monotonic() + wait_s
        announced = ""
        while (holder := self._try()) is not None:
            if time.monotonic() >= deadline_s:
                raise HpcsweepError(
                    f"{self._sweep.name} is in use by {holder}; waited {wait_s:.0f} s",
                    code="sweep_locked",
                    hint="run the command again when the other command has ended; nothing was submitted or cancelled",
                )
            if holder != announced:
                say(f"waiting for {holder}, which is changing {self._sweep.name}")
                announced = holder
            time.sleep(_LOOK_EVERY_S)

    @property
    def is_ours(self) -> bool:
        """Whether this process has the lock, through this object or another one."""
        return self._lock.is_ours()

    def check(self) -> None:
        """Raise HpcsweepError when another process took the lock: this one was suspended for more than `STALE_S`."""
        if self._lock.held and not self._lock.is_ours():
            raise HpcsweepError(
                f"this command lost the lock of {self._sweep.name}: it was suspended for more than {STALE_S:.0f} s",
                code="sweep_lock_lost",
                hint=f"`hpcsweep status {self._sweep.name}` shows what was submitted; then run the command again",
            )

    def release(self) -> None:
        """Release the lock, unless it was released before."""
        self._lock.release()

    def _try(self) -> str | None:
        try:
            return self._lock.take()
        except OSError as exc:
            raise HostError(
                f"{self._sweep.path} cannot be written: {exc.strerror or exc}",
                code="sweep_not_writable",
                hint="only a user who can write to the sweep's folder can submit or cancel its runs",
            ) from exc


@contextmanager
def changing(sweeps: Sequence[SweepFolder], command: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the locks of these sweeps, taken in the order of their paths, so that two commands cannot deadlock.

    Raises as `SweepLock.take`.
    """
    with ExitStack() as held:
        for sweep in sorted(sweeps, key=lambda sweep: sweep.path):
            lock = SweepLock(sweep, command)
            lock.take(say)
            held.callback(lock.release)
        yield


@contextmanager
def changing_if_free(sweep: SweepFolder, command: str) -> Iterator[bool]:
    """Hold a sweep's lock if it is free; yield False when another process has it, or the folder is not writable."""
    lock = SweepLock(sweep, command)
    if lock.is_ours:
        yield True
        return
    try:
        lock.take(lambda text: None, wait_s=0.0)
    except HpcsweepError:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()

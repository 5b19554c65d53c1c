"""Note at once when a rank of a server ends, so that of several that end together the first one is known.

A server on several nodes ends on all of them when one rank dies, and the others often log more than the dead one.
Processes are followed by pidfd (`man 2 pidfd_open`, Linux 5.3); on an older kernel no death is noted.
"""

import os
import select
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from hpcsweep.node.process.processes import Process
from hpcsweep.node.process.roles import ProcessKind, ProcessRole

_LOOK_EVERY_S = 0.25
_FOLLOWED = frozenset({ProcessKind.RANK, ProcessKind.ENGINE_CORE, ProcessKind.FRONT_END})


class DeathWatch:
    """Calls `on_death` with pid and role of a followed process that has ended, in a thread, until `close`."""

    def __init__(self, on_death: Callable[[int, ProcessRole], None]) -> None:
        self._on_death = on_death
        self._followed: dict[int, tuple[int, int]] = {}
        self._roles: dict[tuple[int, int], ProcessRole] = {}
        self._looked_at_s = 0.0
        self._poll = select.epoll()
        self._wake_out, self._wake_in = os.pipe()
        self._poll.register(self._wake_out, select.EPOLLIN)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def look(
        self,
        living: Callable[[], Sequence[Process]],
        roles_of: Callable[[Sequence[Process]], Mapping[int, ProcessRole]],
    ) -> None:
        """Follow processes that have just started, unless the last look was a moment ago. For each line of a start.

        A worker that logs may have started after the last check for progress, and end before the next.
        """
        if time.monotonic() - self._looked_at_s >= _LOOK_EVERY_S:
            processes = living()
            self.follow(processes, roles_of(processes))

    def follow(self, processes: Sequence[Process], roles: Mapping[int, ProcessRole]) -> None:
        """Follow those of these processes that serve. A forked worker gets its own role a moment later."""
        self._looked_at_s = time.monotonic()
        for process in processes:
            role, key = roles[process.pid], (process.pid, process.started)
            if role.kind not in _FOLLOWED:
                continue
            known = key in self._roles
            self._roles[key] = role
            if known:
                continue
            try:
                handle = os.pidfd_open(process.pid)
            except OSError:  # it has ended, or the kernel is too old
                continue
            self._followed[handle] = key
            self._poll.register(handle, select.EPOLLIN)

    def close(self) -> None:
        """Follow no process any more."""
        os.write(self._wake_in, b".")
        self._thread.join()
        self._poll.close()
        for handle in (*self._followed, self._wake_out, self._wake_in):
            os.close(handle)

    def _watch(self) -> None:
        while True:
            for handle, _ in self._poll.poll():
                if handle == self._wake_out:
                    return
                self._poll.unregister(handle)
                key = self._followed[handle]
                self._on_death(key[0], self._roles[key])

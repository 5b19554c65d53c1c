"""What happens between the end of the stall budget and the verdict: stacks are taken, and the stall is confirmed."""

import time
from collections.abc import MutableSet, Sequence
from pathlib import Path

from hpcsweep.load.client.clock import Clock
from hpcsweep.node.process.processes import Process
from hpcsweep.node.watch.confirmation import Confirmation, ConfirmationResult
from hpcsweep.node.watch.observer import Observer
from hpcsweep.node.watch.stall import Situation, StallWatch
from hpcsweep.node.watch.stall_cause import QUIET_CORES, StallFinding, find_cause
from hpcsweep.spec.budgets import Budgets
from hpcsweep.units import format_duration

_GAP_MIN_S, _GAP_MAX_S, _GAPS_PER_STALL = 0.3, 5.0, 10
_TRIES_PER_EXTENSION = 4


class Suspicion:
    """A server without progress for the stall budget. Dropped when progress is seen again.

    An idle server is stuck. A busy one may compute something that shows nowhere: its stacks are sampled twice; where
    they do not confirm the stall, it gets `budgets.busy_stall` more, once, and is sampled again meanwhile. Ranks that
    are seen to compute while a request waits for its first token have as long as the client itself waits:
    `budgets.request`.
    `how`: for the report, how the stall was confirmed. `news`: message and detail of a warning to be recorded.
    """

    def __init__(
        self,
        folder: Path,
        observer: Observer,
        watch: StallWatch,
        budgets: Budgets,
        clock: Clock,
        not_server_pids: MutableSet[int],
    ) -> None:
        self._folder, self._observer, self._watch, self._not_server_pids = folder, observer, watch, not_server_pids
        self._stall_s, self._extra_s = clock.real(budgets.stall), clock.real(budgets.busy_stall_s)
        self._clock, self._request_s = clock, clock.real(budgets.request)
        self._gap_s = min(max(self._stall_s / _GAPS_PER_STALL, _GAP_MIN_S), _GAP_MAX_S)
        self._confirmation: Confirmation | None = None
        self._next_at_s = 0.0
        self._extended, self._first_why = False, ""
        self.how = ""
        self.news: tuple[str, str] | None = None

    def look(
        self, members: Sequence[Process], situation: Situation, *, gpu_active: bool, node: str
    ) -> StallFinding | None:
        """Go on, without waiting. The cause when the stall is certain, or its last extension is over; else None."""
        now_s = time.monotonic()
        watch = self._watch
        active = gpu_active or any(watch.cores(one.pid) >= QUIET_CORES or watch.ready(one.pid) for one in members)
        confirmed = None
        if active:
            confirmed = self._confirm(members, now_s, situation)
            if confirmed is None:
                return None
        doing, place = (confirmed.doing, confirmed.place) if confirmed else ({}, {})
        uses = self._observer.uses(members, self._watch, doing, place, self._clock)
        serving = situation in (Situation.SERVING, Situation.PREFILL)
        return find_cause(uses, serving=serving, active=active, node=node)

    def stop(self) -> None:
        """End what still runs."""
        if self._confirmation is not None:
            self._confirmation.stop()

    def _confirm(self, members: Sequence[Process], now_s: float, situation: Situation) -> ConfirmationResult | None:
        if self._confirmation is None:
            if now_s < self._next_at_s:
                return None
            roles = self._observer.roles(members)
            self._confirmation = Confirmation(self._folder, members, roles, self._gap_s, self._not_server_pids)
        found = self._confirmation.step(now_s, situation)
        if found is None:
            return None
        self._confirmation = None
        if found.certain:
            self.how = "two samples of its stacks confirm it"
            if self._extended:
                self.how += f", after an extension: at first {self._first_why}"
            return found
        limit_s, budget = self._stall_s + self._extra_s, "busy_stall"
        if found.computing and situation is Situation.PREFILL and self._request_s > limit_s:
            limit_s, budget = self._request_s, "request"
        left_s = limit_s - self._watch.idle_s(now_s)
        if left_s <= 0:
            self.how = f"not confirmed by its stacks ({found.why}), but budgets.{budget} is over too"
            return found
        if not self._extended:
            self._extended, self._first_why = True, found.why
            told = format_duration(self._clock.scaled(left_s))
            message = f"no progress, but not certainly stuck: up to {told} more, by budgets.{budget}"
            self.news = (message, found.why)
        self._next_at_s = now_s + min(self._extra_s / _TRIES_PER_EXTENSION, left_s)
        return None

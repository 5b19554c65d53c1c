"""Decide about a server without progress for the stall budget: take stacks, confirm the stall, or extend the budget."""

import time
from collections.abc import MutableSet, Sequence
from pathlib import Path

from hpcsweep.load.client.clock import Clock
from hpcsweep.node.process.processes import Process
from hpcsweep.node.watch.confirmation import Confirmation, ConfirmationResult, confirm
from hpcsweep.node.watch.observer import Observer
from hpcsweep.node.watch.others import NO_SAMPLES, OtherNodes
from hpcsweep.node.watch.stall import Situation, StallWatch
from hpcsweep.node.watch.stall_cause import QUIET_CORES, StallFinding, find_cause
from hpcsweep.spec.budgets import Budgets
from hpcsweep.units import format_duration

_GAP_MIN_S, _GAP_MAX_S, _GAPS_PER_STALL = 0.3, 5.0, 10
_TRIES_PER_EXTENSION = 4
_SAMPLES_S = 50.0
"""Time for the samples of other nodes, besides the gap between two: the tools have 20 s for each."""


class Suspicion:
    """A server without progress for the stall budget. The supervisor drops it when it sees progress again.

    An idle server is stuck. A busy one may be in a computation that no progress signal shows, so its stacks are sampled
    twice. Where they do not confirm the stall, the budget is extended once, by `budgets.busy_stall`, and samples are
    taken again during the extension. Ranks that compute while a request waits for its first token have as long as the
    client waits, `budgets.request`.
    `confirmed_by`: how the stall was confirmed. `warning`: message and detail of a warning to be recorded.
    """

    def __init__(
        self,
        folder: Path,
        observer: Observer,
        watch: StallWatch,
        budgets: Budgets,
        clock: Clock,
        not_server_pids: MutableSet[int],
        others: OtherNodes,
        node: str,
    ) -> None:
        self._others, self._node, self._samples = others, node, NO_SAMPLES
        self._folder, self._observer, self._watch, self._not_server_pids = folder, observer, watch, not_server_pids
        self._stall_s, self._extra_s = clock.real(budgets.stall), clock.real(budgets.busy_stall_s)
        self._clock, self._request_s = clock, clock.real(budgets.request)
        self._result: ConfirmationResult | None = None
        self._samples_until_s = 0.0
        self._gap_s = min(max(self._stall_s / _GAPS_PER_STALL, _GAP_MIN_S), _GAP_MAX_S)
        self._confirmation: Confirmation | None = None
        self._next_at_s = 0.0
        self._extended, self._first_problem = False, ""
        self.confirmed_by = ""
        self.warning: tuple[str, str] | None = None

    def step(self, members: Sequence[Process], situation: Situation, *, gpu_active: bool) -> StallFinding | None:
        """Continue without blocking. Return the cause when the stall is confirmed or its extension is over."""
        now_s = time.monotonic()
        watch = self._watch
        active = gpu_active or any(
            watch.cores(process.pid) >= QUIET_CORES or watch.ready(process.pid) for process in members
        )
        active = active or any(use.busy for use in self._others.uses(NO_SAMPLES))
        result = None
        if active:
            result = self._confirm(members, now_s, situation)
            if result is None:
                return None
        activity, functions = (result.activity, result.functions) if result else ({}, {})
        uses = self._observer.uses(members, self._watch, activity, functions, self._clock, self._node)
        uses += self._others.uses(self._samples)
        serving = situation in (Situation.SERVING, Situation.PREFILL)
        return find_cause(uses, serving=serving, active=active, node=self._node)

    def stop(self) -> None:
        """End the tools that are running."""
        if self._confirmation is not None:
            self._confirmation.stop()

    def _confirm(self, members: Sequence[Process], now_s: float, situation: Situation) -> ConfirmationResult | None:
        if self._confirmation is None:
            if now_s < self._next_at_s:
                return None
            roles = self._observer.roles(members)
            self._confirmation = Confirmation(self._folder, members, roles, self._gap_s, self._not_server_pids)
            self._others.take_samples(self._gap_s)
            self._result, self._samples_until_s = None, now_s + self._gap_s + _SAMPLES_S
        self._result = self._result or self._confirmation.step(now_s, situation)
        if self._result is None:
            return None
        samples = self._others.samples()
        if samples is None and now_s < self._samples_until_s:
            return None
        self._samples = samples or NO_SAMPLES
        roles = self._observer.roles(members)
        result = confirm(self._result.activity, self._result.functions, roles, situation, self._samples)
        self._confirmation = None
        if result.certain:
            self.confirmed_by = "confirmed by two samples of its stacks"
            if self._extended:
                self.confirmed_by += f" after an extension, because at first {self._first_problem}"
            return result
        limit_s, budget = self._stall_s + self._extra_s, "busy_stall"
        if result.computing and situation is Situation.PREFILL and self._request_s > limit_s:
            limit_s, budget = self._request_s, "request"
        left_s = limit_s - self._watch.idle_s(now_s)
        if left_s <= 0:
            self.confirmed_by = f"not confirmed by its stacks ({result.problem}), but budgets.{budget} is exceeded too"
            return result
        if not self._extended:
            self._extended, self._first_problem = True, result.problem
            extension = format_duration(self._clock.scaled(left_s))
            message = f"no progress, but not certainly stuck: extended by up to {extension} (budgets.{budget})"
            self.warning = (message, result.problem)
        self._next_at_s = now_s + min(self._extra_s / _TRIES_PER_EXTENSION, left_s)
        return None

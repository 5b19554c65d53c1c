"""The one loop of an attempt: takes what arrives, follows the phases, looks for progress, and ends it in time."""

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from hpcsweep.engines.base import Engine
from hpcsweep.engines.logs.reader import FactSeen, LogReader, PhaseSeen
from hpcsweep.load.client.clock import Clock
from hpcsweep.node.outcome import AttemptVerdict, Ended, engine_died, server_exited, stalled, stopped
from hpcsweep.node.process.family import Family, Member, mark_of
from hpcsweep.node.process.processes import Process
from hpcsweep.node.process.server import Server
from hpcsweep.node.process.stop_reasons import Stopper
from hpcsweep.node.record.journal import Journal
from hpcsweep.node.watch import diagnostics
from hpcsweep.node.watch.gpus import Gpus
from hpcsweep.node.watch.inbox import Inbox, Message, MetricsSample, ServerLine, SignalReceived
from hpcsweep.node.watch.observer import Observer
from hpcsweep.node.watch.stall import Situation, StallWatch
from hpcsweep.node.watch.suspicion import Suspicion
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.phases import STARTUP_PHASES, OutcomeKind, Phase

_TICK_S = 0.05
_LOOK_MIN_S, _LOOK_MAX_S, _LOOKS_PER_STALL = 0.1, 5.0, 20
_PROGRESS_EVERY_S = 2.0
_SIGNAL_RACE_S = 1.0

T = TypeVar("T")


class Supervisor:
    """Watches one attempt. An early end is raised as `Ended` from `pump`.

    `not_server_pids`: children of the agent that do not belong to the server: the guardian, the load process, tools.
    `probing`: the readiness probe is waiting for its token. `node`: the name of this host, for the records.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        journal: Journal,
        clock: Clock,
        inbox: Inbox,
        stopper: Stopper,
        gpus: Gpus,
        folder: Path,
        token: str,
        not_server_pids: set[int],
        budgets: Budgets,
        node: str,
        say: Callable[[str], None],
        set_members: Callable[[Collection[Member]], None],
    ) -> None:
        self.reader = LogReader(engine)
        self.journal, self.clock, self.inbox, self.not_server_pids, self.token = (
            journal,
            clock,
            inbox,
            not_server_pids,
            token,
        )
        self.pending: list[Message] = []
        self.family = Family(token, not_server_pids)
        self.phase, self.entered_s = Phase.LAUNCH, 0.0
        self.server: Server | None = None
        self.probing = False
        self.observer = Observer(gpus, self.warn)
        self._stopper, self._folder = stopper, folder
        self._budgets, self._node, self._say = budgets, node, say
        self._watch: StallWatch | None = None
        self._suspicion: Suspicion | None = None
        self._doubted: set[Phase] = set()
        self._cpu: dict[int, float] = {}
        self._next_look_s = self._next_progress_s = 0.0
        self._look_every_s = _LOOK_MAX_S
        self._signs: dict[str, None] = {}
        self._activity: dict[str, None] = {}
        self._held_up_reported_s = 0.0
        self._set_members, self._members = set_members, frozenset[Member]()
        self._seen_facts: dict[str, float | str] = {}

    def watch_server(self, server: Server) -> None:
        """A server has been started: from now on its end, and the lack of any progress, end the attempt."""
        self.server = server
        stall_s = self.clock.real(self._budgets.stall)
        self._look_every_s = min(max(stall_s / _LOOKS_PER_STALL, _LOOK_MIN_S), _LOOK_MAX_S)
        first = self.observer.look(self.processes(), with_cache=True)
        self._watch = StallWatch(first, every_s=self._look_every_s, stall_s=stall_s)
        self.enter(Phase.LAUNCH)

    def enter(self, phase: Phase, evidence: str = "", t_s: float | None = None) -> None:
        """A phase begins, now or at `t_s`."""
        self.phase = phase
        if phase is Phase.TEARDOWN and self._suspicion is not None:
            self._suspicion.stop()  # its tools must not be taken for processes of the next server
        self.entered_s = self.clock.t_s() if t_s is None else t_s
        budget_s = self._budgets.phases.get(phase.value)
        self.journal.event("phase_entered", t_s=self.entered_s, phase=phase, budget_s=budget_s, evidence=evidence)
        self._say(f"phase {phase.value} at {self.entered_s:.1f} s")

    def fact(self, name: str, value: float | str | bool, unit: str = "", source: str = "agent") -> None:
        """Record a figure or word that the agent itself found out."""
        self.journal.event("fact", name=name, value=value, unit=unit, source=source)

    def warn(self, message: str, detail: str = "") -> None:
        """Record something odd that does not end the attempt."""
        self.journal.event("warning", message=message, detail=detail)
        self._say(f"warning: {message}")

    def processes(self) -> list[Process]:
        """The living processes of the server."""
        return self.family.living()

    def idle_s(self) -> float:
        """Attempt seconds since the last progress."""
        return self.clock.scaled(self._watch.idle_s(time.monotonic())) if self._watch else 0.0

    def answered(self, at_s: float) -> None:
        """The server answered a readiness check (monotonic): it is not stuck, whatever keeps it from being ready."""
        if self._watch is not None:
            self._watch.answered(at_s)
            self._signs["answer"] = None

    def pump(self) -> None:
        """One round: what arrived is handled, or put into `pending` for whoever asked for it. Raises Ended."""
        self.take()
        stop = self._stopper.check()
        if stop is not None:
            raise Ended(stopped(stop))
        error = self.journal.disk_error
        if error is not None:
            hint = "free some room (quota?) and retry; what was recorded before is kept"
            reason = f"events.jsonl cannot be written: {error.strerror or error}"
            raise Ended(AttemptVerdict(OutcomeKind.FAILED, reason, "the agent: disk", hint))
        if self.server is not None:
            exit_code = self.server.exit_code()
            if exit_code is not None:
                self._gone(self.server, exit_code)
            death = self.reader.death
            if death is not None and self.phase.value not in STARTUP_PHASES:
                # The rest of the workload would be answered by errors, at full speed, and end as if it were over.
                raise Ended(engine_died(self.phase, death, self.reader.last_lines))
            self._look()

    def take(self, timeout_s: float = _TICK_S) -> None:
        """Handle what has arrived; nothing is decided."""
        for message in self.inbox.take(timeout_s):
            if isinstance(message, ServerLine):
                self._line(message)
            elif isinstance(message, MetricsSample):
                self._looked(message)
                self.pending.append(message)
            elif not isinstance(message, SignalReceived):
                self.pending.append(message)

    def background(self, work: Callable[[], T]) -> T:
        """The result of `work`, done in a thread while everything is watched. Raises what it raises, or Ended."""
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as exc:  # noqa: BLE001 - raised again in the main thread
                errors.append(exc)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            self.pump()
        if errors:
            raise errors[0]
        return results[0]

    def diagnose(self, summary: str = "") -> None:
        """Keep what a person needs to see why nothing moves; cut short when everything has to stop meanwhile."""
        written = diagnostics.collect(
            self._folder, self.processes(), self.reader.last_lines, self._cpu,
            hurry=lambda: self._stopper.check() is not None, summary=summary,
        )  # fmt: skip
        self.fact("diagnostics", ", ".join(written))

    def _line(self, message: ServerLine) -> None:
        t_s = self.clock.t_s(message.at_s)
        self.observer.line(message.text, noise=self.reader.is_noise(message.text))
        for seen in self.reader.feed(message.text, t_s):
            if isinstance(seen, PhaseSeen) and self.phase.value in STARTUP_PHASES:
                self.enter(seen.phase, seen.evidence, t_s)
            elif isinstance(seen, FactSeen) and self._seen_facts.get(seen.name) != seen.value:
                self._seen_facts[seen.name] = seen.value  # eight workers print the same line eight times
                self.journal.event(
                    "fact", t_s=t_s, name=seen.name, value=seen.value, unit=seen.unit, source="log",
                    evidence=seen.evidence,
                )  # fmt: skip

    def _looked(self, look: MetricsSample) -> None:
        if look.figures is not None:
            self.observer.figures(look.figures)

    def situation(self) -> Situation:
        """What the server has to do now."""
        if self.phase.value in STARTUP_PHASES:
            return Situation.PREFILL if self.probing else Situation.STARTING
        return self.observer.traffic.situation()

    def _gone(self, server: Server, exit_code: int) -> None:
        server.drain()
        self.take(0.0)
        deadline_s = time.monotonic() + _SIGNAL_RACE_S
        while (exit_code <= 0 or server.in_session) and time.monotonic() < deadline_s:
            # A scheduler signals the whole job at once: the server may be quicker than our own handler. In our session
            # its children get the signal too, and a server ends with an exit code when its engine dies of it.
            stop = self._stopper.check()
            if stop is not None:
                raise Ended(stopped(stop, exit_code))
            self.take()
        raise Ended(server_exited(exit_code, self.phase, self.reader.failure, self.reader.last_lines))

    def _look(self) -> None:
        now_s = time.monotonic()
        if self._watch is None or now_s < self._next_look_s:
            return
        self._next_look_s = now_s + self._look_every_s
        members = self.processes()
        situation = self.situation()
        working = [*members, *self.family.started_by_earlier()]
        # A folder of thousands of files is not read in the middle of a measurement, unless little else moves.
        quiet = self._watch.idle_s(now_s) >= self.clock.real(self._budgets.stall) / 2
        with_cache = quiet or self.phase.value in STARTUP_PHASES
        moved = self._watch.look(self.observer.look(working, with_cache=with_cache), situation)
        self._signs |= dict.fromkeys(moved.progress)
        self._activity |= dict.fromkeys(moved.activity)
        if now_s >= self._next_progress_s:
            held_up_s, self._held_up_reported_s = (
                self._watch.held_up_s - self._held_up_reported_s,
                self._watch.held_up_s,
            )
            self.journal.event(
                "progress", sync=False, signs=list(self._signs), activity=list(self._activity), idle_s=self.idle_s(),
                held_up_s=round(held_up_s, 3),
            )  # fmt: skip
            self._next_progress_s, self._signs, self._activity = now_s + _PROGRESS_EVERY_S, {}, {}
        self._suspect(self._watch, members, situation, gpu_active="gpu" in moved.activity)
        self._cpu = {process.pid: process.cpu_s for process in members}
        told = frozenset((process.pid, process.started, mark_of(process)) for process in members)
        if told != self._members:
            self._members = told
            self._set_members(told)

    def _suspect(self, watch: StallWatch, members: list[Process], situation: Situation, gpu_active: bool) -> None:
        """Declare a stall when there was no progress for long enough, and what there is of activity is confirmed."""
        if watch.idle_s(time.monotonic()) < self.clock.real(self._budgets.stall):
            if self._suspicion is not None:
                self._suspicion.stop()
                self._suspicion = None
            return
        if self._suspicion is None:
            self._suspicion = Suspicion(
                self._folder, self.observer, watch, self._budgets, self.clock, self.not_server_pids
            )
        suspicion = self._suspicion
        found = suspicion.look(members, situation, gpu_active=gpu_active, node=self._node)
        if suspicion.news is not None:
            if self.phase not in self._doubted:  # a long prefill is doubted every few minutes
                self._doubted.add(self.phase)
                self.warn(*suspicion.news)
            suspicion.news = None
        if found is None:
            return
        idle_s = self.idle_s()
        self.fact("stall_declared_after_s", idle_s, "s")  # before the diagnostics, which take their time
        self.fact("stall_cause", found.cause.value)
        if found.odd:
            self.fact("stuck_ranks", ", ".join(use.name for use in found.odd))
        suspicion.stop()
        self.diagnose(found.sentence)
        raise Ended(stalled(self.phase, idle_s, self._budgets.stall, found, suspicion.how, self.reader.last_lines))

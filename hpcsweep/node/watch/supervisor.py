"""The main loop of an attempt: handle messages, follow the phases, look for progress, and end the attempt in time."""

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from hpcsweep.engines.base import Engine
from hpcsweep.engines.logs.reader import FactSeen, LogReader, PhaseSeen
from hpcsweep.load.client.clock import Clock
from hpcsweep.node.process.family import Family, Member, mark_of
from hpcsweep.node.process.gpus import Gpus
from hpcsweep.node.process.processes import Process
from hpcsweep.node.process.server import Server
from hpcsweep.node.process.stop_reasons import Stopper
from hpcsweep.node.record.journal import Journal
from hpcsweep.node.watch import diagnostics
from hpcsweep.node.watch.deaths import DeathWatch
from hpcsweep.node.watch.inbox import (
    Inbox,
    Message,
    MetricsSample,
    ProcessEnded,
    RankMessage,
    ServerLine,
    SignalReceived,
)
from hpcsweep.node.watch.observer import Observer
from hpcsweep.node.watch.others import OtherNodes
from hpcsweep.node.watch.outcome import AttemptVerdict, Ended, engine_died, server_exited, stalled, stopped
from hpcsweep.node.watch.stall import Situation, StallWatch
from hpcsweep.node.watch.suspicion import Suspicion
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.phases import STARTUP_PHASES, OutcomeKind, Phase

_TICK_S = 0.05
_CHECK_MIN_S, _CHECK_MAX_S, _CHECKS_PER_STALL = 0.1, 5.0, 20
_PROGRESS_EVERY_S = 2.0
_SIGNAL_RACE_S = 1.0
_SIGNAL_BASE = 128  # srun, mpiexec and shells return 128 + the signal of a process that was ended by one
_EXIT_GRACE_S = 10.0  # SGLang waits five seconds before it exits
_AS_A_LOST_NODE = frozenset({"cancelled", "preempted"})
"""Codes of a stop that has the same signal when a scheduler ends or requeues a job because it lost one of its nodes."""
_OTHERS_S = 3.0
"""Time for the other nodes to report what ended there, after the server has exited on this one."""

T = TypeVar("T")


def check_interval_s(stall_s: float) -> float:
    """Return the real seconds between two checks for progress. `stall_s`: the stall budget, real seconds."""
    return min(max(stall_s / _CHECKS_PER_STALL, _CHECK_MIN_S), _CHECK_MAX_S)


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
        self.observer = Observer(gpus, lambda note: self.warn(note.text, code=note.code))
        self._stopper, self._folder = stopper, folder
        self._budgets, self._node, self._say = budgets, node, say
        self._watch: StallWatch | None = None
        self._suspicion: Suspicion | None = None
        self._extended_phases: set[Phase] = set()
        self._cpu: dict[int, float] = {}
        self._next_check_s = self._next_progress_s = 0.0
        self._check_every_s = _CHECK_MAX_S
        self._signs: dict[str, None] = {}
        self._activity: dict[str, None] = {}
        self._held_up_reported_s = 0.0
        self._dead_since_s: float | None = None
        self._set_members, self._members = set_members, frozenset[Member]()
        self._seen_facts: dict[str, float | str] = {}
        self.others = OtherNodes()
        self._deaths: DeathWatch | None = None

    def watch_server(self, server: Server, started_s: float) -> None:
        """Watch a server that was started at `started_s` on the clock of the attempt.

        Its exit, or the lack of progress, ends the attempt.
        """
        self.server = server
        stall_s = self.clock.real(self._budgets.stall)
        self._check_every_s = check_interval_s(stall_s)
        if self.others.exist:
            self._deaths = DeathWatch(lambda pid, role: self.inbox.put(ProcessEnded(pid, role)))
        first = self.observer.snapshot(self.processes(), with_cache=True)
        self._watch = StallWatch(first, every_s=self._check_every_s, stall_s=stall_s)
        self.enter(Phase.LAUNCH, t_s=started_s)

    def enter(self, phase: Phase, evidence: str = "", t_s: float | None = None) -> None:
        """Enter a phase, now or at `t_s`."""
        self.phase = phase
        if phase is Phase.TEARDOWN and self._suspicion is not None:
            self._suspicion.stop()  # its tools must not be mistaken for processes of the next server
        if phase is Phase.TEARDOWN and self._deaths is not None:
            self._deaths.close()
            self._deaths = None
        self.entered_s = self.clock.t_s() if t_s is None else t_s
        budget_s = self._budgets.phases.get(phase.value)
        self.journal.event("phase_entered", t_s=self.entered_s, phase=phase, budget_s=budget_s, evidence=evidence)
        self._say(f"phase {phase.value} at {self.entered_s:.1f} s")

    def fact(self, name: str, value: float | str | bool, unit: str = "", source: str = "agent") -> None:
        """Record a fact that the agent itself has determined."""
        self.journal.event("fact", name=name, value=value, unit=unit, source=source)

    def warn(self, message: str, detail: str = "", *, code: str) -> None:
        """Record a problem that does not end the attempt. `code`: stable snake_case name of its kind."""
        self.journal.event("warning", code=code, message=message, detail=detail)
        self._say(f"warning: {message}")

    def warn_of_lost_lines(self) -> None:
        """Record how many lines of the server were not written or not read."""
        if self.server is not None and self.server.lost_log_lines:
            text = f"{self.server.lost_log_lines} lines of server.log were lost because the disk is full"
            self.warn(text, code="log_lines_lost")
        if self.inbox.lost_lines:
            text = (
                f"{self.inbox.lost_lines} lines of the server arrived faster than they could be read: "
                "phases and facts in them are missing"
            )
            self.warn(text, code="log_lines_unread")

    def processes(self) -> list[Process]:
        """Return the running processes of the server."""
        return self.family.living()

    def idle_s(self) -> float:
        """Return the attempt seconds since the last progress."""
        return self.clock.scaled(self._watch.idle_s(time.monotonic())) if self._watch else 0.0

    def answered(self, at_s: float) -> None:
        """Count an answer to a readiness check (monotonic) as progress: such a server is not stuck."""
        if self._watch is not None:
            self._watch.answered(at_s)
            self._signs["answer"] = None

    def pump(self) -> None:
        """Run one round: handle what has arrived, leave the rest in `pending`, and check the server. Raises Ended."""
        self.take()
        stop = self._stopper.check()
        if stop is not None:
            lost = self.others.lost() if stop.code in _AS_A_LOST_NODE else None
            raise Ended(lost or stopped(stop))
        error = self.journal.disk_error
        if error is not None:
            hint = "free disk space (quota?) and retry; events recorded before are saved"
            reason = f"events.jsonl could not be written: {error.strerror or error}"
            raise Ended(AttemptVerdict(OutcomeKind.FAILED, "disk_full", reason, "the agent: disk", hint))
        if self.server is not None:
            exit_code = self.server.exit_code()
            if exit_code is not None:
                self._server_exited(self.server, exit_code)
            self.others.check()
            self._check_death()
            self._check_progress()

    def take(self, timeout_s: float = _TICK_S) -> None:
        """Handle what has arrived, without deciding anything."""
        for message in self.inbox.take(timeout_s):
            if isinstance(message, ServerLine):
                self._handle_line(message)
            elif isinstance(message, MetricsSample):
                self._handle_metrics(message)
                self.pending.append(message)
            elif isinstance(message, RankMessage):
                self.others.handle(message.body, message.rank, message.at_s)
            elif isinstance(message, ProcessEnded):
                self.others.died(message.pid, message.role, message.at_s)
            elif not isinstance(message, SignalReceived):
                self.pending.append(message)

    def background(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, done in a thread while the server is watched. Raises its errors, or Ended."""
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
        """Collect diagnostics of a server without progress; stop early when the job has to stop."""
        written = diagnostics.collect(
            self._folder, self.processes(), self.reader.last_lines, self._cpu,
            hurry=lambda: self._stopper.check() is not None, summary=summary,
        )  # fmt: skip
        written += self.others.diagnose(summary, lambda: self._stopper.check() is not None)
        self.fact("diagnostics", ", ".join(written))

    def _handle_line(self, message: ServerLine) -> None:
        t_s = self.clock.t_s(message.at_s)
        self.observer.line(message.text, noise=self.reader.is_noise(message.text))
        self.others.line(message.text)
        for seen in self.reader.feed(message.text, t_s):
            if isinstance(seen, PhaseSeen) and self.phase.value in STARTUP_PHASES:
                self.enter(seen.phase, seen.evidence, t_s)
            elif isinstance(seen, FactSeen) and self._seen_facts.get(seen.name) != seen.value:
                self._seen_facts[seen.name] = seen.value  # eight ranks print the same line eight times
                self.journal.event(
                    "fact", t_s=t_s, name=seen.name, value=seen.value, unit=seen.unit, source="log",
                    evidence=seen.evidence,
                )  # fmt: skip

    def _handle_metrics(self, sample: MetricsSample) -> None:
        if sample.figures is not None:
            self.observer.figures(sample.figures)

    def situation(self) -> Situation:
        """Return what the server has to do now."""
        if self.phase.value in STARTUP_PHASES:
            return Situation.PREFILL if self.probing else Situation.STARTING
        return self.observer.traffic.situation()

    def _check_death(self) -> None:
        """Raise Ended for an engine that cannot recover by its own log, although its process is still running.

        At once while it serves: the remaining requests would fail at full speed, and the workload would end as if it
        were complete. A server that starts gets a moment to exit by itself, with an exit code and the rest of its log.
        """
        death = self.reader.death
        if death is None:
            return
        now_s, starting = time.monotonic(), self.phase.value in STARTUP_PHASES
        self._dead_since_s = self._dead_since_s or now_s
        grace_s = min(_EXIT_GRACE_S, self.clock.real(self._budgets.stall)) if starting else 0.0
        if now_s - self._dead_since_s >= grace_s:
            raise Ended(self._explained(engine_died(self.phase, death, self.reader.last_lines, starting=starting)))

    def _server_exited(self, server: Server, exit_code: int) -> None:
        server.drain()
        self.take(0.0)
        deadline_s = time.monotonic() + _SIGNAL_RACE_S
        signalled = exit_code <= 0 or exit_code > _SIGNAL_BASE
        while (signalled or server.in_session) and time.monotonic() < deadline_s:
            # A scheduler signals all processes of the job at once, and the server may react before our own handler. In
            # our session its children get the signal too; the server exits with a code when its engine dies of it.
            stop = self._stopper.check()
            if stop is not None:
                raise Ended(stopped(stop, exit_code))
            self.take()
        verdict = server_exited(exit_code, self.phase, self.reader.failure, self.reader.last_lines)
        raise Ended(self._explained(verdict))

    def _explained(self, verdict: AttemptVerdict) -> AttemptVerdict:
        """Return the verdict with what the other nodes report about the end of the server."""
        deadline_s = time.monotonic() + _OTHERS_S
        while not self.others.settled() and time.monotonic() < deadline_s:
            self.take()
        return self.others.explain(verdict)

    def _check_progress(self) -> None:
        now_s = time.monotonic()
        if self._watch is None or now_s < self._next_check_s:
            return
        self._next_check_s = now_s + self._check_every_s
        members = self.processes()
        situation = self.situation()
        working = [*members, *self.family.started_by_earlier()]
        # A folder with thousands of files is not read during a measurement, unless there is little other progress.
        quiet = self._watch.idle_s(now_s) >= self.clock.real(self._budgets.stall) / 2
        with_cache = quiet or self.phase.value in STARTUP_PHASES
        signals = self._watch.update(self.observer.snapshot(working, with_cache=with_cache), situation)
        of_others = self.others.signals()
        if of_others.progress:
            self._watch.answered(now_s)
        self.others.beat(progress=bool(signals.progress or of_others.progress), situation=situation)
        self._signs |= dict.fromkeys((*signals.progress, *of_others.progress))
        self._activity |= dict.fromkeys((*signals.activity, *of_others.activity))
        if self._deaths is not None:
            self._deaths.follow(members, self.observer.roles(members))
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
        self._check_stall(self._watch, members, situation, gpu_active="gpu" in {*signals.activity, *of_others.activity})
        self._cpu = {process.pid: process.cpu_s for process in members}
        marks = frozenset((process.pid, process.started, mark_of(process)) for process in members)
        if marks != self._members:
            self._members = marks
            self._set_members(marks)

    def _check_stall(self, watch: StallWatch, members: list[Process], situation: Situation, gpu_active: bool) -> None:
        """Raise Ended after a stall budget without progress; the stall of a busy server must be confirmed."""
        if watch.idle_s(time.monotonic()) < self.clock.real(self._budgets.stall):
            if self._suspicion is not None:
                self._suspicion.stop()
                self._suspicion = None
            return
        if self._suspicion is None:
            self._suspicion = Suspicion(
                self._folder, self.observer, watch, self._budgets, self.clock, self.not_server_pids, self.others,
                self._node,
            )  # fmt: skip
        suspicion = self._suspicion
        finding = suspicion.step(members, situation, gpu_active=gpu_active)
        if suspicion.warning is not None:
            if self.phase not in self._extended_phases:  # a long prefill is extended every few minutes
                self._extended_phases.add(self.phase)
                self.warn(*suspicion.warning, code="stall_not_confirmed")
            suspicion.warning = None
        if finding is None:
            return
        lost = self.others.lost()
        if lost is not None:
            suspicion.stop()
            raise Ended(lost)
        idle_s = self.idle_s()
        self.fact("stall_declared_after_s", idle_s, "s")  # before the diagnostics, which may take a minute
        self.fact("stall_cause", finding.cause.value)
        if finding.odd:
            self.fact("stuck_ranks", ", ".join(use.name for use in finding.odd))
        suspicion.stop()
        self.diagnose(finding.sentence)
        raise Ended(
            stalled(self.phase, idle_s, self._budgets.stall, finding, suspicion.confirmed_by, self.reader.last_lines)
        )

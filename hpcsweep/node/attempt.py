"""One attempt of a run: prepare, start, wait until ready, measure, tear down, and leave a record of it."""

import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcsweep.engines.base import Engine
from hpcsweep.load.clock import Clock
from hpcsweep.node import preparation
from hpcsweep.node.compile_cache import CompileCache, cache_key
from hpcsweep.node.environment import command_text, server_environment
from hpcsweep.node.folders import AttemptFolder
from hpcsweep.node.gpus import Gpus, visible_names
from hpcsweep.node.guardian import Guardian
from hpcsweep.node.identity import Identity
from hpcsweep.node.inbox import Inbox, ProbeResult, ServerLine, Signalled
from hpcsweep.node.journal import Journal
from hpcsweep.node.measuring import Measuring
from hpcsweep.node.outcome import Ended, Verdict, startup_timeout
from hpcsweep.node.preflight import busy_gpus
from hpcsweep.node.preparation import Prepared
from hpcsweep.node.probe import Prober, Target, port_owner
from hpcsweep.node.records import EXIT_FILE, write_json
from hpcsweep.node.server import Server, new_api_key
from hpcsweep.node.stopper import Stopper
from hpcsweep.node.supervisor import Supervisor
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.job import JobSpec, RunSpec
from hpcsweep.spec.phases import OutcomeKind, Phase

_PROBE_EVERY_S = 1.0
_PROBE_AT_LEAST_S = 0.05
_STOP_GRACE_S = 3.0
_STUCK_GRACE_S = 2.0
_LEAST_GRACE_S = 1.0
_GPU_FREE_WITHIN_S = 15.0
_FROM_OUTSIDE = frozenset({OutcomeKind.WALLTIME, OutcomeKind.PREEMPTED, OutcomeKind.CANCELLED})


@dataclass(frozen=True)
class Surroundings:
    """What all attempts of one element share."""

    job: JobSpec
    identity: Identity
    guardian: Guardian
    stopper: Stopper
    gpus: Gpus
    env: Mapping[str, str]


class Attempt:
    """One try of one run. `budgets`: those of this try, which may be larger than the run's."""

    def __init__(
        self, run: RunSpec, budgets: Budgets, folder: AttemptFolder, around: Surroundings, notes: list[str]
    ) -> None:
        self._run, self._budgets, self._folder, self._around = run, budgets, folder, around
        scale = run.simulation.time_scale if run.simulation else 1.0
        self._clock = Clock(scale)
        self._notes = notes
        self._inbox = Inbox()
        self._cache: CompileCache | None = None
        self._server: Server | None = None
        self._prober: Prober | None = None
        self._key: str | None = None

    def execute(self) -> Verdict:
        """Do it, from the first event to exit.json. Whatever happens, no process of it is left."""
        around, folder = self._around, self._folder
        journal = Journal(folder.path, self._run.run_id, folder.number, self._clock)
        around.stopper.wake = lambda signum: self._inbox.put(Signalled(signum))
        try:
            engine = preparation.engine_of(self._run)
            supervisor = Supervisor(
                engine=engine, journal=journal, clock=self._clock, inbox=self._inbox, stopper=around.stopper,
                gpus=around.gpus, folder=folder.path, token=folder.token, spare={around.guardian.pid},
                stall_s=self._budgets.stall, say=self._say,
            )  # fmt: skip
            verdict = self._until_ended(supervisor, engine)
            self._tear_down(supervisor, verdict)
        finally:
            journal.close()
        return verdict

    def _until_ended(self, supervisor: Supervisor, engine: Engine) -> Verdict:
        try:
            return self._serve(supervisor, self._prepare(supervisor, engine))
        except Ended as ended:
            return ended.verdict
        except Exception as exc:  # noqa: BLE001 - a fault of ours must not leave a server behind
            traceback.print_exc()
            reason = f"a fault of hpcsweep itself: {exc.__class__.__name__}: {exc}"
            return Verdict(OutcomeKind.FAILED, reason, "the agent", "please report it, with the agent's output")

    def _serve(self, supervisor: Supervisor, prepared: Prepared) -> Verdict:
        refused = supervisor.background(
            lambda: preparation.refuse(self._run, self._around.job, prepared, self._around.gpus)
        )
        if refused is not None:
            raise Ended(refused)
        for concern in preparation.concerns(self._around.job, self._around.gpus):
            supervisor.warn(concern)
        target = self._start(supervisor, prepared)
        self._wait_until_ready(supervisor, target)
        return Measuring(
            self._run, self._budgets, supervisor, target, self._around.gpus, self._folder.path, prepared.executable,
            self._say,
        ).run()  # fmt: skip

    def _prepare(self, supervisor: Supervisor, engine: Engine) -> Prepared:
        """Find out what to start; the attempt's first event tells it, also when there is nothing to start."""
        run, around = self._run, self._around
        startup_s = self._clock.real(self._budgets.startup)
        try:
            prepared = supervisor.background(
                lambda: preparation.prepare(run, around.job, engine, self._folder.path, around.env, startup_s)
            )
        except Ended:
            self._record_start(supervisor, engine, None, {})
            raise
        self._cache = self._open_cache(engine, prepared.version)
        cache_env = self._cache.env() if self._cache else {}
        self._environment, told = server_environment(around.env, run.exports, prepared.launch.env, cache_env)
        if engine.api_key_env is not None:
            self._key = new_api_key()
            self._environment[engine.api_key_env] = self._key
        self._record_start(supervisor, engine, prepared, told)
        for name, text in prepared.launch.files.items():
            (self._folder.path / name).write_text(text, encoding="utf-8")
        command = command_text(prepared.launch.argv, told, run.exports)
        (self._folder.path / "command.txt").write_text(command, encoding="utf-8")
        if self._cache is not None:
            supervisor.cache_folder = self._cache.folder
            supervisor.fact("compile_cache_at_start", "warm" if self._cache.warm else "cold")
            if self._cache.note:
                supervisor.warn(self._cache.note)
        return prepared

    def _open_cache(self, engine: Engine, version: str | None) -> CompileCache | None:
        job, run = self._around.job, self._run
        states = self._around.gpus.states()
        gpu = states[0].name if states else job.resources.gpu_type or "cpu"
        name = version or "unknown"
        if run.simulation is not None:
            name = f"simulated-{name}"
        key = cache_key(run.server, engine.settings(run.server), name, gpu)
        cache = CompileCache(job.compile_cache, Path(job.cache_dir), key, self._around.identity)
        try:
            cache.open()
        except OSError as exc:
            self._notes.append(f"no compile cache in {job.cache_dir}: {exc.strerror}; the engine's own default is used")
            return None
        return cache

    def _record_start(
        self, supervisor: Supervisor, engine: Engine, prepared: Prepared | None, told: Mapping[str, str]
    ) -> None:
        run, identity, gpus = self._run, self._around.identity, self._around.gpus
        states = gpus.states()
        supervisor.journal.event(
            "attempt_started",
            host=identity.host,
            pid=identity.pid,
            job_id=identity.job_id,
            restart_count=identity.restart_count,
            engine=run.server.engine,
            simulated=run.simulation is not None,
            time_scale=self._clock.scale,
            gpus=visible_names(self._around.env) or [state.uuid for state in states],
            gpu_name=states[0].name if states else None,
            argv=list(prepared.launch.argv) if prepared else [],
            env=dict(told),
            versions=preparation.versions(prepared.version if prepared else None, run.server.engine, gpus),
        )
        record = run.model_dump(mode="json") | {"attempt": self._folder.number}
        write_json(self._folder.path / "run.json", record | {"budgets": self._budgets.model_dump(mode="json")})
        for note in self._notes:
            supervisor.warn(note)

    def _start(self, supervisor: Supervisor, prepared: Prepared) -> Target:
        argv = prepared.launch.argv
        self._around.guardian.watch(self._folder.token, self._folder.path)
        try:
            self._server = Server(
                argv, self._environment, self._folder.path, self._folder.token,
                lambda text, at_s: self._inbox.put(ServerLine(text, at_s)),
            )  # fmt: skip
        except OSError as exc:
            reason = f"{argv[0]} cannot be started: {exc.strerror or exc}"
            raise Ended(Verdict(OutcomeKind.FAILED, reason, "the kernel", "is it executable on this node?")) from exc
        supervisor.watch_server(self._server, dict(self._budgets.phases))
        return Target(prepared.port, prepared.engine.endpoints, self._run.server.served_name, self._key)

    def _wait_until_ready(self, supervisor: Supervisor, target: Target) -> None:
        clock, budgets = self._clock, self._budgets
        begun_s = supervisor.entered_s
        self._prober = Prober(
            target,
            lambda port: port_owner(port, lambda: [process.pid for process in supervisor.processes()]),
            self._inbox.put,
            every_s=max(clock.real(_PROBE_EVERY_S), _PROBE_AT_LEAST_S),
            request_timeout_s=clock.real(budgets.request) + 1,
        )
        problem = ""
        while True:
            supervisor.pump()
            messages, supervisor.pending = supervisor.pending, []
            for message in messages:
                if isinstance(message, ProbeResult) and message.ready_at_s is not None:
                    self._ready(supervisor, begun_s, message)
                    return
                if isinstance(message, ProbeResult):
                    problem = message.problem
            self._keep_to_budgets(supervisor, begun_s, problem)

    def _keep_to_budgets(self, supervisor: Supervisor, begun_s: float, problem: str) -> None:
        now_s, phase = self._clock.t_s(), supervisor.phase
        phase_s = self._budgets.phases.get(phase.value)
        if phase_s is not None and now_s - supervisor.entered_s > phase_s:
            name, budget_s = phase.value, phase_s
        elif now_s - begun_s > self._budgets.startup:
            name, budget_s = "startup", self._budgets.startup
        else:
            return
        idle_s = supervisor.idle_s()
        supervisor.diagnose()
        lines = [*supervisor.reader.last_lines, *([f"readiness: {problem}"] if problem else [])]
        raise Ended(startup_timeout(phase, name, budget_s, idle_s, lines))

    def _ready(self, supervisor: Supervisor, begun_s: float, result: ProbeResult) -> None:
        ready_s = self._clock.t_s(result.ready_at_s)
        unseen = supervisor.reader.unseen_phases()
        supervisor.journal.event("server_ready", t_s=ready_s, startup_s=ready_s - begun_s, unseen_phases=unseen)
        supervisor.enter(Phase.READY, t_s=ready_s)
        if result.first_token_s is not None:
            supervisor.fact("first_token_s", self._clock.scaled(result.first_token_s), "s")
        used = [s.memory_used_bytes for s in self._around.gpus.states() if s.memory_used_bytes is not None]
        if used:
            supervisor.fact("gpu_memory_used_bytes", float(max(used)), "bytes", "nvml")

    def _tear_down(self, supervisor: Supervisor, verdict: Verdict) -> None:
        if self._prober is not None:
            self._prober.stop()
        ended_in = supervisor.phase
        killed: list[str] = []
        exit_code = verdict.exit_code
        supervisor.journal.release()
        if self._server is not None:
            supervisor.enter(Phase.TEARDOWN)
            ended = self._server.end(supervisor.spare, self._grace_s(verdict))
            supervisor.take(0.0)
            killed = ended.killed
            exit_code = ended.exit_code if exit_code is None else exit_code
            if ended.left:
                supervisor.warn(f"could not be killed: {', '.join(ended.left)}")
            if self._server.lost_log_lines:
                supervisor.warn(f"{self._server.lost_log_lines} lines of server.log were lost: the disk is full")
            self._check_gpus(supervisor, verdict)
        self._around.guardian.forget(self._folder.token)
        self._close_cache(supervisor, verdict)
        fields: dict[str, Any] = {
            "outcome": verdict.kind.value,
            "phase": ended_in.value if self._server is not None else None,
            "reason": verdict.reason,
            "decided_by": verdict.decided_by,
            "evidence": list(verdict.evidence),
            "exit_code": exit_code,
            "hint": verdict.hint,
            "killed": killed,
        }
        supervisor.journal.event("attempt_ended", **fields)
        supervisor.journal.close()
        self._say(f"{verdict.kind.value}: {verdict.reason}")
        self._write_exit(fields)

    def _write_exit(self, fields: dict[str, Any]) -> None:
        identity = self._around.identity
        record = {
            "run_id": self._run.run_id,
            "attempt": self._folder.number,
            **fields,
            "t_s": self._clock.t_s(),
            "ended_at": time.time(),
            "host": identity.host,
            "job_id": identity.job_id,
        }
        try:
            write_json(self._folder.path / EXIT_FILE, record)
        except OSError as exc:  # nothing more can be done: the events, the accounting and this line are left
            self._say(f"exit.json could not be written: {exc}")

    def _grace_s(self, verdict: Verdict) -> float:
        """Real seconds of patience after SIGTERM: little when the scheduler waits, and for one that is stuck anyway."""
        patience_s = max(self._clock.real(self._budgets.teardown), _LEAST_GRACE_S)
        if verdict.kind in _FROM_OUTSIDE:
            return min(patience_s, _STOP_GRACE_S)
        return min(patience_s, _STUCK_GRACE_S) if verdict.kind is OutcomeKind.STALLED else patience_s

    def _check_gpus(self, supervisor: Supervisor, verdict: Verdict) -> None:
        """Wait until the driver shows none of our processes on the GPUs any more."""
        gpus = self._around.gpus
        if not gpus.available or verdict.kind in _FROM_OUTSIDE:
            return
        deadline_s = time.monotonic() + _GPU_FREE_WITHIN_S
        while busy := busy_gpus(gpus.states()):
            if time.monotonic() > deadline_s:
                supervisor.warn("GPU memory is not free after the teardown", "; ".join(busy))
                return
            time.sleep(0.5)

    def _close_cache(self, supervisor: Supervisor, verdict: Verdict) -> None:
        if self._cache is None:
            return
        warm_retry = "retry_warm" in (self._budgets.on_stall, self._budgets.on_startup_timeout)
        broken = verdict.kind in (OutcomeKind.STALLED, OutcomeKind.STARTUP_TIMEOUT, OutcomeKind.CRASHED)
        try:
            self._cache.close(keep=not broken or warm_retry)
        except OSError as exc:
            supervisor.warn(f"the compile cache could not be kept: {exc}")

    def _say(self, text: str) -> None:
        print(  # noqa: T201
            f"[{time.strftime('%H:%M:%S')}] {self._run.label} attempt-{self._folder.number}: {text}",
            file=sys.stderr,
            flush=True,
        )

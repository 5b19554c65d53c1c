"""Execute one attempt of a run: prepare, start, wait until ready, measure, tear down, and record how it ended."""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.engines.base import Engine, Placement
from hpcsweep.engines.versions import same_version
from hpcsweep.errors import EngineError, SpecError
from hpcsweep.events.records import ENGINE_VERSION, OTHER_GPU
from hpcsweep.load.client.clock import Clock
from hpcsweep.node.attempt_cache import close_cache, open_cache, record_cache_use
from hpcsweep.node.attempt_record import AttemptRecord
from hpcsweep.node.compile_cache import CompileCache
from hpcsweep.node.guardian import Guardian
from hpcsweep.node.identity import Identity, tracked_by_session
from hpcsweep.node.measuring import MeasurementContext, WorkloadRunner
from hpcsweep.node.process.cleanup import clean_up
from hpcsweep.node.process.family import leader_of_its_own
from hpcsweep.node.process.gpus import Gpus, GpuState, wait_until_free
from hpcsweep.node.process.memory_limit import MemoryCgroup
from hpcsweep.node.process.secrets_file import hidden_values, secret_environment
from hpcsweep.node.process.server import Server
from hpcsweep.node.process.stop_reasons import Stopper
from hpcsweep.node.ranks.all_reduce import AllReduce
from hpcsweep.node.ranks.context import TeamContext
from hpcsweep.node.ranks.nodes import AllGpus, job_launcher, job_nodes
from hpcsweep.node.ranks.team import RankTeam
from hpcsweep.node.record.folders import AttemptFolder, record_server
from hpcsweep.node.record.journal import Journal
from hpcsweep.node.record.notes import Note
from hpcsweep.node.setup import preflight, preparation
from hpcsweep.node.setup.api_key import key_for, random_key
from hpcsweep.node.setup.container import write_files
from hpcsweep.node.setup.environment import HIDDEN, server_environment, without_names
from hpcsweep.node.setup.gpu_names import readable_names
from hpcsweep.node.setup.preparation import PreparedLaunch, ServerFolders
from hpcsweep.node.setup.private_folder import make_private_folder, remove_private_folder, write_key_file
from hpcsweep.node.watch.inbox import Inbox, ServerLine, SignalReceived
from hpcsweep.node.watch.outcome import AttemptVerdict, Ended, out_of_host_memory
from hpcsweep.node.watch.probe import Target
from hpcsweep.node.watch.startup import wait_until_ready
from hpcsweep.node.watch.supervisor import Supervisor, check_interval_s
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.job import JobSpec, RunSpec
from hpcsweep.spec.phases import OutcomeKind, Phase

_STOP_GRACE_S = 2.0  # PBS leaves ten seconds between SIGTERM and SIGKILL
_STUCK_GRACE_S = 2.0
_LEAST_GRACE_S = 1.0
_FROM_OUTSIDE = frozenset({OutcomeKind.WALLTIME, OutcomeKind.PREEMPTED, OutcomeKind.CANCELLED})


@dataclass(frozen=True)
class JobContext:
    """What all attempts of one array task share."""

    job: JobSpec
    identity: Identity
    guardian: Guardian
    stopper: Stopper
    gpus: Gpus
    env: Mapping[str, str]


class Attempt:
    """One attempt of one run. `budgets`: of this attempt; a retry has larger ones than the run."""

    def __init__(
        self, run: RunSpec, budgets: Budgets, folder: AttemptFolder, context: JobContext, notes: list[Note]
    ) -> None:
        """Open the journal. `notes`: on earlier attempts. Raises OSError when the folder is not writable."""
        self._run, self._budgets, self._folder, self._context = run, budgets, folder, context
        self._clock = Clock(run.simulation.time_scale if run.simulation else 1.0)
        self._journal = Journal(folder.path, run.run_id, folder.number, self._clock)
        self._record = AttemptRecord(run, budgets, folder, context.identity, self._journal, self._clock)
        self._notes = notes
        self._inbox = Inbox()
        self._cache: CompileCache | None = None
        self._server: Server | None = None
        self._key: str | None = None
        self._private: Path | None = None
        self._team: RankTeam | None = None
        self._environment: dict[str, str] = {}
        self._own: list[str] = []  # names of the variables that were set for the server
        self._secret_names: list[str] = []
        self._all_reduce: AllReduce | None = None
        self._cleanup: tuple[str, ...] = ()
        self._hidden: list[bytes] = []
        self._gpus_before: list[GpuState] = []
        self._memory = MemoryCgroup()
        self._memory_kills_before: int | None = None

    def execute(self) -> AttemptVerdict:
        """Execute it, from the first event to exit.json. No process of it is left afterwards, whatever happens."""
        context, folder = self._context, self._folder
        context.stopper.wake = lambda signum: self._inbox.put(SignalReceived(signum))
        try:
            engine = preparation.engine_of(self._run)
        except EngineError as exc:
            hint = exc.hint or "is the plugin of this engine installed on the compute nodes too?"
            verdict = AttemptVerdict(
                OutcomeKind.UNSUPPORTED, exc.code or "engine_unknown", exc.message, "the agent: engines", hint
            )
            self._record.started(None, {}, context.gpus, context.env)
            self._record.ended(verdict, None, None, [])
            return verdict
        supervisor = Supervisor(
            engine=engine, journal=self._journal, clock=self._clock, inbox=self._inbox, stopper=context.stopper,
            gpus=context.gpus, folder=folder.path, token=folder.token, not_server_pids={context.guardian.pid},
            budgets=self._budgets, node=context.identity.host, say=self._record.say,
            set_members=lambda members: context.guardian.set_members(folder.token, members),
        )  # fmt: skip
        verdict = self._until_ended(supervisor, engine)
        self._tear_down(supervisor, verdict)
        return verdict

    def _until_ended(self, supervisor: Supervisor, engine: Engine) -> AttemptVerdict:
        try:
            prepared = self._prepare(supervisor, engine)
            target = self._start(supervisor, prepared)
            wait_until_ready(supervisor, target, self._budgets)
            self._check_version(supervisor, prepared)
            self._gpu_facts(supervisor)
            if self._cache is not None:
                record_cache_use(self._cache, supervisor)
            measurement = MeasurementContext(
                self._run, self._budgets, supervisor, target, AllGpus(self._context.gpus, supervisor.others),
                self._folder.path, prepared.executable,
                prepared.container.launch if prepared.container is not None else None, self._record.say,
            )  # fmt: skip
            return WorkloadRunner(measurement).run()
        except Ended as ended:
            return out_of_host_memory(ended.verdict, self._memory_kills(), self._memory.limit_bytes())
        except OSError as exc:
            reason = f"a file could not be written or a process could not be started: {exc}"
            return AttemptVerdict(
                OutcomeKind.FAILED, "os_error", reason, "the agent: operating system", "is the disk or the quota full?"
            )
        except Exception as exc:  # noqa: BLE001 - a bug of ours must not leave a server running
            traceback.print_exc()
            reason = f"internal error of hpcsweep: {exc.__class__.__name__}: {exc}"
            return AttemptVerdict(
                OutcomeKind.FAILED, "internal_error", reason, "the agent", "please report it, with the agent's output"
            )

    def _memory_kills(self) -> int:
        """Return how many processes of the job the OOM killer has killed since the server was started."""
        now = self._memory.kills()
        return now - self._memory_kills_before if now is not None and self._memory_kills_before is not None else 0

    def _prepare(self, supervisor: Supervisor, engine: Engine) -> PreparedLaunch:
        """Determine the command of the server, and record the attempt's first event. Raises Ended."""
        run, context, job = self._run, self._context, self._context.job
        startup_s = self._clock.real(self._budgets.startup)
        private = self._private = make_private_folder()
        folders = ServerFolders(self._folder.path, self._folder.token, private)
        try:
            placement = self._gather(supervisor, engine) if run.nodes > 1 else None
            prepared = supervisor.background(
                lambda: preparation.prepare(run, job, engine, folders, context.env, startup_s, placement)
            )
        except Ended:
            self._record.started(None, {}, context.gpus, context.env)
            self._record_notes(supervisor)
            raise
        self._cache, notes = open_cache(run, job, engine, prepared, context.identity, context.gpus.states())
        self._notes += notes
        cache_env = self._cache.env() if self._cache else {}
        self._environment, recorded = server_environment(
            prepared.environment, run.exports, prepared.launch.env, cache_env
        )
        self._name_gpus(prepared, recorded)
        self._give_key(engine, private)
        secrets = self._secrets()
        self._environment |= secrets
        self._secret_names = [*secrets, *([engine.api_key_env] if engine.api_key_env is not None else [])]
        self._own = [*recorded, *self._secret_names]
        self._hidden = hidden_values(self._environment, list(secrets), self._key)
        self._record.started(prepared, recorded | dict.fromkeys(secrets, HIDDEN), context.gpus, context.env)
        for name, text in prepared.launch.files.items():
            (self._folder.path / name).write_text(text, encoding="utf-8")
        if self._cache is not None:
            supervisor.observer.cache_folders = self._cache.folders
            supervisor.fact("compile_cache_at_start", "warm" if self._cache.warm else "cold")
        self._record_notes(supervisor)
        if prepared.container is not None:
            launch = prepared.container.launch
            supervisor.fact("container", f"{launch.runtime} {launch.image}")
        other = preflight.other_gpus(job, context.gpus.states())
        if other and run.simulation is None:
            supervisor.fact(OTHER_GPU, other, source="nvml")
            supervisor.warn(other, code=OTHER_GPU)
        for concern in supervisor.background(lambda: preparation.check(run, job, prepared, context.gpus, context.env)):
            supervisor.warn(concern.text, code=concern.code)
        self._prepare_others(supervisor, prepared, list(secrets), startup_s)
        self._check_all_reduce(supervisor, prepared)
        return prepared

    def _gather(self, supervisor: Supervisor, engine: Engine) -> Placement:
        """Start the agents of the other nodes; return the place of this node. Raises Ended, OSError."""
        context, folder = self._context, self._folder
        try:
            nodes = job_nodes(context.env, context.identity.host, self._run.nodes)
            launcher = job_launcher(context.job.launcher, context.env)
        except SpecError as exc:
            code = exc.code or "nodes_unknown"
            verdict = AttemptVerdict(OutcomeKind.FAILED, code, exc.message, "preflight: nodes of the job", exc.hint)
            raise Ended(verdict) from exc
        self._record.nodes = nodes
        team = self._team = RankTeam(
            TeamContext(
                self._run, Path(context.job.sweep_dir) / "jobs" / str(context.job.job), folder.path, nodes, launcher,
                context.env, self._inbox, self._journal, self._clock, supervisor.not_server_pids,
                lambda code, text: supervisor.warn(text, code=code), lambda: supervisor.phase,
            ),
            engine,
        )  # fmt: skip
        supervisor.others = team
        context.guardian.watch(folder.token, folder.path, team.scratch)
        supervisor.background(team.gather)
        return team.placement()

    def _prepare_others(
        self, supervisor: Supervisor, prepared: PreparedLaunch, secrets: list[str], startup_s: float
    ) -> None:
        """Check the other nodes. Raises Ended, OSError."""
        team = self._team
        if team is None:
            return
        stall_s = self._clock.real(self._budgets.stall)
        notes = supervisor.background(
            lambda: team.prepare(
                self._environment, secrets, self._key, ours=(prepared.version, prepared.image), startup_s=startup_s,
                stall_s=stall_s,
                check_every_s=check_interval_s(stall_s), private_cache=self._cache is None or self._cache.private,
            )
        )  # fmt: skip
        for note in notes:
            supervisor.warn(note.text, code=note.code)

    def _check_all_reduce(self, supervisor: Supervisor, prepared: PreparedLaunch) -> None:
        """Let all nodes add numbers, if the cluster profile asks for it. Raises Ended, OSError."""
        context, folder, asked = self._context, self._folder, self._context.job.preflight
        if self._team is None or not asked.all_reduce:
            return
        check = self._all_reduce = AllReduce(
            self._team, folder.path, folder.token, context.guardian, supervisor.not_server_pids,
            in_session=tracked_by_session(context.env), processes=max(1, self._run.gpus),
            budget_s=asked.all_reduce_budget,
        )  # fmt: skip
        self._record.say(f"all-reduce over {self._run.nodes} nodes")
        environment = without_names(self._environment, self._secret_names)
        reduced = supervisor.background(lambda: check.run(prepared, environment, self._own))
        for fact in reduced.facts:
            supervisor.fact(fact.name, fact.value, fact.unit, "all-reduce check")
        for note in reduced.notes:
            supervisor.warn(note.text, code=note.code)

    def _secrets(self) -> dict[str, str]:
        """Return the secret variables, which are not stored. Raises Ended when one is missing."""
        job = self._context.job
        try:
            return secret_environment(job.env_from, job.secrets_file, self._context.env)
        except SpecError as exc:
            self._record.started(None, {}, self._context.gpus, self._context.env)
            code = exc.code or "secret_missing"
            raise Ended(AttemptVerdict(OutcomeKind.FAILED, code, exc.message, "the agent: env_from", exc.hint)) from exc

    def _give_key(self, engine: Engine, private: Path) -> None:
        """Give the server its API key, in its environment or in a file, never as an argument. Raises OSError."""
        cache = self._cache if self._cache and self._cache.mode != "off" else None
        key = key_for(Path(self._context.job.cache_dir), cache.key) if cache else random_key()
        key_file = engine.key_file_text(self._run.server, key)
        if engine.api_key_env is not None:
            self._environment[engine.api_key_env] = self._key = key
        elif key_file is not None:
            write_key_file(private, key_file)
            self._key = key

    def _record_notes(self, supervisor: Supervisor) -> None:
        for note in self._notes:
            supervisor.warn(note.text, code=note.code)

    def _name_gpus(self, prepared: PreparedLaunch, recorded: dict[str, str]) -> None:
        """Replace GPU UUIDs that the engine cannot read, in its environment and in the record of it."""
        if self._run.simulation is None:
            names, notes = readable_names(
                self._run.server.engine, prepared.version, self._environment, self._context.gpus
            )
            self._environment |= names
            recorded |= names
            self._notes += notes

    def _start(self, supervisor: Supervisor, prepared: PreparedLaunch) -> Target:
        command = prepared.command(self._environment, self._own)
        self._gpus_before = self._context.gpus.states()
        self._memory_kills_before = self._memory.kills()
        scratch = [*(self._cache.scratch() if self._cache else []), *([self._private] if self._private else [])]
        scratch += self._team.scratch if self._team else []
        self._context.guardian.watch(self._folder.token, self._folder.path, scratch)
        self._context.guardian.set_cleanup(self._folder.token, command.cleanup)
        self._cleanup = command.cleanup
        started_s = self._clock.t_s()  # what follows the start of the process here belongs to its startup time
        try:
            write_files(command.files)
            self._server = Server(
                command.argv, command.environment, self._folder.path, self._folder.token,
                lambda text, at_s: self._inbox.put_line(ServerLine(text, at_s)),
                hidden=self._hidden, in_session=tracked_by_session(self._context.env),
                private_network=self._context.job.private_network,
            )  # fmt: skip
        except OSError as exc:
            reason = f"{command.argv[0]} could not be started: {exc.strerror or exc}"
            hint = "is it executable on this node?"
            raise Ended(AttemptVerdict(OutcomeKind.FAILED, "server_not_started", reason, "the kernel", hint)) from exc
        leader = leader_of_its_own(self._server.pid)
        if leader is not None:
            self._context.guardian.set_members(self._folder.token, [leader])
            runtime = prepared.container.launch.runtime if prepared.container is not None else None
            record_server(self._folder, leader, runtime)
        if self._team is not None:
            self._team.start()
        supervisor.watch_server(self._server, started_s)
        return Target(
            prepared.port, prepared.engine.endpoints, self._run.server.served_name, self._key,
            socket_path=prepared.socket_path,
        )  # fmt: skip

    def _check_version(self, supervisor: Supervisor, prepared: PreparedLaunch) -> None:
        """Compare the version known before the start with that in the log, which counts. Raises Ended: not allowed."""
        logged, recorded = supervisor.reader.facts.get(ENGINE_VERSION), prepared.version
        if prepared.installation is None or logged is None or (recorded and same_version(recorded, str(logged.value))):
            return
        name, version = self._run.server.engine, str(logged.value)
        if recorded is not None:
            text = f"{name} {recorded} was found before the start, but the server's log reports {version}, which counts"
            supervisor.warn(text, code="version_differs")
        refused = preflight.version_verdict(name, version, self._run.server.engine_version)
        if refused is not None:
            raise Ended(refused)

    def _gpu_facts(self, supervisor: Supervisor) -> None:
        states = AllGpus(self._context.gpus, supervisor.others).states()
        used = [state.memory_used_bytes for state in states if state.memory_used_bytes is not None]
        if used:
            supervisor.fact("gpu_memory_used_bytes", float(max(used)), "bytes", "nvml")

    def _tear_down(self, supervisor: Supervisor, verdict: AttemptVerdict) -> None:
        last_phase: Phase | None = None
        exit_code, killed = verdict.exit_code, []
        self._journal.release()
        if self._team is not None:
            self._team.stop(self._grace_s(verdict))
        if self._all_reduce is not None:
            self._all_reduce.end()
        if self._server is not None:
            last_phase = supervisor.phase
            supervisor.enter(Phase.TEARDOWN)
            teardown = self._server.end(supervisor.family, supervisor.not_server_pids, self._grace_s(verdict))
            clean_up(self._cleanup)
            supervisor.take(0.0)
            killed = teardown.killed
            exit_code = teardown.exit_code if exit_code is None else exit_code
            if teardown.left:
                text = f"processes could not be killed: {', '.join(teardown.left)}"
                supervisor.warn(text, code="processes_left")
            supervisor.warn_of_lost_lines()
            if verdict.kind not in _FROM_OUTSIDE:
                used = wait_until_free(self._gpus_before, self._context.gpus)
                if used:
                    text = "GPU memory is still in use after the teardown"
                    supervisor.warn(text, "; ".join(used), code="gpu_memory_used")
        if self._team is not None:
            killed = killed + self._end_others(supervisor, self._team, verdict)
        if self._private is not None:
            remove_private_folder(self._private)
        self._context.guardian.forget(self._folder.token)
        if self._cache is not None:
            close_cache(self._cache, supervisor, self._budgets, verdict)
        self._record.ended(verdict, last_phase, exit_code, killed)

    def _end_others(self, supervisor: Supervisor, team: RankTeam, verdict: AttemptVerdict) -> list[str]:
        """End the parts on other nodes; return the processes that were killed there."""
        killed, left = team.end(self._grace_s(verdict), hurry=verdict.kind in (*_FROM_OUTSIDE, OutcomeKind.LOST))
        supervisor.take(0.0)
        supervisor.not_server_pids -= set(team.launcher_pids)
        if left:
            supervisor.warn(f"processes could not be killed: {', '.join(left)}", code="processes_left")
        return killed

    def _grace_s(self, verdict: AttemptVerdict) -> float:
        """Return the real seconds from SIGTERM to SIGKILL: few when the scheduler waits or the server is stuck."""
        grace_s = max(self._clock.real(self._budgets.teardown), _LEAST_GRACE_S)
        if verdict.kind in _FROM_OUTSIDE:
            return min(grace_s, _STOP_GRACE_S)
        return min(grace_s, _STUCK_GRACE_S) if verdict.kind is OutcomeKind.STALLED else grace_s

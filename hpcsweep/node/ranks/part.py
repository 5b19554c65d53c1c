"""The part of a server on another node than that of the head agent: start it, report on it, and end it."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hpcsweep.engines.base import Engine, Placement
from hpcsweep.engines.logs.reader import LogReader
from hpcsweep.load.client.clock import Clock
from hpcsweep.node.compile_cache import VARIABLES
from hpcsweep.node.guardian import Guardian
from hpcsweep.node.identity import tracked_by_session
from hpcsweep.node.process.cleanup import clean_up
from hpcsweep.node.process.family import Family, leader_of_its_own, mark_of
from hpcsweep.node.process.gpus import Gpus
from hpcsweep.node.process.secrets_file import hidden_values
from hpcsweep.node.process.server import Server
from hpcsweep.node.ranks.all_reduce_part import NodeReduce, ReduceRequest
from hpcsweep.node.ranks.files import EnvironmentFile, read_environment_file
from hpcsweep.node.ranks.link import Link
from hpcsweep.node.ranks.network import reaches
from hpcsweep.node.record.notes import Note
from hpcsweep.node.setup import preparation
from hpcsweep.node.setup.container import write_files
from hpcsweep.node.setup.environment import server_environment, without_names
from hpcsweep.node.setup.gpu_names import readable_names
from hpcsweep.node.setup.mpi_job import remove_node_file, write_node_file
from hpcsweep.node.setup.preparation import PreparedLaunch, ServerFolders
from hpcsweep.node.setup.private_folder import make_private_folder, remove_private_folder, write_key_file
from hpcsweep.node.watch import diagnostics
from hpcsweep.node.watch.confirmation import Confirmation
from hpcsweep.node.watch.deaths import DeathWatch
from hpcsweep.node.watch.inbox import Inbox, ProcessEnded, RankMessage, ServerLine
from hpcsweep.node.watch.observer import Observer
from hpcsweep.node.watch.outcome import AttemptVerdict, Ended
from hpcsweep.node.watch.stall import Situation, StallWatch
from hpcsweep.spec.job import JobSpec, RunSpec
from hpcsweep.spec.phases import OutcomeKind

RANK_SUFFIX = ".rank"
"""The parts of a server have tokens of their own: several of them may run on one machine."""
_TICK_S = 0.05


class RankPart:
    """The part of one rank. `folder`: for its log and diagnostics; `token`: in the environment of its processes."""

    def __init__(
        self, run: RunSpec, job: JobSpec, engine: Engine, rank: int, folder: Path, token: str, env: Mapping[str, str],
        link: Link, guardian: Guardian,
    ) -> None:  # fmt: skip
        self._run, self._job, self._engine, self._rank = run, job, engine, rank
        self._folder, self._token, self._env = folder, token, dict(env)
        self._link, self._guardian = link, guardian
        self.inbox = Inbox()
        self._gpus = Gpus(env)
        self._not_server_pids = {guardian.pid}
        self._family = Family(token, self._not_server_pids)
        self._noise = LogReader(engine)
        self._clock = Clock(1.0)
        self._observer = Observer(self._gpus, self._note)
        self._private = make_private_folder()
        self._shared: EnvironmentFile | None = None
        self._prepared: PreparedLaunch | None = None
        self._server: Server | None = None
        self._cleanup: tuple[str, ...] = ()
        self._watch: StallWatch | None = None
        self._deaths: DeathWatch | None = None
        self._confirmation: Confirmation | None = None
        self._situation = Situation.STARTING
        self._every_s, self._next_s, self._stall_s = 1.0, 0.0, 0.0
        self._cpu: dict[int, float] = {}
        self._exit_reported = False
        self._reduce: NodeReduce | None = None
        self.lost = False
        """Whether the connection to the head agent was lost."""
        guardian.watch(token, folder, [self._private])

    def step(self) -> bool:
        """Run one round. Return whether to continue."""
        for message in self.inbox.take(_TICK_S):
            if isinstance(message, ServerLine):
                self._observer.line(message.text, noise=self._noise.is_noise(message.text))
                self._link.send("line", droppable=True, text=message.text)
            elif isinstance(message, ProcessEnded):
                self._died(message)
            elif isinstance(message, RankMessage) and not self._obey(message.body):
                return False
        if self._reduce is not None and self._reduce.finished():
            self._end_reduce()
        if self._server is not None:
            self._report_exit(self._server)
        if self._watch is not None and self._deaths is not None:
            self._report(self._watch, self._deaths)
            self._sample()
        return True

    def end(self, grace_s: float) -> None:
        """End the server with all its processes, and report it."""
        killed: list[str] = []
        left: list[str] = []
        exit_code = None
        self._end_reduce()
        if self._confirmation is not None:
            self._confirmation.stop()
        if self._deaths is not None:
            self._deaths.close()
        if self._server is not None:
            teardown = self._server.end(self._family, self._not_server_pids, grace_s)
            killed, left, exit_code = teardown.killed, teardown.left, teardown.exit_code
            clean_up(self._cleanup)
        elif self._engine.one_mpi_job:  # the MPI launcher, which the head agent ends, starts the processes
            remove_node_file(self._folder)
            killed, unkillable = self._family.end(grace_s)
            left = [str(process) for process in unkillable]
        remove_private_folder(self._private)
        self._guardian.forget(self._token)
        self._link.send("ended", killed=killed, left=left, exit_code=exit_code)

    def _obey(self, message: Mapping[str, Any]) -> bool:
        """Do what the head agent asks. Return whether to continue."""
        kind = message["kind"]
        if kind == "stop":
            self.lost = bool(message.get("lost"))
            self.end(float(message["grace_s"]))
            return False
        if kind == "beat":
            self._situation = Situation(message["situation"])
            if message["progress"] and self._watch is not None:
                self._watch.answered(time.monotonic())
        elif kind == "diagnose":
            files = diagnostics.collect(
                self._folder, self._family.living(), self._noise.last_lines, self._cpu, summary=message["summary"]
            )
            self._link.send("diagnosed", files=files)
        elif kind == "sample":
            members = self._family.living()
            roles = self._observer.roles(members)
            self._confirmation = Confirmation(self._folder, members, roles, message["gap_s"], self._not_server_pids)
        elif kind == "reduce_end":
            self._end_reduce()
        else:
            try:
                {"prepare": self._prepare, "reduce": self._start_reduce, "start": self._start}[kind](message)
            except Ended as ended:
                self._refuse(ended.verdict)
            except OSError as exc:
                reason = f"a file could not be written or a process could not be started: {exc}"
                self._refuse(AttemptVerdict(OutcomeKind.FAILED, "os_error", reason, "the agent: operating system"))
        return True

    def _prepare(self, message: Mapping[str, Any]) -> None:
        """Make the checks of the head node on this one. Raises Ended, OSError."""
        shared = self._shared = read_environment_file(self._folder.parent.parent)
        self._env |= shared.variables
        caches: dict[str, str] = {}
        if message["private_cache"]:  # a folder on the disk of the head node
            caches = {name: str(self._private / "cache" / below) for name, below in VARIABLES.items()}
        self._env |= caches
        placement = Placement(**message["placement"])
        self._stall_s = float(message["stall_s"])
        self._every_s = float(message["check_every_s"])
        job = self._job.model_copy(update={"engine_setup": []})  # the head node's environment is its result
        folders = ServerFolders(self._folder, self._token, self._private)
        prepared = preparation.prepare(
            self._run, job, self._engine, folders, self._env, message["startup_s"], placement
        )
        notes = preparation.check(self._run, job, prepared, self._gpus, self._env)
        if self._engine.one_mpi_job:
            write_node_file(self._folder, self._token, prepared.launch, caches, self._env)
        unreachable = [node for node, (address, port) in message["peers"].items() if not reaches(address, port)]
        self._prepared = prepared
        self._link.send(
            "prepared",
            version=prepared.version,
            image=asdict(prepared.image) if prepared.image is not None else None,
            executable=prepared.executable,
            notes=[{"code": note.code, "text": note.text} for note in notes],
            unreachable=unreachable,
        )

    def _start_reduce(self, message: Mapping[str, Any]) -> None:
        """Start the processes of the all-reduce check. Raises OSError."""
        prepared, shared = self._prepared, self._shared
        assert prepared is not None and shared is not None, "reduce before prepare"
        environment, recorded = server_environment(prepared.environment, self._run.exports, prepared.launch.env, {})
        self._reduce = NodeReduce(
            self._folder, self._token, self._guardian, self._not_server_pids, in_session=tracked_by_session(self._env)
        )
        self._reduce.start(
            ReduceRequest(**message["request"]), prepared, without_names(environment, shared.secret_names), [*recorded]
        )

    def _end_reduce(self) -> None:
        """End the processes of the check that are left, and report how far they came."""
        if self._reduce is not None:
            report = self._reduce.report()
            self._reduce.end()
            self._reduce = None
            self._link.send("reduced", report=asdict(report))

    def _start(self, _: Mapping[str, Any]) -> None:
        """Start the server, or watch for its ranks where the MPI launcher starts them. Raises OSError."""
        if not self._engine.one_mpi_job:
            self._start_server()
        first = self._observer.snapshot(self._family.living(), with_cache=False)
        self._watch = StallWatch(first, every_s=self._every_s, stall_s=self._stall_s)
        self._deaths = DeathWatch(lambda pid, role: self.inbox.put(ProcessEnded(pid, role)))

    def _start_server(self) -> None:
        prepared, shared = self._prepared, self._shared
        assert prepared is not None and shared is not None, "start before prepare"
        environment, recorded = server_environment(prepared.environment, self._run.exports, prepared.launch.env, {})
        if self._run.simulation is None:
            names, notes = readable_names(self._run.server.engine, prepared.version, environment, self._gpus)
            environment |= names
            for note in notes:
                self._note(note)
        key_variable = self._engine.api_key_env
        own = [*recorded, *VARIABLES, *shared.secret_names, *([key_variable] if key_variable is not None else [])]
        command = prepared.command(environment, own)
        key_text = self._engine.key_file_text(self._run.server, shared.key) if shared.key is not None else None
        if key_text is not None:
            write_key_file(self._private, key_text)
        for name, text in prepared.launch.files.items():
            (self._folder / name).write_text(text, encoding="utf-8")
        hidden = hidden_values(environment, shared.secret_names, shared.key)
        write_files(command.files)
        self._cleanup = command.cleanup
        self._guardian.set_cleanup(self._token, command.cleanup)
        self._server = Server(
            command.argv, command.environment, self._folder, self._token,
            lambda text, at_s: self.inbox.put_line(ServerLine(text, at_s)),
            hidden=hidden, in_session=tracked_by_session(self._env),
        )  # fmt: skip
        leader = leader_of_its_own(self._server.pid)
        if leader is not None:
            self._guardian.set_members(self._token, [leader])

    def _report_exit(self, server: Server) -> None:
        """Report the exit of the server, after its last lines."""
        exit_code = server.exit_code()
        if exit_code is not None and not self._exit_reported:
            self._exit_reported = True
            server.drain()
            for message in self.inbox.take(0.0):
                if isinstance(message, ServerLine):
                    self._link.send("line", droppable=True, text=message.text)
                elif isinstance(message, ProcessEnded):
                    self._died(message)
                else:
                    self.inbox.put(message)
            self._link.send("exited", exit_code=exit_code)

    def _report(self, watch: StallWatch, deaths: DeathWatch) -> None:
        """Report signals and processes."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._every_s
        members = self._family.living()
        if self._server is None and self._cpu and not members and not self._exit_reported:
            self._exit_reported = True
            self._link.send("exited", exit_code=None)  # only the MPI launcher has it
        roles = self._observer.roles(members)
        deaths.follow(members, roles)
        signals = watch.update(self._observer.snapshot(members, with_cache=False), self._situation)
        uses = self._observer.uses(members, watch, {}, {}, self._clock)
        states = self._gpus.states()
        self._link.send(
            "report",
            progress=signals.progress,
            activity=signals.activity,
            uses=[
                {
                    "pid": use.pid,
                    "role": use.role.kind.value,
                    "name": use.role.name,
                    "state": use.state,
                    "cores": use.cores,
                    "quiet_s": use.quiet_s,
                    "ready": use.ready,
                }
                for use in uses
            ],
            gpus=[{**vars(state), "processes": {}} for state in states],
        )
        self._cpu = {process.pid: process.cpu_s for process in members}
        marks = [(process.pid, process.started, mark_of(process)) for process in members]
        self._guardian.set_members(self._token, marks)

    def _sample(self) -> None:
        """Continue the sampling of stacks, and send its result."""
        if self._confirmation is None:
            return
        result = self._confirmation.step(time.monotonic(), self._situation)
        if result is None:
            return
        self._confirmation = None
        roles = self._observer.roles([p for p in self._family.living() if p.pid in result.activity])
        self._link.send(
            "stacks",
            stacks=[
                {
                    "pid": pid,
                    "role": roles[pid].kind.value,
                    "name": roles[pid].name,
                    "activity": result.activity[pid].value,
                    "function": result.functions.get(pid, ""),
                }
                for pid in roles
            ],
        )

    def _died(self, ended: ProcessEnded) -> None:
        """Report that a process has ended, and how long ago: of several nodes the clocks may differ."""
        self._link.send("died", pid=ended.pid, role=str(ended.role), ago_s=time.monotonic() - ended.at_s)

    def _refuse(self, verdict: AttemptVerdict) -> None:
        self._link.send(
            "refused", outcome=verdict.kind.value, code=verdict.code, reason=verdict.reason,
            decided_by=verdict.decided_by, hint=verdict.hint, evidence=list(verdict.evidence),
        )  # fmt: skip

    def _note(self, note: Note) -> None:
        self._link.send("note", code=note.code, text=note.text)

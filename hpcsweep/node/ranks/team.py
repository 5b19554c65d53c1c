"""The other nodes of a server on several nodes, as the head agent sees them."""

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hpcsweep.engines.base import Engine, Placement
from hpcsweep.engines.logs.prefixes import rank_of_line
from hpcsweep.engines.logs.reader import PhaseSeen
from hpcsweep.launchers.base import NodeSlot
from hpcsweep.node.process.gpus import GpuState
from hpcsweep.node.process.roles import ProcessRole
from hpcsweep.node.ranks import verdicts
from hpcsweep.node.ranks.context import TeamContext
from hpcsweep.node.ranks.files import (
    ENVIRONMENT_FILE,
    LINK_FILE,
    EnvironmentFile,
    LinkFile,
    write_private,
)
from hpcsweep.node.ranks.images import compare_images
from hpcsweep.node.ranks.link import Link
from hpcsweep.node.ranks.network import (
    LOOPBACK,
    candidates,
    common_address,
    free_port_on,
    interface_of,
    interfaces,
    reaches,
)
from hpcsweep.node.ranks.remote import RemoteRank
from hpcsweep.node.ranks.starting import Doorkeeper, LaunchedRanks
from hpcsweep.node.ranks.verdicts import Departure
from hpcsweep.node.record.notes import Note
from hpcsweep.node.records import ranks_dir
from hpcsweep.node.setup.engine_identity import RunImage
from hpcsweep.node.setup.environment import shared_environment
from hpcsweep.node.watch.inbox import RankMessage
from hpcsweep.node.watch.others import NodeSamples, OtherNodes
from hpcsweep.node.watch.outcome import AttemptVerdict, Ended, server_exited
from hpcsweep.node.watch.stacks import StackActivity
from hpcsweep.node.watch.stall import ProgressSignals, Situation
from hpcsweep.node.watch.stall_cause import RankUse
from hpcsweep.spec.phases import STARTUP_PHASES, OutcomeKind, Phase

_CONNECT_S = 180.0
"""Time for an agent to start on its node and connect; Python's imports from a busy file system take a minute."""
_SETTLE_S = 3.0
_LOST_S = 1.0  # a scheduler that ends the job signals this agent at about the same time
_SAME_MOMENT_S = 0.5
_DEAD_RANK_S = 30.0
_DIAGNOSE_S = 75.0
_STOP_S, _HURRIED_STOP_S = 15.0, 2.0
"""Time for a node to report the end of its part, besides the grace period."""
_END_S, _HURRIED_END_S = 5.0, 0.5
"""Time for a launcher to end by itself, and after each signal."""


class RankTeam(OtherNodes):
    """Starts an agent on each other node (`remotes`), passes on reports, and ends it. `ended`: it was asked to."""

    exist = True

    def __init__(self, context: TeamContext, engine: Engine) -> None:
        self._context, self.nodes, self.ended = context, context.nodes, False
        self._one_mpi_job = engine.one_mpi_job
        self._ranks_per_node = max(1, engine.settings(context.run.server).gpus // len(context.nodes))
        self._launched = LaunchedRanks(context.launcher, context.attempt_dir, context.env)
        self._doorkeeper: Doorkeeper | None = None
        self._departures: list[Departure] = []
        self.remotes = [
            RemoteRank(rank, node, engine, lambda body, rank: context.inbox.put(RankMessage(rank, body)))
            for rank, node in enumerate(context.nodes)
            if rank > 0
        ]
        self._known = interfaces()
        self._address, self._port = "", 0

    def gather(self) -> None:
        """Start the agents, and wait until each has connected. Raises Ended, OSError."""
        context, token = self._context, secrets.token_hex(24)
        self._doorkeeper = door = Doorkeeper(token, self._attach)
        offered = [LOOPBACK] if context.launcher.one_machine else candidates(self._known, context.env)
        link = LinkFile(os.getpid(), token, door.port, offered, str(context.job_dir), context.run.label)
        write_private(ranks_dir(context.attempt_dir) / LINK_FILE, link)
        for remote in self.remotes:
            if self.ended:  # the attempt ended meanwhile, in the main thread
                return
            try:
                self._launched.start(NodeSlot(remote.node, remote.rank))
            except OSError as exc:
                name = context.launcher.name
                raise Ended(verdicts.launcher_failed(remote.node, name, 127, [str(exc)])) from exc
            context.not_server_pids.update(self._launched.pids)
        hellos = [self._hello(remote) for remote in self.remotes]
        address = common_address(offered, [hello["reachable"] for hello in hellos])
        if address is None:
            raise Ended(verdicts.no_common_address(offered))
        self._address, self._port = address, free_port_on(address)
        for remote, hello in zip(self.remotes, hellos, strict=True):
            if not reaches(hello["addresses"][address], hello["port"]):
                raise Ended(verdicts.unreachable(context.nodes[0], [remote.node]))

    def placement(self) -> Placement:
        """Return the place of the part on this node."""
        return self._placement(0, self._address)

    def prepare(
        self, environment: Mapping[str, str], secret_names: Sequence[str], key: str | None, *,
        ours: tuple[str | None, RunImage | None], **more: Any,
    ) -> list[Note]:  # fmt: skip
        """Prepare the start on all other nodes: the checks of this node are made there too. Return their notes.

        `ours`: version and image of the engine on this node. `more`: for the agents. Raises Ended, OSError.
        """
        context = self._context
        notes: list[Note] = []
        path = ranks_dir(context.attempt_dir) / ENVIRONMENT_FILE
        write_private(path, EnvironmentFile(os.getpid(), shared_environment(environment), list(secret_names), key))
        peers = {}
        for remote in self.remotes:
            hello = remote.reply("hello") or {}
            peers[remote.node] = [hello["addresses"][self._address], hello["port"]]
        for remote in self.remotes:
            hello = remote.reply("hello") or {}
            placement = self._placement(remote.rank, hello["addresses"][self._address], hello["interfaces"])
            others = {node: where for node, where in peers.items() if node != remote.node}
            remote.ask("prepare", "prepared", "refused", placement=asdict(placement), peers=others, **more)
        for remote in self.remotes:
            answer = remote.wait("prepared", "refused", within_s=more["startup_s"], give_up=lambda: self.ended)
            if answer is None:
                silent = f"no message for {remote.link.silent_s:.0f} s" if remote.link and remote.silent else ""
                why = remote.lost or silent or "its checks took longer than the startup budget"
                raise Ended(verdicts.node_lost(remote.node, remote.rank, why, Phase.LAUNCH, self._output(remote)))
            if answer["kind"] == "refused":
                raise Ended(verdicts.refused(answer, remote.node))
            if answer["unreachable"]:
                raise Ended(verdicts.unreachable(remote.node, answer["unreachable"]))
            if answer["version"] != ours[0]:
                engine = context.run.server.engine
                raise Ended(verdicts.other_version(engine, ours[0], remote.node, answer["version"]))
            notes += compare_images(ours[1], answer["image"], remote.node)
            notes += [Note(note["code"], f"node {remote.node}: {note['text']}") for note in answer["notes"]]
        path.unlink(missing_ok=True)
        return notes

    def start(self) -> None:
        """Start the parts of the server on all other nodes."""
        for remote in self.remotes:
            remote.send("start")

    def stop(self, grace_s: float) -> None:
        """Ask the other nodes to end their part, without waiting."""
        self.ended = True
        for remote in self.remotes:
            remote.ask("stop", "ended", grace_s=grace_s)

    def end(self, grace_s: float, *, hurry: bool) -> tuple[list[str], list[str]]:
        """Wait until all parts have ended; return the killed and the unkillable processes, as `PID NAME on NODE`.

        `hurry`: the scheduler leaves only seconds. A node that has been silent is not waited for: its agent ends its
        part when it misses the connection.
        """
        killed, left = [], []
        for remote in self.remotes:
            if remote.link is None or remote.silent:
                continue
            within_s = grace_s + (_HURRIED_STOP_S if hurry else _STOP_S)
            answer = remote.wait("ended", within_s=within_s, give_up=lambda: False)
            if answer is not None:
                killed += [f"{process} on {remote.node}" for process in answer["killed"]]
                left += [f"{process} on {remote.node}" for process in answer["left"]]
        for remote in self.remotes:
            if remote.link is not None:
                remote.link.close(_HURRIED_END_S if hurry else _END_S)
        if self._doorkeeper is not None:
            self._doorkeeper.close()
        self._launched.end(_HURRIED_END_S if hurry else _END_S)
        for name in (LINK_FILE, ENVIRONMENT_FILE):
            with contextlib.suppress(OSError):
                (ranks_dir(self._context.attempt_dir) / name).unlink(missing_ok=True)
        return killed, left

    @property
    def launcher_pids(self) -> list[int]:
        """Pids of the launchers, children of this agent that do not belong to the server."""
        return self._launched.pids

    @property
    def scratch(self) -> list[Path]:
        """Files that the guardian removes if this agent is killed."""
        return [ranks_dir(self._context.attempt_dir) / name for name in (LINK_FILE, ENVIRONMENT_FILE)]

    # What the supervisor asks: see OtherNodes.

    def handle(self, message: Mapping[str, Any], rank: int, at_s: float) -> None:
        """Handle an event of another node."""
        remote = self.remotes[rank - 1]
        kind = message["kind"]
        if kind == "line":
            self._line(remote, str(message["text"]))
        elif kind == "report":
            remote.take_report(message)
        elif kind == "died":
            # The messages of one node arrive in order, with delays that differ.
            ended_at_s = max(at_s - message["ago_s"], *(d.at_s for d in self._departures if d.rank == rank), 0.0)
            self._departures.append(Departure(ended_at_s, rank, remote.node, message["pid"], message["role"]))
        elif kind == "exited":
            remote.exit_code, remote.exited_at_s = message["exit_code"], at_s
        elif kind == "lost" and remote.lost is None:
            remote.lost, remote.lost_at_s = str(message["reason"]), at_s
        elif kind == "note":
            self._context.warn(message["code"], f"node {remote.node}: {message['text']}")

    def line(self, text: str) -> None:
        """Take a line of the log of the first node, which has those of all ranks of an MPI job."""
        rank = rank_of_line(text) if self._one_mpi_job else None
        node = rank // self._ranks_per_node if rank is not None else 0
        if 0 < node <= len(self.remotes):
            self._line(self.remotes[node - 1], text)

    def died(self, pid: int, role: ProcessRole, at_s: float) -> None:
        """Note the end of a process on this node."""
        self._departures.append(Departure(at_s, 0, self._context.nodes[0], pid, str(role)))

    def check(self) -> None:
        """Raise Ended when a part has ended, or a node is lost."""
        now_s = time.monotonic()
        for remote in self.remotes:
            refused = remote.reply("refused")
            if refused is not None:
                raise Ended(verdicts.refused(refused, remote.node))
            if remote.lost is not None and now_s - remote.lost_at_s >= _LOST_S:
                raise Ended(
                    verdicts.node_lost(remote.node, remote.rank, remote.lost, self._phase(remote), self._output(remote))
                )
        # The launcher of an MPI job reports its end to the agent of the first node, with the exit code.
        exits = [] if self._one_mpi_job else [remote for remote in self.remotes if remote.exited_at_s is not None]
        if exits and now_s - min(remote.exited_at_s or 0.0 for remote in exits) >= _SETTLE_S:
            first = min(exits, key=lambda remote: remote.exited_at_s or 0.0)
            raise Ended(self.explain(self._exit_of(first), first.node))
        departed = verdicts.first_departure(self._departures)
        if departed is not None and now_s - departed.at_s >= _DEAD_RANK_S:
            last_lines = self.remotes[departed.rank - 1].reader.last_lines if departed.rank else []
            phase = self._phase(self.remotes[departed.rank - 1]) if departed.rank else self._context.phase()
            raise Ended(verdicts.rank_died(departed, phase, now_s - departed.at_s, last_lines))

    def settled(self) -> bool:
        """Return whether the server has ended on all other nodes too, or they are lost."""
        return all(remote.exited_at_s is not None or remote.lost is not None for remote in self.remotes)

    def explain(self, verdict: AttemptVerdict, node: str = "") -> AttemptVerdict:
        """Return the verdict on a server that exited, judged by the log of the node whose process ended first."""
        first = verdicts.first_departure(self._departures)
        lost = self._lost(None if first is None else first.at_s)
        if lost is not None:
            return lost
        if first is None:
            return replace(verdict, node=node)
        if first.rank and not self._one_mpi_job:
            ours = self._exit_of(self.remotes[first.rank - 1])
            if ours.kind is not OutcomeKind.CRASHED or verdict.kind is OutcomeKind.CRASHED:
                verdict = ours
        return verdicts.ended_first(first, verdict)

    def lost(self) -> AttemptVerdict | None:
        """Return the verdict on a node that does not answer any more; None: all nodes answer."""
        return self._lost(None)

    def _lost(self, first_at_s: float | None) -> AttemptVerdict | None:
        """Return the verdict on a node that was lost before a process is known to have ended; None: none was.

        `first_at_s`: when that process ended; None: none is known to have ended.
        """
        for remote in self.remotes:
            why = remote.lost
            if why is not None and (first_at_s is None or remote.lost_at_s <= first_at_s + _SAME_MOMENT_S):
                return verdicts.node_lost(remote.node, remote.rank, why, self._phase(remote), self._output(remote))
            if first_at_s is None and why is None and remote.silent and remote.link is not None:
                why = f"no message for {remote.link.silent_s:.0f} s"
                return verdicts.node_lost(remote.node, remote.rank, why, self._phase(remote), self._output(remote))
        return None

    def signals(self) -> ProgressSignals:
        """Return the signals of all other nodes since the last call."""
        signals = [remote.signals() for remote in self.remotes]
        progress = dict.fromkeys(name for of_node in signals for name in of_node.progress)
        activity = dict.fromkeys(name for of_node in signals for name in of_node.activity)
        return ProgressSignals(tuple(progress), tuple(activity))

    def beat(self, *, progress: bool, situation: Situation) -> None:
        """Report to the other nodes whether the server progresses, and what it has to do."""
        for remote in self.remotes:
            remote.send("beat", progress=progress, situation=situation.value)

    def uses(self, samples: NodeSamples) -> list[RankUse]:
        """Return what each process on other nodes has used since the last progress."""
        return [use for remote in self.remotes for use in remote.uses(samples, self._context.clock.scaled)]

    def take_samples(self, gap_s: float) -> None:
        """Ask for two samples of all stacks."""
        for remote in self.remotes:
            remote.ask("sample", "stacks", gap_s=gap_s)

    def samples(self) -> NodeSamples | None:
        """Return the samples of all other nodes; None: not all have arrived."""
        activity: dict[str, StackActivity] = {}
        roles: dict[str, ProcessRole] = {}
        functions: dict[str, str] = {}
        for remote in self.remotes:
            samples = remote.samples()
            if samples is None:
                return None
            activity |= samples.activity
            roles |= samples.roles
            functions |= samples.functions
        return NodeSamples(activity, roles, functions)

    def diagnose(self, summary: str, hurry: Callable[[], bool]) -> list[str]:
        """Collect diagnostics on all other nodes; return the names of their files."""
        written = []
        for remote in self.remotes:
            remote.ask("diagnose", "diagnosed", summary=summary)
        for remote in self.remotes:
            answer = remote.wait("diagnosed", within_s=_DIAGNOSE_S, give_up=hurry)
            if answer is not None:
                written += [f"ranks/{remote.rank}/diagnostics/{name}" for name in answer["files"]]
        return written

    def gpu_states(self) -> list[GpuState]:
        """Return the GPUs of the other nodes at the last report."""
        return [state for remote in self.remotes for state in remote.gpus]

    def _attach(self, rank: int, link: Link) -> None:
        waiting = (remote for remote in self.remotes if remote.rank == rank and remote.link is None)
        remote = next(waiting, None)
        if remote is None or self.ended:
            link.close(0.0)
            return
        remote.attach(link)

    def _hello(self, remote: RemoteRank) -> Mapping[str, Any]:
        name, deadline_s = self._context.launcher.name, time.monotonic() + _CONNECT_S
        while (hello := remote.reply("hello")) is None:
            exit_code = self._launched.exit_code(remote.rank)
            if exit_code is not None and remote.link is None:
                raise Ended(verdicts.launcher_failed(remote.node, name, exit_code, self._output(remote)))
            if time.monotonic() > deadline_s or self.ended:
                raise Ended(verdicts.not_connected(remote.node, _CONNECT_S, name, self._output(remote)))
            time.sleep(0.05)
        return hello

    def _placement(self, rank: int, own: str, known: Mapping[str, str] | None = None) -> Placement:
        return Placement(
            nodes=len(self._context.nodes),
            rank=rank,
            address=self._address,
            port=self._port,
            own_address=own,
            interface=interface_of(own, self._known if known is None else known),
            hosts=() if self._context.launcher.one_machine else tuple(self._context.nodes),
        )

    def _line(self, remote: RemoteRank, text: str) -> None:
        journal, t_s = self._context.journal, self._context.clock.t_s()
        where: dict[str, Any] = {"rank": remote.rank, "node": remote.node}
        for seen in remote.reader.feed(text, t_s):
            if isinstance(seen, PhaseSeen):
                remote.phase = seen.phase
                fields: dict[str, Any] = {"phase": seen.phase, "evidence": seen.evidence}
                journal.event("rank_phase", t_s=t_s, **where, **fields)
            elif remote.facts.get(seen.name) != seen.value:
                remote.facts[seen.name] = seen.value
                fields = {"name": seen.name, "value": seen.value, "unit": seen.unit, "evidence": seen.evidence}
                journal.event("rank_fact", t_s=t_s, **where, **fields)

    def _exit_of(self, remote: RemoteRank) -> AttemptVerdict:
        """Return the verdict on the exit of the part on another node. Its exit code may not have arrived."""
        reader = remote.reader
        exit_code = remote.exit_code if remote.exit_code is not None else 1
        return server_exited(exit_code, self._phase(remote), reader.failure, reader.last_lines or self._output(remote))

    def _phase(self, remote: RemoteRank) -> Phase:
        """Return the phase of another node. Its own log has no more of them once the server is ready."""
        phase = self._context.phase()
        return remote.phase if phase.value in STARTUP_PHASES else phase

    def _output(self, remote: RemoteRank) -> list[str]:
        return remote.reader.last_lines or self._launched.output(remote.rank)

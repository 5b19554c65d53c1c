"""What the head agent has of the part of a server on one other node."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from hpcsweep.engines.base import LogPatterns
from hpcsweep.engines.logs.reader import LogReader
from hpcsweep.node.process.gpus import GpuState
from hpcsweep.node.process.roles import ProcessKind, ProcessRole
from hpcsweep.node.ranks.link import PING_EVERY_S, Link
from hpcsweep.node.watch.others import NO_SAMPLES, NodeSamples
from hpcsweep.node.watch.stacks import StackActivity
from hpcsweep.node.watch.stall import ProgressSignals
from hpcsweep.node.watch.stall_cause import RankUse
from hpcsweep.spec.phases import Phase

_REPLIES = frozenset({"hello", "prepared", "refused", "stacks", "diagnosed", "reduced", "ended"})
"""Messages that answer a question of the head agent; all others are events."""


_MISSED_S = 3 * PING_EVERY_S


class RemoteRank:
    """One other node. `exit_code`: of its server; None: it runs, or was not started. `lost`: why it is lost."""

    def __init__(self, rank: int, node: str, patterns: LogPatterns, on_event: Callable[[Mapping[str, Any], int], None]):
        self.rank, self.node = rank, node
        self.reader = LogReader(patterns)
        self.phase = Phase.LAUNCH
        self.facts: dict[str, float | str] = {}
        self.link: Link | None = None
        self.exit_code: int | None = None
        self.exited_at_s: float | None = None
        self.lost: str | None = None
        self.lost_at_s = 0.0
        self.gpus: list[GpuState] = []
        self._on_event = on_event
        self._replies: dict[str, Mapping[str, Any]] = {}
        self._arrived = threading.Condition()
        self._progress: dict[str, None] = {}
        self._activity: dict[str, None] = {}
        self._uses: list[Mapping[str, Any]] = []

    @property
    def silent(self) -> bool:
        """Return whether the node has missed several messages, so that it should not be waited for."""
        return self.link is not None and self.link.silent_s >= _MISSED_S

    def attach(self, link: Link) -> None:
        """Use this connection from now on."""
        self.link = link
        link.start(self._receive, lambda reason: self._on_event({"kind": "lost", "reason": reason}, self.rank))

    def send(self, kind: str, **fields: Any) -> None:
        """Send a message, if the node is connected."""
        if self.link is not None and self.lost is None:
            self.link.send(kind, **fields)

    def ask(self, kind: str, *answers: str, **fields: Any) -> None:
        """Send a question; earlier answers to it are forgotten."""
        with self._arrived:
            for answer in answers:
                self._replies.pop(answer, None)
        self.send(kind, **fields)

    def reply(self, *kinds: str) -> Mapping[str, Any] | None:
        """Return the first of these answers that has arrived; None: none has."""
        with self._arrived:
            return next((self._replies[kind] for kind in kinds if kind in self._replies), None)

    def wait(self, *kinds: str, within_s: float, give_up: Callable[[], bool]) -> Mapping[str, Any] | None:
        """Return one of these answers, when it arrives.

        None: not in time, the node is lost or silent, or `give_up` returns true.
        """
        deadline_s = time.monotonic() + within_s
        while time.monotonic() < deadline_s and self.lost is None and not self.silent and not give_up():
            with self._arrived:
                answer = self.reply_now(*kinds)
                if answer is not None:
                    return answer
                self._arrived.wait(0.1)
        return self.reply(*kinds)

    def reply_now(self, *kinds: str) -> Mapping[str, Any] | None:
        """Return an answer that has arrived; the caller has the lock."""
        return next((self._replies[kind] for kind in kinds if kind in self._replies), None)

    def _receive(self, message: Mapping[str, Any]) -> None:
        if message["kind"] in _REPLIES:
            with self._arrived:
                self._replies[message["kind"]] = message
                self._arrived.notify_all()
        else:
            self._on_event(message, self.rank)

    def take_report(self, message: Mapping[str, Any]) -> None:
        """Take a report of the node: signals since the last one, use of its processes, GPUs."""
        self._progress |= dict.fromkeys(message["progress"])
        self._activity |= dict.fromkeys(message["activity"])
        self._uses = message["uses"]
        self.gpus = [GpuState(**{**state, "processes": {}}) for state in message["gpus"]]

    def signals(self) -> ProgressSignals:
        """Return the signals since the last call."""
        signals = ProgressSignals(tuple(self._progress), tuple(self._activity))
        self._progress, self._activity = {}, {}
        return signals

    def uses(self, samples: NodeSamples, scaled: Callable[[float], float]) -> list[RankUse]:
        """Return what each process has used at the last report. `scaled`: real to attempt seconds."""
        uses = []
        for use in self._uses:
            key = process_key(use["pid"], self.node)
            uses.append(
                RankUse(
                    pid=use["pid"],
                    role=ProcessRole(ProcessKind(use["role"]), use["name"]),
                    state=use["state"],
                    cores=use["cores"],
                    quiet_s=scaled(use["quiet_s"]),
                    activity=samples.activity.get(key),
                    function=samples.functions.get(key, ""),
                    ready=use["ready"],
                    node=self.node,
                )
            )
        return uses

    def samples(self) -> NodeSamples | None:
        """Return the stacks that were asked for; None: they have not arrived. A lost node has none."""
        answer = self.reply("stacks")
        if answer is None:
            return None if self.lost is None else NO_SAMPLES
        keyed = {process_key(entry["pid"], self.node): entry for entry in answer["stacks"]}
        return NodeSamples(
            {key: StackActivity(entry["activity"]) for key, entry in keyed.items()},
            {key: ProcessRole(ProcessKind(entry["role"]), entry["name"]) for key, entry in keyed.items()},
            {key: entry["function"] for key, entry in keyed.items()},
        )


def process_key(pid: int, node: str) -> str:
    """Return the text by which a process of another node is named."""
    return f"{pid}, node {node}"

"""Decide how a server on several nodes ended, and which node and rank ended first. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpcsweep.node.process.roles import ProcessKind
from hpcsweep.node.watch.outcome import EVIDENCE_LINES, AttemptVerdict
from hpcsweep.spec.phases import OutcomeKind, Phase


@dataclass(frozen=True)
class Departure:
    """A process of the server that has ended. `rank`: of its node, not of the process. `at_s`: monotonic."""

    at_s: float
    rank: int
    node: str
    pid: int
    role: str

    def __str__(self) -> str:
        return f"{self.role} (pid {self.pid}, node {self.node})"


def first_departure(departures: Sequence[Departure]) -> Departure | None:
    """Return the process that ended first; None: none is known."""
    return min(departures, key=lambda departure: departure.at_s, default=None)


def ended_first(first: Departure, verdict: AttemptVerdict) -> AttemptVerdict:
    """Return the verdict on a server that exited, with the process that ended first and its node.

    A rank that ends in the first second of its life may be unknown, so another process is not said to be the first.
    """
    how = "ended first" if first.role.startswith(ProcessKind.RANK.value) else "is the first known to have ended"
    return replace(verdict, reason=f"{first} {how}; {verdict.reason}", node=first.node)


def rank_died(first: Departure, phase: Phase, waited_s: float, last_lines: Sequence[str]) -> AttemptVerdict:
    """Return the verdict on a server whose rank has ended while the rest of it keeps running."""
    reason = f"{first} ended in phase {phase.value}, and the server still runs {waited_s:.0f} s later without it"
    return AttemptVerdict(
        OutcomeKind.CRASHED, "rank_died", reason, "the kernel: end of the process", "see its server.log in ranks/",
        tuple(last_lines[-EVIDENCE_LINES:]), node=first.node,
    )  # fmt: skip


def node_lost(node: str, rank: int, why: str, phase: Phase, evidence: Sequence[str]) -> AttemptVerdict:
    """Return the verdict on a server of which one node does not answer any more. `why`: what was seen of it."""
    silent = why.startswith("no message")
    what = f"node {node} was lost" if silent else f"the agent on node {node} ended"
    reason = f"{what} in phase {phase.value}: {why}; it ran part {rank} of the server"
    hint = "was the node rebooted, or the agent killed (dmesg, scheduler log)? `hpcsweep retry` runs it again"
    code = "node_lost" if silent else "rank_agent_lost"
    decided_by = f"the connection to the agent on {node}"
    return AttemptVerdict(
        OutcomeKind.LOST, code, reason, decided_by, hint, tuple(evidence[-EVIDENCE_LINES:]), node=node
    )


def not_connected(node: str, within_s: float, launcher: str, output: Sequence[str]) -> AttemptVerdict:
    """Return the verdict on a node whose agent did not connect to the head agent. `output`: of the launcher."""
    reason = f"the agent on node {node} did not connect within {within_s:.0f} s of its start with {launcher}"
    hint = "is HPCSWEEP_HOME mounted there, and may its processes connect to ports of the first node?"
    return AttemptVerdict(
        OutcomeKind.FAILED, "rank_not_connected", reason, f"preflight: {launcher}", hint, tuple(output), node=node
    )


def launcher_failed(node: str, launcher: str, exit_code: int, output: Sequence[str]) -> AttemptVerdict:
    """Return the verdict on a launcher that ended before the agent on its node connected."""
    reason = f"{launcher} could not start the agent on node {node}: exit code {exit_code}"
    hint = "`launcher` in the cluster profile names another one; ranks/ has its output"
    return AttemptVerdict(
        OutcomeKind.FAILED, "launcher_failed", reason, f"preflight: {launcher}", hint, tuple(output), node=node
    )


def no_common_address(offered: Sequence[str]) -> AttemptVerdict:
    """Return the verdict on nodes that cannot all reach the first node at one address."""
    reason = f"no address of the first node can be reached from all other nodes: tried {', '.join(offered)}"
    hint = "name the network between the nodes in `env` of the cluster profile: NCCL_SOCKET_IFNAME"
    return AttemptVerdict(OutcomeKind.FAILED, "nodes_unreachable", reason, "preflight: network", hint)


def unreachable(node: str, others: Sequence[str]) -> AttemptVerdict:
    """Return the verdict on a node that cannot connect to ports of `others`."""
    reason = f"node {node} cannot connect to a port of {', '.join(others)}"
    hint = "a firewall between the nodes? Engines use ports that the system chooses"
    return AttemptVerdict(OutcomeKind.FAILED, "nodes_unreachable", reason, "preflight: network", hint, node=node)


def other_version(engine: str, ours: str | None, node: str, theirs: str | None) -> AttemptVerdict:
    """Return the verdict on a node with another version of the engine."""
    reason = f"the first node has {engine} {ours or 'of unknown version'}, node {node} has {theirs or 'an unknown one'}"
    hint = "install the engine where all nodes see the same files, or set its path in the profile (engines:)"
    return AttemptVerdict(
        OutcomeKind.FAILED, "engine_versions_differ", reason, "preflight: version of the engine", hint, node=node
    )


def other_image(image: str, ours: str, node: str, theirs: str) -> AttemptVerdict:
    """Return the verdict on a node with another container image. `ours`, `theirs`: the property that differs."""
    reason = f"image {image}: the first node has {ours}, node {node} has {theirs}"
    hint = "use an image file that all nodes share, or the same digest: NAME@sha256:..."
    return AttemptVerdict(
        OutcomeKind.FAILED, "engine_images_differ", reason, "preflight: image of the engine", hint, node=node
    )


def refused(message: Mapping[str, Any], node: str) -> AttemptVerdict:
    """Return the verdict that the agent of another node has sent."""
    reason = f"node {node}: {message['reason']}"
    return AttemptVerdict(
        OutcomeKind(message["outcome"]), message["code"], reason, message["decided_by"], message["hint"],
        tuple(message["evidence"]), node=node,
    )  # fmt: skip

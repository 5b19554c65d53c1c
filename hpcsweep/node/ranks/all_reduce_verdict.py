"""Judge the all-reduce check by what each node reported. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcsweep.node.ranks.all_reduce_part import LOG_NAME, NodeReduced
from hpcsweep.node.ranks.all_reduce_script import STAGES, UNAVAILABLE, WRONG_SUM
from hpcsweep.node.record.notes import Note
from hpcsweep.node.watch.outcome import AttemptVerdict, exit_text
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.units import counted, format_bytes, format_duration

_DECIDED_BY = "preflight: all-reduce over the nodes"
_STAGE_WORDS = {
    "import": "imports torch",
    "connect": "waits for the other processes",
    "reduce": "is in the first all-reduce",
    "measure": "measures the bandwidth",
    "done": "has finished",
}
_WRONG_HINT = (
    "a GPU or a link is faulty: report it to the site, and exclude the nodes (`exclude` in the cluster profile)"
)
_BYTES_PER_GB = 1e9
"""nccl-tests prints GB/s, with 1e9 bytes in a GB."""


@dataclass(frozen=True)
class Fact:
    """A fact of the attempt."""

    name: str
    value: float | str
    unit: str = ""


@dataclass(frozen=True)
class Reduced:
    """The result of the check: facts, or notes why there are none."""

    facts: list[Fact] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def unavailable(reports: Mapping[str, NodeReduced]) -> Note | None:
    """Return a note when a node has no torch; None: all have it, as far as is known."""
    without = [f"{node}: {report.error}" for node, report in reports.items() if report.exit_code == UNAVAILABLE]
    if not without:
        return None
    text = f"the all-reduce over the nodes was not checked, because torch cannot be used: {'; '.join(without)}"
    return Note("all_reduce_unavailable", text)


def failed(reports: Mapping[str, NodeReduced], interface: str) -> AttemptVerdict:
    """Return the verdict on a check that failed on some nodes. A node is at fault if it failed alone."""
    failures = {node: report for node, report in reports.items() if report.exit_code}
    whys = "; ".join(f"{node}: {report.error or exit_text(report.exit_code or 0)}" for node, report in failures.items())
    wrong = any(report.exit_code == WRONG_SUM for report in failures.values())
    code, how = ("all_reduce_wrong", "has a wrong result") if wrong else ("all_reduce_failed", "failed")
    reason = f"the all-reduce over {counted(len(reports), 'node')} {how} on {whys}"
    hint = _WRONG_HINT if wrong else _hint(interface)
    evidence = tuple(line for report in failures.values() for line in report.last_lines)
    node = next(iter(failures)) if len(failures) == 1 else ""
    return AttemptVerdict(OutcomeKind.FAILED, code, reason, _DECIDED_BY, hint, evidence, node=node)


def timed_out(reports: Mapping[str, NodeReduced], within_s: float, interface: str) -> AttemptVerdict:
    """Return the verdict on a check that has not finished. A node is at fault if it alone is furthest behind."""
    unfinished = {node: report for node, report in reports.items() if report.exit_code is None}
    where = "; ".join(f"{node} {_STAGE_WORDS[report.stage]}" for node, report in unfinished.items())
    reason = (
        f"the all-reduce over {counted(len(reports), 'node')} did not end within {format_duration(within_s)}: {where}"
    )
    last = min((report.stage for report in unfinished.values()), key=STAGES.index, default=STAGES[0])
    behind = [node for node, report in unfinished.items() if report.stage == last]
    evidence = tuple(line for report in unfinished.values() for line in report.last_lines)
    hint = (
        _hint(interface) if last != STAGES[0] else "raise `preflight: {all_reduce_budget: ...}` in the cluster profile"
    )
    return AttemptVerdict(
        OutcomeKind.FAILED, "all_reduce_timeout", reason, _DECIDED_BY, hint, evidence,
        node=behind[0] if len(behind) == 1 else "",
    )  # fmt: skip


def measured(result: Mapping[str, Any], nodes: int, interface: str) -> Reduced:
    """Return the facts of a check that succeeded."""
    backend = f"{result['backend']} {result['backend_version']}".strip()
    where = f"{counted(int(result['ranks']), 'rank')} on {counted(nodes, 'node')}"
    network = result["interface"] or interface or "not known"
    text = f"{backend}, {where}, {format_bytes(int(result['bytes']))}, interface {network}"
    return Reduced(
        [
            Fact("all_reduce", text),
            Fact("all_reduce_algbw", float(result["algbw_bytes_per_s"]) / _BYTES_PER_GB, "GB/s"),
            Fact("all_reduce_busbw", float(result["busbw_bytes_per_s"]) / _BYTES_PER_GB, "GB/s"),
        ]
    )


def _hint(interface: str) -> str:
    used = f"interface {interface} was used" if interface else "the interface is not known"
    return (
        f"{used}: name another one in `env` of the cluster profile (NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME), and ask "
        f"the site whether a firewall is between the nodes; {LOG_NAME} has the output, also in ranks/"
    )

"""Nodes on which different variants failed for reasons that the node may have caused."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpcsweep.analysis.rows import AttemptRow, RunRow
from hpcsweep.spec.phases import OutcomeKind

NODE_REASONS = frozenset(
    {OutcomeKind.LOST, OutcomeKind.CRASHED, OutcomeKind.STALLED, OutcomeKind.MODEL_NOT_FOUND, OutcomeKind.PORT_IN_USE}
)
"""Outcomes that a node may cause."""

VARIANTS_NEEDED = 2
"""Number of different variants that must have failed on a node before it is suspected."""


@dataclass(frozen=True)
class BadNode:
    """A suspected node and the reason.

    `variants`: how many failed there. `outcomes`: how they ended.
    """

    node: str
    variants: int
    outcomes: tuple[OutcomeKind, ...]

    @property
    def reason(self) -> str:
        """The reason in words."""
        return f"{self.variants} variants failed there ({', '.join(kind.value for kind in self.outcomes)})"


def bad_nodes(runs: Sequence[RunRow]) -> list[BadNode]:
    """Return the nodes on which at least two variants failed for such a reason and none completed, the worst first."""
    failed: dict[str, dict[str, OutcomeKind]] = {}
    good: set[str] = set()
    begun = {attempt.job_id for run in runs for attempt in run.attempts}
    for run in runs:
        for node, outcome in _ends(run, begun):
            if outcome is OutcomeKind.COMPLETED:
                good.add(node)
            elif outcome in NODE_REASONS or outcome is OutcomeKind.NOT_RUN:
                failed.setdefault(node, {})[run.variant_id] = outcome
    suspects = [(node, kinds) for node, kinds in failed.items() if len(kinds) >= VARIANTS_NEEDED and node not in good]
    suspects.sort(key=lambda item: -len(item[1]))
    return [
        BadNode(node, len(kinds), tuple(sorted(set(kinds.values()), key=lambda kind: kind.value)))
        for node, kinds in suspects
    ]


def _ends(run: RunRow, begun: set[str | None]) -> Iterator[tuple[str, OutcomeKind]]:
    """Yield (node, outcome) of each end of a run. `begun`: jobs in which an agent started.

    Ends that no agent could record come from the scheduler: the node was lost, or it started the job but never the
    agent (`not_run`). Such a node drains the queue, failing one waiting job after another.
    """
    for attempt in run.attempts:
        if attempt.host is not None and attempt.outcome is not None:
            for node in _nodes_of(attempt):
                yield node, attempt.outcome
    if run.source != "scheduler" or run.node is None or run.outcome is None:
        return
    if run.outcome is not OutcomeKind.NOT_RUN or run.job not in begun:
        yield run.node, run.outcome


def _nodes_of(attempt: AttemptRow) -> tuple[str, ...]:
    """Return the nodes to which the end of an attempt is attributed.

    Several nodes have all served when the attempt completed; when it did not, one of them may be at fault, but only one
    that was named is counted.
    """
    if attempt.node is not None:
        return (attempt.node,)
    if len(attempt.nodes) > 1:
        return attempt.nodes if attempt.outcome is OutcomeKind.COMPLETED else ()
    return (attempt.host,) if attempt.host is not None else ()

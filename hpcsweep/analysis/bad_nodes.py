"""Nodes on which different variants failed for a reason of the node."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpcsweep.analysis.rows import RunRow
from hpcsweep.spec.phases import OutcomeKind

NODE_REASONS = frozenset(
    {OutcomeKind.LOST, OutcomeKind.CRASHED, OutcomeKind.STALLED, OutcomeKind.MODEL_NOT_FOUND, OutcomeKind.PORT_IN_USE}
)
"""Outcomes that a node may be the cause of."""

VARIANTS_NEEDED = 2
"""Different variants that must have failed on a node, and none completed there, before it is named."""


@dataclass(frozen=True)
class BadNode:
    """A node, and why it is suspected."""

    node: str
    reason: str


def bad_nodes(runs: Sequence[RunRow]) -> list[BadNode]:
    """Nodes on which at least two variants failed for a node's reason and none completed, the worst first."""
    failed: dict[str, dict[str, OutcomeKind]] = {}
    good: set[str] = set()
    for run in runs:
        for attempt in run.attempts:
            if attempt.host is None or attempt.outcome is None:
                continue
            if attempt.outcome is OutcomeKind.COMPLETED:
                good.add(attempt.host)
            elif attempt.outcome in NODE_REASONS:
                failed.setdefault(attempt.host, {})[run.variant_id] = attempt.outcome
    suspects = [(node, kinds) for node, kinds in failed.items() if len(kinds) >= VARIANTS_NEEDED and node not in good]
    suspects.sort(key=lambda item: -len(item[1]))
    return [
        BadNode(node, f"{len(kinds)} variants failed there ({', '.join(sorted({k.value for k in kinds.values()}))})")
        for node, kinds in suspects
    ]

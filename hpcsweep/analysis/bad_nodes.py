"""Nodes on which different variants failed for a reason of the node."""

from collections.abc import Iterator, Sequence
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
        BadNode(node, f"{len(kinds)} variants failed there ({', '.join(sorted({k.value for k in kinds.values()}))})")
        for node, kinds in suspects
    ]


def _ends(run: RunRow, begun: set[str | None]) -> Iterator[tuple[str, OutcomeKind]]:
    """(node, outcome) of each end of a run. `begun`: jobs in which an agent began something.

    What an agent could not record, the scheduler told of: a node that was lost under it, or that started the job and
    came to no agent at all (`not_run`): such a node takes one waiting job after the other.
    """
    for attempt in run.attempts:
        if attempt.host is not None and attempt.outcome is not None:
            yield attempt.host, attempt.outcome
    if run.source != "scheduler" or run.node is None or run.outcome is None:
        return
    if run.outcome is not OutcomeKind.NOT_RUN or run.job not in begun:
        yield run.node, run.outcome

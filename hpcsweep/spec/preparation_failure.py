"""The sentence about a preparation that did not complete; read by commands that load no models."""

from collections.abc import Mapping

from hpcsweep.spec.phases import OutcomeKind

_VERBS: Mapping[OutcomeKind | None, str] = {
    OutcomeKind.CANCELLED: "was cancelled",
    OutcomeKind.PREEMPTED: "was preempted",
    OutcomeKind.LOST: "was lost",
    OutcomeKind.NOT_RUN: "did not run",
}


def failure_text(name: str, outcome: OutcomeKind | None, reason: str) -> str:
    """Return `preparation weights failed: exit code 1: ...`."""
    verb = _VERBS.get(outcome, "failed")
    return f"preparation {name} {verb}: {reason}" if reason else f"preparation {name} {verb}"

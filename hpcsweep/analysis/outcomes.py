"""How the end of a run is worded, in one place."""

from hpcsweep.spec.phases import OutcomeKind, Phase


def outcome_text(outcome: OutcomeKind | None, phase: Phase | None) -> str:
    """Return `completed`, `stalled in compile`, or `outcome not known`."""
    if outcome is None:
        return "outcome not known"
    if phase is None or outcome is OutcomeKind.COMPLETED:
        return outcome.value
    return f"{outcome.value} in {phase.value}"

"""The wording of states and outcomes, the same in status, show and reports."""

from hpcsweep.spec.phases import OutcomeKind, Phase, RunState


def outcome_text(outcome: OutcomeKind | None, state: RunState, phase: Phase | None = None) -> str:
    """Return `completed`, `out of memory`, `stalled in compile`; the state of a run that has not ended."""
    if outcome is None:
        return state.value
    text = outcome.value.replace("_", " ")
    return text if phase is None or outcome is OutcomeKind.COMPLETED else f"{text} in {phase.value}"

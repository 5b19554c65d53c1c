"""What is known of a run, and the verdict on it."""

from dataclasses import dataclass

from hpcsweep.spec.phases import OutcomeKind, RunState


@dataclass(frozen=True)
class RunEvidence:
    """What the run folder says of a run, for its latest attempt.

    `began`: an attempt was taken. `outcome`: the agent's own word of how it ended, None: no word. `not_run`: the
    agent said that it did not get to this run, with the reason. `attempt`: number of the latest attempt, 0: none.
    `known_attempts`: attempts that were there when the latest job was submitted; a new one must be above it. `hint`:
    the agent's own. `exit_code`: of the server; negative: that signal ended it. `silent`: its job has
    not printed anything, so that its script has not started.
    """

    attempt: int = 0
    outcome: OutcomeKind | None = None
    reason: str = ""
    not_run: str | None = None
    known_attempts: int = 0
    owner_alive: bool | None = None
    hint: str = ""
    exit_code: int | None = None
    silent: bool = False


@dataclass(frozen=True)
class RunVerdict:
    """Where a run stands. `settled_by`: the witness that decided, for `hpcsweep status`.

    `awaits_scheduler`: the scheduler may still report a better reason when the job has ended.
    """

    state: RunState
    outcome: OutcomeKind | None = None
    reason: str = ""
    hint: str = ""
    source: str = ""
    awaits_scheduler: bool = False

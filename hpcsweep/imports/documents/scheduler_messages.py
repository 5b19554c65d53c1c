"""Read a scheduler's messages about a job: rejections, states, reasons for waiting, exit codes. Pure.

Meanings and hints come from `hpcsweep.schedulers`.
"""

import re
from dataclasses import dataclass, field

from hpcsweep.schedulers.pbs.exit_codes import ending
from hpcsweep.schedulers.pbs.refusals import hint_for
from hpcsweep.schedulers.pbs.status import never_hint
from hpcsweep.schedulers.slurm.reasons import meaning, refusal_hint, state_hint, waiting
from hpcsweep.spec.phases import OutcomeKind

_SLURM = re.compile(
    r"^(?:(?:sbatch|salloc|srun|squeue|sacct|scontrol): (?:error|fatal): )(?P<words>.+)$"
    r"|^(?P<bare>Batch job submission failed: .+|Unable to allocate resources: .+)$"
)
_PBS = re.compile(r"^(?:qsub|qstat|qalter|qdel|qhold|qrls): (?P<words>.+)$")
_SHOWN_JOB = re.compile(r"\bJobState=(?P<state>\S+) Reason=(?P<reason>\S+)")
_QSTAT_LINE = re.compile(r"^\s{4}(?P<key>[\w.]+) = (?P<value>.*)$")
_MOST_LINES = 60


@dataclass(frozen=True)
class SchedulerMessage:
    """The meaning of a scheduler's text. `outcome` None: the job has not ended, or the text does not show how."""

    scheduler: str
    reason: str
    hint: str
    outcome: OutcomeKind | None = None


@dataclass
class SchedulerMessages:
    """Collect a bounded number of scheduler lines from a log."""

    _slurm: list[str] = field(default_factory=list)
    _pbs: list[str] = field(default_factory=list)
    _shown: re.Match[str] | None = None
    _attributes: dict[str, str] = field(default_factory=dict)

    def read(self, line: str) -> None:
        """Record a line if a scheduler may have written it."""
        text = line.rstrip()
        slurm, pbs = _SLURM.match(text), _PBS.match(text)
        if slurm is not None and len(self._slurm) < _MOST_LINES:
            self._slurm.append(slurm["words"] or slurm["bare"])
        elif pbs is not None and len(self._pbs) < _MOST_LINES:
            self._pbs.append(pbs["words"])
        elif "JobState=" in text:
            self._shown = _SHOWN_JOB.search(text) or self._shown
        elif text.startswith("    ") and " = " in text and len(self._attributes) < _MOST_LINES:
            attribute = _QSTAT_LINE.match(text)
            if attribute is not None:
                self._attributes[attribute["key"]] = attribute["value"]

    def message(self) -> SchedulerMessage | None:
        """Return the meaning of the text; None: it does not contain lines of a scheduler."""
        if self._shown is not None:
            return _of_state(self._shown["state"], self._shown["reason"])
        if "job_state" in self._attributes:
            return _of_attributes(self._attributes)
        if self._slurm:
            return SchedulerMessage("slurm", self._slurm[-1], refusal_hint("\n".join(self._slurm)))
        if self._pbs:
            hints = (hint_for(words, None) for words in self._pbs)
            return SchedulerMessage("pbs", self._pbs[0], next((hint for hint in hints if hint), ""))
        return None


def _of_state(state: str, reason: str) -> SchedulerMessage:
    job_state = meaning(state)
    if job_state.state.final or state not in ("PENDING", "CONFIGURING"):
        return SchedulerMessage(
            "slurm", f"the job {job_state.words or 'is running'} ({state})", state_hint(state), job_state.outcome
        )
    why = waiting(reason)
    return SchedulerMessage("slurm", f"the job is waiting: {why.words}", why.hint)


def _of_attributes(attributes: dict[str, str]) -> SchedulerMessage:
    comment = attributes.get("comment", "")
    if attributes["job_state"] in ("F", "X"):
        end = ending(attributes)
        return SchedulerMessage(
            "pbs", f"the job {end.reason}" if end.outcome is None else end.reason, end.hint, end.outcome
        )
    state = {"Q": "is waiting", "H": "is held", "R": "is running", "W": "is waiting for its start time"}
    words = f"the job {state.get(attributes['job_state'], 'is in state ' + attributes['job_state'])}"
    return SchedulerMessage("pbs", f"{words}: {comment}" if comment else words, _never(comment))


def _never(comment: str) -> str:
    return never_hint(comment) if comment.startswith("Can Never Run") else ""

"""The tree of errors, and the nearest name for a misspelt one."""

import difflib
from collections.abc import Iterable


class HpcsweepError(Exception):
    """An error the user can act on: the CLI prints it without a traceback and exits with 1.

    `message`: what failed, with the value and the location. `code`: a stable snake_case name of this kind of error,
    for scripts and tests; the message may change. `detail`: the evidence (a tool's last lines, argv and exit code).
    `hint`: the next thing to do.
    """

    exit_code = 1

    def __init__(self, message: str, *, code: str = "", hint: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message, self.code, self.hint, self.detail = message, code, hint, detail

    def __str__(self) -> str:
        lines = [self.message]
        if self.detail:
            lines += ["  " + line for line in self.detail.strip().splitlines()[-5:]]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class SpecError(HpcsweepError):
    """The experiment file, the cluster profile or an option of the command line is wrong."""


class PlanError(HpcsweepError):
    """The experiment is well-formed, but cannot be planned as asked."""


class TemplateError(HpcsweepError):
    """A template is missing, or uses a name that does not exist."""


class EngineError(HpcsweepError):
    """An engine cannot express or start what is asked."""


class ContainerError(HpcsweepError):
    """A container runtime cannot run what is asked, or not on this node."""


class HostError(HpcsweepError):
    """A host cannot be reached, or a file on it cannot be read or written."""


class Interrupted(HpcsweepError):
    """The user interrupted something that had begun to change the world: the message reports how far it came."""

    exit_code = 130


class LinkLost(HostError):
    """The connection to a host broke after a command was sent; whether it ran is unknown."""


class SchedulerError(HpcsweepError):
    """The scheduler refused a request or does not answer."""


class SchedulerUnreachable(SchedulerError):
    """The scheduler did not answer: whether it has done what was asked is not known."""


class SchedulerParseError(SchedulerError):
    """The scheduler's output has a form that this version does not know."""


class EventError(HpcsweepError):
    """An event log holds a line that cannot be read."""


class DatasetError(HpcsweepError):
    """A dataset is missing, damaged, or cannot give the requests that were asked for."""


class StoreError(HpcsweepError):
    """The store cannot be opened, migrated or written."""


class StoreConflict(StoreError):
    """The store has another sweep of this name, of another home."""


class StoreDiskError(StoreError):
    """The disk under the store is full, or fails: what the run folders say can still be read into memory."""


class ReportError(HpcsweepError):
    """A report, a comparison or an export cannot be made as asked."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint: the nearest of `known`, or all of them. Numbers and names alike are compared as text."""
    names = [str(name) for name in known]
    close = difflib.get_close_matches(str(word), names, n=1)
    listed = ", ".join(names)
    if close:
        return f"did you mean {close[0]!r}? known: {listed}"
    return f"known: {listed}" if names else "nothing is known here"

"""Determine how a PBS job ended, from Exit_status, substate, run_count and comment together.

No single one is sufficient: Exit_status is absent for a job that never ran (or 0 for such a subjob), 143, 265 or
271 after a qdel, and -24 ... -29 only since 23.06.06. Codes: src/include/job.h of OpenPBS.
"""

import re
import signal
from dataclasses import dataclass

from hpcsweep.schedulers.clocks import pbs_seconds
from hpcsweep.schedulers.pbs.records import Attributes
from hpcsweep.spec.phases import OutcomeKind

TERMINATED, FINISHED, FAILED, MOVED = "91", "92", "93", "94"
"""Substates of history jobs."""

_SIGNAL_BASE = 256
_BY = re.compile(r" and terminated by (\S+)$")
_SCHEDULER = "Scheduler"
"""The user that the scheduler of PBS acts as; it deletes jobs only to preempt them (preempt_order D)."""
_RESOURCE = re.compile(r" and exceeded resource (\w+)$")

_EXIT_CODES: dict[int, tuple[OutcomeKind, str, str]] = {
    -1: (
        OutcomeKind.NOT_RUN,
        "PBS could not start it (before its files were in place)",
        "look at the mom log of the node",
    ),
    -2: (OutcomeKind.NOT_RUN, "PBS could not start it", "is the log folder writable from the node?"),
    -3: (OutcomeKind.NOT_RUN, "PBS could not start it after several attempts", "retry; exclude the node if it repeats"),
    -4: (OutcomeKind.LOST, "the node's PBS daemon (MOM) was restarted while it ran", "retry it"),
    -5: (OutcomeKind.LOST, "the node's PBS daemon (MOM) was restarted while it ran", "retry it"),
    -6: (OutcomeKind.LOST, "the node's PBS daemon (MOM) was restarted while it ran", "retry it"),
    -7: (OutcomeKind.NOT_RUN, "PBS could not restart it", "retry it"),
    -10: (OutcomeKind.NOT_RUN, "this user or group does not exist on the node", "ask the site; retry on another node"),
    -11: (OutcomeKind.LOST, "PBS requeued it", "retry it if it does not start again"),
    -12: (OutcomeKind.PREEMPTED, "PBS checkpointed and stopped it", "retry it"),
    -13: (OutcomeKind.NOT_RUN, "PBS could not use this user's password", "ask the site"),
    -14: (OutcomeKind.LOST, "another node of the job was lost", "retry it"),
    -15: (OutcomeKind.LOST, "PBS requeued it", "retry it if it does not start again"),
    -16: (OutcomeKind.NOT_RUN, "a hook of the site rejected it", "ask the site"),
    -17: (OutcomeKind.NOT_RUN, "a hook of the site rejected it", "ask the site"),
    -18: (OutcomeKind.LOST, "a hook of the site requeued it", "ask the site"),
    -19: (OutcomeKind.CANCELLED, "a hook of the site deleted it", "ask the site"),
    -20: (OutcomeKind.LOST, "the server lost its node", "retry it"),
    -21: (OutcomeKind.NOT_RUN, "PBS considers its own folder on the node insecure", "ask the site"),
    -22: (OutcomeKind.NOT_RUN, "a hook of the site failed or took too long", "ask the site"),
    -23: (OutcomeKind.NOT_RUN, "no Kerberos credentials for the job", "kinit, then retry"),
    -24: (OutcomeKind.FAILED, "killed for using more CPUs than requested (burst)", "raise resources.cpus"),
    -25: (OutcomeKind.FAILED, "killed for using more CPUs than requested", "raise resources.cpus"),
    -26: (OutcomeKind.OUT_OF_MEMORY, "killed for using more virtual memory than requested", "raise resources.memory"),
    -27: (OutcomeKind.OUT_OF_MEMORY, "killed for using more host memory than requested", "raise resources.memory"),
    -28: (OutcomeKind.FAILED, "killed for using more CPU time than requested", "remove the cput limit"),
    -29: (OutcomeKind.WALLTIME, "killed at its walltime", "`hpcsweep retry --walltime` requests more time"),
    -30: (OutcomeKind.LOST, "nodes of the job did not join it", "retry it"),
    -31: (OutcomeKind.OUT_OF_MEMORY, "killed for using more huge-page memory than requested", "ask the site"),
    -32: (OutcomeKind.LOST, "its node was set up again while it ran", "retry it"),
}


@dataclass(frozen=True)
class Ending:
    """End of a job. `outcome` None: it ended on its own with exit code 0."""

    outcome: OutcomeKind | None
    reason: str
    hint: str = ""
    exit_code: int | None = None
    signal: int | None = None


PURGED = Ending(OutcomeKind.CANCELLED, "its array was deleted")
"""End of a subjob of a deleted array, with inherited attributes only: it never ran, or its record was purged."""


def ran(attributes: Attributes, *, of_array: bool = False) -> bool:
    """Return whether the job was ever started.

    A subjob that never started has no record: qstat shows it with stime, substate, comment and Exit_status of
    its array (OpenPBS 23.06). Only run_count is never inherited.
    """
    return attributes.get("run_count", "0") != "0" or (not of_array and "stime" in attributes)


def was_deleted(attributes: Attributes) -> bool:
    """Return whether this job or array was ended by qdel, according to its own record."""
    return attributes.get("substate") == TERMINATED or " and terminated" in attributes.get("comment", "")


def ending(attributes: Attributes, *, of_array: bool = False) -> Ending:
    """Return how a job in state F or X ended. `of_array`: it is a subjob."""
    comment = attributes.get("comment", "")
    status = integer(attributes.get("Exit_status"))
    if of_array and not ran(attributes, of_array=True):
        return Ending(OutcomeKind.CANCELLED, "deleted before it ran")
    if not ran(attributes):
        return _never_ran(attributes, comment)
    code = status if status is not None and 0 <= status < _SIGNAL_BASE else None
    number = status - _SIGNAL_BASE if status is not None and status > _SIGNAL_BASE else None
    if was_deleted(attributes):
        by = _BY.search(comment)
        if by and by[1].partition("@")[0] == _SCHEDULER:
            return Ending(
                OutcomeKind.PREEMPTED,
                "the scheduler deleted it to make room for another job (preempted)",
                "retry it",
                code,
                number,
            )
        return Ending(OutcomeKind.CANCELLED, f"deleted by {by[1]}" if by else "deleted", "", code, number)
    limit = _RESOURCE.search(comment)
    if status is not None and status < 0:
        kind, reason, hint = _EXIT_CODES.get(status, (OutcomeKind.FAILED, f"PBS ended it with status {status}", ""))
        if status == -29 or limit is None:
            return Ending(kind, reason + _walltime(attributes, kind), hint)
    if limit is not None:
        return _over_limit(limit[1], attributes, code, number)
    if status is None:
        return Ending(OutcomeKind.LOST, "PBS has no exit status for it", "look at its log; retry it")
    if number is not None:
        return _by_signal(number, attributes)
    if code == 0:
        return Ending(None, "finished", exit_code=0)
    return Ending(OutcomeKind.FAILED, _exit_words(status, attributes), "look at its log", code)


def integer(text: str | None) -> int | None:
    """Return an integer attribute of PBS. None: it is absent, or not an integer."""
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def _never_ran(attributes: Attributes, comment: str) -> Ending:
    depend = attributes.get("depend", "")
    if attributes.get("substate") == TERMINATED or (comment in ("", "Subjob finished") and not depend):
        by = _BY.search(comment)
        return Ending(OutcomeKind.CANCELLED, f"deleted before it ran{f' by {by[1]}' if by else ''}")
    if depend:
        return Ending(
            OutcomeKind.NOT_RUN,
            f"its dependency can no longer be satisfied: {depend}",
            "check how the job it depends on ended; retry without the dependency",
        )
    return Ending(OutcomeKind.NOT_RUN, f"ended without starting: {comment}", "retry it")


def _over_limit(resource: str, attributes: Attributes, code: int | None, number: int | None) -> Ending:
    if resource == "walltime":
        kind, reason, hint = _EXIT_CODES[-29]
        return Ending(kind, reason + _walltime(attributes, kind), hint, code, number)
    memory = resource in ("mem", "vmem", "pmem", "pvmem", "hpmem")
    kind = OutcomeKind.OUT_OF_MEMORY if memory else OutcomeKind.FAILED
    return Ending(kind, f"killed for using more {resource} than requested", f"raise {resource}", code, number)


def _by_signal(number: int, attributes: Attributes) -> Ending:
    """Return the end of a job killed by a signal.

    Releases before 23.06.06 have no code for a walltime kill, so the time used is compared with the time requested.
    """
    used, limit = (attributes.get(f"{table}.walltime", "") for table in ("resources_used", "Resource_List"))
    if number in (signal.SIGTERM, signal.SIGKILL) and used and limit and _seconds(used) >= _seconds(limit) > 0:
        kind, reason, hint = _EXIT_CODES[-29]
        return Ending(kind, reason + _walltime(attributes, kind), hint, None, number)
    return Ending(OutcomeKind.FAILED, f"killed by {_signal_name(number)}", "look at its log", None, number)


def _exit_words(status: int, attributes: Attributes) -> str:
    if status == 254 and attributes.get("executable"):
        return "exit code 254: the program could not be started"
    if 128 < status < 128 + signal.NSIG:
        return f"exit code {status} (a shell reports {_signal_name(status - 128)} this way)"
    return f"exit code {status}"


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _walltime(attributes: Attributes, kind: OutcomeKind) -> str:
    limit = attributes.get("Resource_List.walltime")
    return f" of {limit}" if kind is OutcomeKind.WALLTIME and limit else ""


def _seconds(text: str) -> float:
    try:
        return pbs_seconds(text)
    except ValueError:
        return 0.0

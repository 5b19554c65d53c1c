"""What PBS says when it refuses, and what to change. Words first: exit codes are PBS error numbers modulo 256."""

import re
from collections.abc import Collection

from hpcsweep.errors import SchedulerError, SchedulerUnreachable
from hpcsweep.schedulers.base import CommandResult

FINISHED = 35
"""Exit code: the job is over (PBSE_HISTJOBID)."""
UNKNOWN_JOB = 153
"""Exit code: no such job, or its history is purged or switched off (PBSE_UNKJOBID)."""
NO_HISTORY = 36
"""PBSE_JOBHISTNOTSET: -x was given, and this server keeps no history. The clients of 20.0.1 to 23.06.06 exit with 0."""
NO_HISTORY_TEXT = "not configured to maintain job history"
"""What such a client prints on stderr."""
SUBJOB_OVER = 55
"""Exit code of qdel: the subjob has ended, its array has not (PBSE_NOHISTARRAYSUBJOB)."""
CANCEL_OVER = frozenset({FINISHED, UNKNOWN_JOB, SUBJOB_OVER})
"""Exit codes of qdel for what is over already."""
_UNKNOWN = re.compile(r"Unknown Job Id (\S+)")
_OF_NO_WEIGHT = ("Unknown Job Id", "Job has finished", NO_HISTORY_TEXT, "Request invalid for finished array subjob")
"""What is said on stderr of jobs that are over, or not known."""
_NOT_ALLOWED = (
    "your account, or this host, is not allowed to do this: `qstat -Q -f` shows acl_users, acl_groups and acl_hosts of "
    "the queue, `qstat -B -f` those of the server"
)

_REFUSALS: tuple[tuple[str, frozenset[int], str], ...] = (
    (
        r"Resource: (\S+) is required to be set",
        frozenset(),
        r"add it to `directives` of the cluster profile: -l \1=VALUE",
    ),
    (r"errno=15007", frozenset(), _NOT_ALLOWED),
    (r"Unknown queue", frozenset({170}), "set `queue` of the cluster profile; qstat -Q lists the queues"),
    (r"Queue is not enabled", frozenset({173}), "this queue takes no jobs now: choose another, or wait"),
    (r"Unknown resource", frozenset({187}), "this cluster has no resource of that name; pbsnodes -a shows which"),
    (r"Illegal attribute or resource value", frozenset({166}), "correct the value; walltime is HH:MM:SS, never D-HH"),
    (
        r"violates queue and/or server resource limits",
        frozenset({188}),
        "ask for less, or for a queue with higher limits: qstat -Q -f shows resources_max",
    ),
    (r"would exceed .* limit", frozenset({38}), "too many of your jobs are queued: wait, or lower the number of runs"),
    (r"Array job exceeds", frozenset({3}), "set max_array_size in the cluster profile: qstat -B -f shows it"),
    (r"illegal -J value", frozenset(), "PBS before 22 knows no -J 0-9%N: take `parallel` out of the profile"),
    (r"cannot submit non-rerunable Array Job", frozenset(), "take -r n out of the directives"),
    (r"illegal -N value|Job name is too long", frozenset(), "1 to 230 of: letters, digits, _ - . +"),
    (r"illegal -W value", frozenset(), "depend=afterok:ID of a job or of a whole array; not of one subjob"),
    (r"illegal -\w value|invalid option|directive error", frozenset(), "correct the directive of the cluster profile"),
    (r"cannot send environment", frozenset(), "-v carries no commas or quotes: give such values by file"),
    (r"cannot be used with .select.|Cannot be used with select", frozenset({5, 6}), "put it into select="),
    (r"Bad UID for job execution", frozenset({175}), "submit as an ordinary user, not as root"),
    (r"(?:qsub|qstat|qselect): Unauthorized Request", frozenset(), _NOT_ALLOWED),
    (
        r"Access to queue is denied",
        frozenset({174}),
        "this queue takes jobs only from a routing queue (from_route_only), or not from you: qstat -Q -f shows which",
    ),
    (
        r"rejected by all possible destinations",
        frozenset({191}),
        "no queue behind this routing queue takes such a job: qstat -Q -f shows route_destinations and their limits",
    ),
    (r"Unauthorized Request", frozenset({159}), "this needs the job's owner, or an operator of PBS"),
    (r"Connection refused|cannot connect to server", frozenset({162}), "the PBS server does not answer: try later"),
    (r"Unknown Host", frozenset({160}), "is PBS_SERVER, or the part of `queue` after the @, right?"),
    (r"script contains cr, lf", frozenset(), "save the script with Unix line ends"),
    (r"Error \(15002\)", frozenset({154}), "PBS does not know an attribute of -W in the directives"),
    (r"could not connect to MOM", frozenset({222}), "its node is down; `qdel -W force ID` drops the job"),
    (r"Request invalid for state of job", frozenset({168}), "the job is not running"),
    (r"not rerunn?able", frozenset({190}), "it was submitted with -r n"),
)


_CUT_OFF = re.compile(r"End of File|Premature end of message|errno=15031|timed? ?out", re.IGNORECASE)
"""The server took the connection and lost it: what was asked may have been done."""


def refusal(answer: CommandResult, what: str) -> SchedulerError:
    """The error for an answer that is no success: PBS's own words, the command, and what to change.

    `what`: what was asked, such as "submit the job". SchedulerUnreachable when it may have been done all the same;
    a refused connection is a plain error: nothing was done.
    """
    command = _command(answer)
    if answer.exit_code is None:
        return SchedulerUnreachable(
            f"{command} did not answer within {answer.wall_s:.0f} s: could not {what}",
            hint="the PBS server hangs or is overloaded: try again later",
        )
    if answer.exit_code == 127:
        return SchedulerError(f"{command} is not installed here: could not {what}", hint="is this the login node?")
    words = said(answer) or f"exit code {answer.exit_code}, and no word"
    kind = SchedulerUnreachable if _CUT_OFF.search(answer.stderr) else SchedulerError
    return kind(
        f"{command} refused to {what}: {words}",
        hint=hint_for(answer.stderr, answer.exit_code),
        detail=f"exit code {answer.exit_code}: {' '.join(answer.argv[:12])}",
    )


def said(answer: CommandResult) -> str:
    """The telling line on stderr: the first that is no usage text."""
    lines = [line.strip() for line in answer.stderr.split("\n") if line.strip()]
    telling = [line for line in lines if not line.startswith(("usage:", "qsub [", "["))]
    return next((line for line in telling if not _is_over(line)), telling[0] if telling else "")


def only_over(answer: CommandResult) -> bool:
    """Whether stderr speaks of nothing but jobs that are over or not known."""
    return all(_is_over(line) for line in answer.stderr.split("\n") if line.strip())


def unknown_ids(answer: CommandResult, asked: Collection[str]) -> frozenset[str]:
    """The ids of `asked` that stderr reports as unknown. PBS adds the server's name where it was left out."""
    unknown = {job_id.partition(".")[0] for job_id in _UNKNOWN.findall(answer.stderr)}
    return frozenset(job_id for job_id in asked if job_id.partition(".")[0] in unknown)


def _is_over(line: str) -> bool:
    return any(words in line for words in _OF_NO_WEIGHT)


def _command(answer: CommandResult) -> str:
    """The command of PBS that was run, also below the shell that `sh -c TEXT NAME` names after it."""
    if answer.argv[:2] == ("/bin/sh", "-c"):
        return answer.argv[3]
    return answer.argv[0] if answer.argv else "PBS"


def hint_for(words: str, exit_code: int | None) -> str:
    """What to change; empty when this refusal is not known."""
    for pattern, _, hint in _REFUSALS:
        match = re.search(pattern, words)
        if match is not None:
            return match.expand(hint) if match.groups() else hint
    for _, codes, hint in _REFUSALS:
        if exit_code in codes:
            return hint
    return ""

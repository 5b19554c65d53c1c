"""Explain error messages of PBS. Texts are matched first: exit codes are PBS error numbers modulo 256."""

import re
from collections.abc import Collection

from hpcsweep.errors import SchedulerError, SchedulerUnreachable
from hpcsweep.schedulers.base import CommandResult

FINISHED = 35
"""Exit code: the job is over (PBSE_HISTJOBID)."""
UNKNOWN_JOB = 153
"""Exit code: the job does not exist, or its history is purged or switched off (PBSE_UNKJOBID)."""
NO_HISTORY = 36
"""PBSE_JOBHISTNOTSET: -x was given, and the server keeps no history. The clients of 20.0.1 to 23.06.06 exit with 0."""
NO_HISTORY_TEXT = "not configured to maintain job history"
"""Text on stderr of such a client."""
SUBJOB_OVER = 55
"""Exit code of qdel: the subjob has ended, its array has not (PBSE_NOHISTARRAYSUBJOB)."""
CANCEL_OVER = frozenset({FINISHED, UNKNOWN_JOB, SUBJOB_OVER})
"""Exit codes of qdel for jobs that are over already."""
_UNKNOWN = re.compile(r"Unknown Job Id (\S+)")
_ABOUT_ENDED_JOBS = ("Unknown Job Id", "Job has finished", NO_HISTORY_TEXT, "Request invalid for finished array subjob")
"""Texts on stderr about jobs that are over, or unknown."""
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
    (r"Queue is not enabled", frozenset({173}), "this queue does not accept jobs now: choose another, or wait"),
    (r"Unknown resource", frozenset({187}), "this cluster has no resource of that name; pbsnodes -a lists them"),
    (r"Illegal attribute or resource value", frozenset({166}), "correct the value; walltime is HH:MM:SS, not D-HH"),
    (
        r"violates queue and/or server resource limits",
        frozenset({188}),
        "request less, or a queue with higher limits: qstat -Q -f shows resources_max",
    ),
    (r"would exceed .* limit", frozenset({38}), "too many of your jobs are queued: wait, or lower the number of runs"),
    (r"Array job exceeds", frozenset({3}), "set max_array_size in the cluster profile; qstat -B -f shows the value"),
    (r"illegal -J value", frozenset(), "PBS before 22 has no -J 0-9%N: remove `parallel` from the profile"),
    (r"cannot submit non-rerunable Array Job", frozenset(), "remove -r n from the directives"),
    (r"illegal -N value|Job name is too long", frozenset(), "1 to 230 of: letters, digits, _ - . +"),
    (r"illegal -W value", frozenset(), "depend=afterok:ID takes a job or a whole array, not a single subjob"),
    (r"illegal -\w value|invalid option|directive error", frozenset(), "correct the directive of the cluster profile"),
    (r"cannot send environment", frozenset(), "-v cannot pass commas or quotes: pass such values in a file"),
    (r"cannot be used with .select.|Cannot be used with select", frozenset({5, 6}), "put it into select="),
    (r"Bad UID for job execution", frozenset({175}), "submit as an ordinary user, not as root"),
    (r"(?:qsub|qstat|qselect): Unauthorized Request", frozenset(), _NOT_ALLOWED),
    (
        r"Access to queue is denied",
        frozenset({174}),
        "this queue accepts jobs only from a routing queue (from_route_only), or not from you; see qstat -Q -f",
    ),
    (
        r"rejected by all possible destinations",
        frozenset({191}),
        "no destination of this routing queue accepts such a job; see route_destinations and limits in qstat -Q -f",
    ),
    (r"Unauthorized Request", frozenset({159}), "only the job's owner, or an operator of PBS, may do this"),
    (
        r"Connection refused|cannot connect to server",
        frozenset({162}),
        "the PBS server does not answer: try again later",
    ),
    (r"Unknown Host", frozenset({160}), "check PBS_SERVER, and the part of `queue` after the @"),
    (r"script contains cr, lf", frozenset(), "save the script with Unix line ends"),
    (r"Error \(15002\)", frozenset({154}), "an attribute of -W in the directives is unknown to PBS"),
    (r"could not connect to MOM", frozenset({222}), "its node is down; `qdel -W force ID` removes the job"),
    (r"Request invalid for state of job", frozenset({168}), "the job is not running"),
    (r"not rerunn?able", frozenset({190}), "it was submitted with -r n"),
)


_CUT_OFF = re.compile(r"End of File|Premature end of message|errno=15031|timed? ?out", re.IGNORECASE)
"""The connection was lost after it was accepted: the request may have been carried out."""


def refusal(answer: CommandResult, what: str) -> SchedulerError:
    """Return the error for a failed command: the message of PBS, the command, and what to change.

    `what`: the request, such as "submit the job". The error is SchedulerUnreachable if the request may have been
    carried out. After a refused connection it was not.
    """
    command = _command(answer)
    if answer.exit_code is None:
        return SchedulerUnreachable(
            f"{command} did not answer within {answer.wall_s:.0f} s: could not {what}",
            code="scheduler_timed_out",
            hint="the PBS server hangs or is overloaded: try again later",
        )
    if answer.exit_code == 127:
        return SchedulerError(
            f"{command} is not installed here: could not {what}",
            code="scheduler_not_installed",
            hint="is this the login node?",
        )
    words = said(answer) or f"exit code {answer.exit_code} without a message"
    lost = _CUT_OFF.search(answer.stderr) is not None
    return (SchedulerUnreachable if lost else SchedulerError)(
        f"{command} refused to {what}: {words}",
        code="scheduler_connection_lost" if lost else "scheduler_refused",
        hint=hint_for(answer.stderr, answer.exit_code),
        detail=f"exit code {answer.exit_code}: {' '.join(answer.argv[:12])}",
    )


def said(answer: CommandResult) -> str:
    """Return the informative line on stderr: the first that is not usage text."""
    lines = [line.strip() for line in answer.stderr.split("\n") if line.strip()]
    messages = [line for line in lines if not line.startswith(("usage:", "qsub [", "["))]
    return next((line for line in messages if not _is_over(line)), messages[0] if messages else "")


def only_over(answer: CommandResult) -> bool:
    """Return whether stderr is only about jobs that are over or unknown."""
    return all(_is_over(line) for line in answer.stderr.split("\n") if line.strip())


def unknown_ids(answer: CommandResult, asked: Collection[str]) -> frozenset[str]:
    """Return the ids of `asked` that stderr reports as unknown. PBS adds the server's name where it was left out."""
    unknown = {job_id.partition(".")[0] for job_id in _UNKNOWN.findall(answer.stderr)}
    return frozenset(job_id for job_id in asked if job_id.partition(".")[0] in unknown)


def _is_over(line: str) -> bool:
    return any(words in line for words in _ABOUT_ENDED_JOBS)


def _command(answer: CommandResult) -> str:
    """Return the PBS command that was run, also through `sh -c TEXT NAME`, where NAME is the command."""
    if answer.argv[:2] == ("/bin/sh", "-c"):
        return answer.argv[3]
    return answer.argv[0] if answer.argv else "PBS"


def hint_for(words: str, exit_code: int | None) -> str:
    """Return what to change; empty for an unknown error."""
    for pattern, _, hint in _REFUSALS:
        match = re.search(pattern, words)
        if match is not None:
            return match.expand(hint) if match.groups() else hint
    for _, codes, hint in _REFUSALS:
        if exit_code in codes:
            return hint
    return ""

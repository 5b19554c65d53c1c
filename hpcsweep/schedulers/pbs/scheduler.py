"""PBS: OpenPBS and PBS Pro 20 and newer. Torque is detected and rejected.

All formats were recorded on a real OpenPBS (tests/transcripts/pbs). Polling is one `qstat -x -t -f -F dsv` with the ids
of our own submissions. An array is one id, whatever its size. With several ids dsv is correct in every version, JSON
is not. The jobs of other users are not read.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial

from hpcsweep.errors import SchedulerError, SchedulerParseError, SchedulerUnreachable
from hpcsweep.schedulers.base import (
    ClusterFacts,
    CommandResult,
    JobEnvironment,
    Query,
    QueueSnapshot,
    Scheduler,
)
from hpcsweep.schedulers.pbs.directives import PREFIX, check_options, directives, safe_variables, variables_option
from hpcsweep.schedulers.pbs.records import parse_dsv
from hpcsweep.schedulers.pbs.refusals import (
    CANCEL_OVER,
    FINISHED,
    NO_HISTORY,
    NO_HISTORY_TEXT,
    UNKNOWN_JOB,
    only_over,
    refusal,
    said,
    unknown_ids,
)
from hpcsweep.schedulers.pbs.site import PROBES, site_facts
from hpcsweep.schedulers.pbs.status import split_id, statuses, subjob_id
from hpcsweep.schedulers.pbs.user_script import user_request, user_variables
from hpcsweep.schedulers.user_script import ScriptRequest
from hpcsweep.units import hms

_WITHOUT_HISTORY = f'case "$code $words" in "{NO_HISTORY} "*|*"{NO_HISTORY_TEXT}"*)'
"""Begins the branch for a server that keeps no history. With -x it lists nothing, not even running jobs.

OpenPBS 20.0.1 to 23.06.06 exit with 0 and this text on stderr. The code is the server's PBSE_JOBHISTNOTSET.
"""
_QUERY = (
    'exec 3>&1; words=$(qstat -x -t -f -F dsv "$@" 2>&1 >&3); code=$?; '
    '[ -z "$words" ] || printf "%s\\n" "$words" >&2; '
    f'{_WITHOUT_HISTORY} exec qstat -t -f -F dsv "$@";; esac; exit $code'
)
_QSTAT = ("/bin/sh", "-c", _QUERY, "qstat")
_FIND = (
    'set -f; x=-x; exec 3>&1; words=$(qselect -x -N "$1" -u "$2" 2>&1); code=$?; ids=$words; '
    f'{_WITHOUT_HISTORY} x=; ids=$(qselect -N "$1" -u "$2"); code=$?;; esac; '
    '[ $code = 0 ] || { printf "%s\\n" "$ids" >&2; exit $code; }; [ -z "$ids" ] || exec qstat $x -f -F dsv $ids'
)
_SHELL = ("--", "/bin/bash", "-l")


class PbsScheduler(Scheduler):
    """OpenPBS and PBS Pro, through their text commands."""

    name = "pbs"
    template = "pbs.sh.j2"
    environment = JobEnvironment(
        job_id="PBS_JOBID",
        array_index="PBS_ARRAY_INDEX",
        array_job_id="PBS_ARRAY_ID",
        start_id="PBS_JOBCOOKIE",
        job_name="PBS_JOBNAME",
        queue="PBS_QUEUE",
        submit_dir="PBS_O_WORKDIR",
        node_file="PBS_NODEFILE",
    )
    has_dependencies = True
    has_gpu_types = False
    tracks_session = True
    query_timeout_s = 20.0  # a busy server takes 10 s for a single qstat
    query_timeout_per_job_s = 0.1  # one round trip per id; a user's own script is a job per run

    def submit_argv(self, script: str, job_dir: str, text: str = "") -> tuple[str, ...]:
        """Return the qsub of `script` without a login shell: options from the directives of `text`, then the command.

        `bash -l` reads the site's profile (module ...). The script ends in `exec`, so that the agent becomes the top
        process of the job: it receives the signals, and its exit code is the job's. Without `text` the script is
        submitted in the ordinary form, and qsub reads the directives. Raises SpecError for a directive that PBS would
        refuse.
        """
        if not text:
            return ("qsub", "-C", PREFIX, script)
        options = [word for word in directives(text) if word]
        return ("qsub", *options, *_SHELL, script)

    def after_argv(self, argv: tuple[str, ...], job_ids: Sequence[str]) -> tuple[str, ...]:
        """Return qsub with `afterok`; PBS deletes a job whose dependency failed, or is not known to the server."""
        return (argv[0], "-W", f"depend=afterok:{':'.join(job_ids)}", *argv[1:])

    def read_user_script(self, text: str, *, array_allowed: bool = False) -> ScriptRequest:
        """Return what a user's own script requests; see `user_request`."""
        return user_request(text, array_allowed=array_allowed)

    def submit_user_script_argv(
        self, script: str, exports: Mapping[str, str], *, name: str, log_dir: str, text: str = "", walltime_s: float = 0
    ) -> tuple[str, ...]:
        """Return the qsub of a user's own script, with the safe `exports` in -v; see `safe_variables`.

        The values of the script's own -v are added, because one on the command line replaces it. Raises SpecError if
        HPCSWEEP_JOB_* or the log folder cannot be passed: the job needs them to find its values.
        """
        by_option, by_file = safe_variables(exports)
        lost = {key: value for key, value in by_file.items() if key.startswith("HPCSWEEP_JOB")}
        variables_option(lost)
        logs = f"{log_dir.rstrip('/')}/"
        check_options(["-N", name, "-o", logs])
        limit = ("-l", f"walltime={hms(walltime_s)}") if walltime_s and user_request(text).walltime_s is None else ()
        carried = [*user_variables(text, exports), *(f"{key}={value}" for key, value in by_option.items())]
        variables = ("-v", ",".join(carried)) if carried else ()
        return ("qsub", "-N", name, "-j", "oe", "-k", "od", "-o", logs, *limit, *variables, script)

    def continue_argv(self, script: str, text: str, job_id: str, exports: dict[str, str]) -> tuple[str, ...]:
        """Return the qsub of a plain job that continues the work of `job_id`, a job or an array task.

        It starts after a plain job has ended; PBS has no dependency on a single array task. `exports`: safe values.
        """
        kept = directives(text)
        pairs = [pair for pair in zip(kept[::2], kept[1::2], strict=True) if pair[0] not in ("-J", "-v")]
        options = [word for pair in pairs for word in pair if word]
        after = () if split_id(job_id)[2] else ("-W", f"depend=afterany:{job_id}")
        return ("qsub", *options, *after, *variables_option(exports), *_SHELL, script)

    def parse_submit(self, answer: CommandResult) -> str:
        """Return the full job id: `123.server`, or `123[].server` for an array. Raises SchedulerError.

        Raises SchedulerUnreachable if the job may exist: after a time-out, or output without an id.
        """
        if answer.exit_code != 0:
            raise refusal(answer, "submit the job")
        lines = [line.strip() for line in answer.stdout.split("\n") if line.strip()]
        try:
            _, index, is_array, _ = split_id(lines[-1] if lines else "")
        except ValueError as exc:
            raise SchedulerUnreachable(
                f"qsub printed no job id: {answer.stdout.strip()[:120]!r}",
                code="submit_result_unknown",
                detail=answer.stderr,
                hint="the job may have been created: qselect -x -N NAME shows it",
            ) from exc
        if index is not None:
            raise SchedulerParseError(f"qsub printed the id of a subjob: {lines[-1]!r}", code="submit_id_of_subjob")
        if "-J" in answer.argv and not is_array:
            raise SchedulerParseError(
                f"qsub -J created the plain job {lines[-1]}, not an array",
                code="submit_not_an_array",
                hint=f"is this qsub a wrapper, or that of Torque? `qdel {lines[-1]}` removes the job",
            )
        return lines[-1]

    def cancel_argv(self, job_id: str, indexes: Sequence[int] | None) -> tuple[str, ...]:
        """Return one qdel for a whole job (`indexes` None) or for tasks. Raises SchedulerError without any tasks."""
        if indexes is None:
            return ("qdel", job_id)
        if not indexes:
            raise SchedulerError(f"{job_id}: no array tasks to cancel were given", code="nothing_to_cancel")
        _, _, is_array, _ = split_id(job_id)
        if not is_array:
            return ("qdel", job_id)
        return ("qdel", *(subjob_id(job_id, index) for index in indexes))

    def cancel_error(self, answer: CommandResult) -> str:
        """Return why qdel failed; empty if the jobs are, or already were, over.

        With several ids the exit code is that of the last, so all lines on stderr are read.
        """
        if answer.exit_code == 0 or (answer.exit_code in CANCEL_OVER and only_over(answer)):
            return ""
        error = refusal(answer, "delete the job")
        return f"{error.message} ({error.hint})" if error.hint else error.message

    def queries(self, job_ids: Sequence[str], user: str) -> Sequence[Query[QueueSnapshot]]:
        """Return one qstat for all submissions (it runs two if no history is kept); none without submissions."""
        return (Query((*_QSTAT, *job_ids), qstat_snapshot),) if job_ids else ()

    def array_task_id(self, job_id: str, index: int) -> str:
        """Return `12[3].server`."""
        return job_id.replace("[]", f"[{index}]") if "[]" in job_id else f"{job_id}[{index}]"

    def submission_id(self, job_id: str) -> str:
        """Return `12[].server` for `12[3].server`."""
        return re.sub(r"\[\d+\]", "[]", job_id)

    def log_index(self, file_name: str) -> int | None:
        """Return 3 for `12[3].server.OU`."""
        match = re.search(r"\[(\d+)\]", file_name)
        return int(match[1]) if match else None

    def find_query(self, name: str, user: str, job_dir: str) -> Query[list[str]]:
        """Return the query for jobs of this name, also ended ones. qselect prints only ids, so qstat follows.

        The shell code is constant; name and user are its parameters. `set -f`: `69[].server` is not a file pattern.
        """
        return Query(("/bin/sh", "-c", _FIND, "qselect", name, user), partial(submitted_from, job_dir))

    def probes(self) -> Sequence[tuple[str, ...]]:
        """Return the commands for version, server, queues and nodes."""
        return PROBES

    def parse_probes(self, answers: Sequence[CommandResult]) -> ClusterFacts:
        """Return the facts of this PBS. Torque, unreadable output and switched-off history are warnings."""
        return site_facts(answers)


def qstat_snapshot(answer: CommandResult) -> QueueSnapshot:
    """Parse the result of the qstat of `queries`. Ids unknown to it (history off or purged) are `absent`, not ended."""
    if answer.exit_code is None:
        return QueueSnapshot(complete=False, error=f"qstat did not answer within {answer.wall_s:.0f} s")
    listed = answer.exit_code in (0, FINISHED, UNKNOWN_JOB)
    error = _other_errors(answer) if listed else refusal(answer, "list the jobs").message
    asked = answer.argv[len(_QSTAT) :]
    try:
        by_key = statuses(parse_dsv(answer.stdout), asked)
    except (SchedulerParseError, ValueError) as exc:
        return QueueSnapshot(complete=False, error=error or str(exc))
    # An id that is not mentioned at all, as by a server without history in reply to -x, need not be over.
    every = {job_id for job_id, _ in by_key} >= set(asked) or answer.exit_code == FINISHED
    absent: set[tuple[str, int | None]] = set()
    if listed:
        absent |= {(job_id, None) for job_id in unknown_ids(answer, asked)}
    if NO_HISTORY_TEXT in answer.stderr:  # then a subjob that has ended is listed with its array's attributes only
        absent |= {key for key, status in by_key.items() if status.state.final and status.restarts is None}
    by_key = {key: status for key, status in by_key.items() if key not in absent}
    return QueueSnapshot(by_key, complete=listed and every and not absent, error=error, absent=frozenset(absent))


def submitted_from(job_dir: str, answer: CommandResult) -> list[str]:
    """Return the ids of the listed jobs that log into `job_dir`, the oldest first. Raises SchedulerError."""
    if answer.exit_code not in (0, FINISHED, UNKNOWN_JOB):
        raise refusal(answer, "look for the job")
    own = [
        job_id
        for job_id, attributes in parse_dsv(answer.stdout).items()
        if f"{job_dir.rstrip('/')}/" in attributes.get("Output_Path", "")
    ]
    return sorted(own, key=lambda job_id: int(split_id(job_id)[0]))


def _other_errors(answer: CommandResult) -> str:
    """Return the lines on stderr that are not about unknown ids."""
    return "" if only_over(answer) else said(answer)

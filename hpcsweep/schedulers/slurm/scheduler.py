"""Slurm: argv of its commands, and parsers of their output."""

import re
from collections.abc import Callable, Mapping, Sequence
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
from hpcsweep.schedulers.slurm.directives import check_directives
from hpcsweep.schedulers.slurm.facts import CONFIG_ARGV, PARTITIONS_ARGV, parse_facts
from hpcsweep.schedulers.slurm.output import (
    OWN_STATE_FIELDS,
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    Statuses,
    expand_job_id,
    fold_indexes,
    parse_sacct,
    parse_squeue,
    read_own_state,
)
from hpcsweep.schedulers.slurm.reasons import authentication_failed, refusal, refusal_hint, unreachable
from hpcsweep.schedulers.slurm.user_script import user_request
from hpcsweep.schedulers.user_script import ScriptRequest

COMMENT_PREFIX = "hpcsweep:"
"""Start of the --comment of each of our jobs, followed by the path of its job folder."""

_SUBMITTED = re.compile(r"(?:Submitted batch job )?(\d+)(?:;\S+| on cluster \S+)?")
"""The line of sbatch with the job id; a wrapper of the site may print other lines before and after it."""
_CARRIED = re.compile(r"[A-Za-z0-9_./:@%+= -]*")  # --export ends a value at a comma
_WHOLE_RANGES = ("env", "SLURM_BITSTR_LEN=0")
"""Otherwise ranges of array indexes are truncated after 64 characters. `squeue -r`, one line per array task, is not an
alternative: on 22.05.8 it leaves out the last index of a range with a step, such as 199 of 1-199:3."""
_NO_ACCOUNTING = "accounting storage is disabled"
_UNKNOWN_ID = "Invalid job id specified"
# Errors of scancel that mean that there is nothing to cancel.
_GONE = ("Invalid job id specified", "Job/step already completing or completed")


class SlurmScheduler(Scheduler):
    """Slurm 22.05 and later, through its text commands."""

    name = "slurm"
    template = "slurm.sh.j2"
    environment = JobEnvironment(
        job_id="SLURM_JOB_ID",
        array_index="SLURM_ARRAY_TASK_ID",
        array_job_id="SLURM_ARRAY_JOB_ID",
        composed_task_id=True,
        end_time="SLURM_JOB_END_TIME",
        restart_count="SLURM_RESTART_COUNT",
        host="SLURMD_NODENAME",
        job_name="SLURM_JOB_NAME",
        queue="SLURM_JOB_PARTITION",
        submit_dir="SLURM_SUBMIT_DIR",
        node_list="SLURM_JOB_NODELIST",
    )
    queue_key = "partition"
    has_dependencies = True
    client_prefixes = ("SQUEUE_",)
    query_timeout_s = 4.0  # squeue itself waits 10 s and more for a dead slurmctld
    query_timeout_per_job_s = 0.0

    def submit_argv(self, script: str, job_dir: str, text: str = "") -> tuple[str, ...]:
        """Return `sbatch` with the script and its folder; all directives are in the script."""
        check_directives(text)
        return ("sbatch", "--parsable", f"--chdir={job_dir}", script)

    def after_argv(self, argv: tuple[str, ...], job_ids: Sequence[str]) -> tuple[str, ...]:
        """Return sbatch with `afterok`. Without --kill-on-invalid-dep a job whose dependency failed waits for ever."""
        return (argv[0], f"--dependency=afterok:{':'.join(job_ids)}", "--kill-on-invalid-dep=yes", *argv[1:])

    def read_user_script(self, text: str, *, array_allowed: bool = False) -> ScriptRequest:
        """Return what a user's own script requests; see `user_request`."""
        return user_request(text, array_allowed=array_allowed)

    def submit_user_script_argv(
        self, script: str, exports: Mapping[str, str], *, name: str, log_dir: str, text: str = "", walltime_s: float = 0
    ) -> tuple[str, ...]:
        """Return `sbatch` of a user's own script. --export cannot pass commas: such values are only in the file."""
        carried = [f"{key}={value}" for key, value in exports.items() if _CARRIED.fullmatch(value)]
        return (
            "sbatch",
            "--parsable",
            f"--job-name={name}",
            f"--comment={COMMENT_PREFIX}{exports.get('HPCSWEEP_JOB_DIR', '')}",
            f"--output={log_dir.replace('%', '%%')}/%j.log",
            f"--export={','.join(['ALL', *carried])}",
            script,
        )

    def parse_submit(self, answer: CommandResult) -> str:
        """Return the job id of `12`, `12;cluster` or `Submitted batch job 12`; see `Scheduler.parse_submit`."""
        _raise_if_unreachable(answer, "sbatch")
        ids = {match[1] for line in answer.stdout.splitlines() if (match := _SUBMITTED.fullmatch(line.strip()))}
        evidence = f"{answer.stdout}\n{answer.stderr}\n{' '.join(answer.argv)} (exit code {answer.exit_code})"
        if answer.exit_code != 0 and not ids:
            text = refusal(answer.stderr)
            if authentication_failed(answer.stderr):
                raise SchedulerError(
                    f"nothing was submitted: Slurm could not authenticate this machine: {text}",
                    code="slurm_authentication",
                    detail=evidence,
                    hint="munge is not running here, or its key or clock differs from the cluster's; submit from "
                    "another login node, or report it to the site",
                )
            raise SchedulerError(
                f"sbatch refused the job: {text or f'exit code {answer.exit_code}'}",
                code="submit_refused",
                detail=evidence,
                hint=refusal_hint(answer.stderr),
            )
        if answer.exit_code != 0 or len(ids) != 1:
            # The job may be in the queue. It is searched for by its comment, and its folder is kept.
            raise SchedulerUnreachable(
                f"sbatch exited with {answer.exit_code} and printed {len(ids) or 'no'} job id(s): {answer.stdout!r}",
                code="submit_result_unknown",
                detail=evidence,
                hint="check whether a wrapper around sbatch prints additional text; squeue --me lists your jobs",
            )
        return ids.pop()

    def cancel_argv(self, job_id: str, indexes: Sequence[int] | None) -> tuple[str, ...]:
        """Return one `scancel`, of the whole job or of `12_[1,3-5]`."""
        return ("scancel", job_id if indexes is None else f"{job_id}_[{fold_indexes(indexes)}]")

    def cancel_error(self, answer: CommandResult) -> str:
        """Return why scancel failed. For jobs that are over or unknown it prints nothing and exits with 0."""
        if answer.exit_code is None:
            return "scancel did not answer in time"
        lines = [line for line in answer.stderr.splitlines() if not any(words in line for words in _GONE)]
        if answer.exit_code == 0 or (answer.stderr and not lines):
            return ""
        return _last_line("\n".join(lines)) or f"scancel exited with code {answer.exit_code}"

    def queries(self, job_ids: Sequence[str], user: str) -> Sequence[Query[QueueSnapshot]]:
        """Return one squeue, which lists a job until MinJobAge after its end, and one sacct."""
        ids = ",".join(job_ids)
        squeue = ("squeue", "-h", "--states=all", "-j", ids, "-O", SQUEUE_FORMAT)
        sacct = ("sacct", "-X", "-n", "-P", "-j", ids, "-o", SACCT_FORMAT)
        return Query((*_WHOLE_RANGES, *squeue), squeue_snapshot), Query((*_WHOLE_RANGES, *sacct), sacct_snapshot)

    def array_task_id(self, job_id: str, index: int) -> str:
        """Return `12_3`."""
        return f"{job_id}_{index}"

    def find_query(self, name: str, user: str, job_dir: str) -> Query[list[str]]:
        """Return squeue for the user's jobs of this name whose comment is `job_dir`, also those that just ended."""
        argv = ("squeue", "-h", "--states=all", f"--user={user}", f"--name={name}", "-O", "JobArrayID:|,Comment:|")
        return Query(argv, partial(submitted_from, job_dir))

    def own_state_query(self, job_id: str, restarts: int) -> Query[str]:
        """Return squeue for the job itself."""
        argv = ("squeue", "--noheader", "--states=all", "--jobs", job_id, "--Format", OWN_STATE_FIELDS)
        return Query(argv, lambda answer: read_own_state(answer.stdout, restarts) if answer.exit_code == 0 else "")

    def probes(self) -> Sequence[tuple[str, ...]]:
        """Return the commands for the configuration, and the partitions with their nodes."""
        return (CONFIG_ARGV, PARTITIONS_ARGV)

    def parse_probes(self, answers: Sequence[CommandResult]) -> ClusterFacts:
        """Return the facts of the cluster; see `Scheduler.parse_probes`."""
        return parse_facts(*answers)


def squeue_snapshot(answer: CommandResult) -> QueueSnapshot:
    """Parse the result of the squeue of `queries`."""
    if answer.exit_code not in (0, None) and _UNKNOWN_ID in answer.stderr and not answer.stdout.strip():
        return QueueSnapshot()  # squeue -j with one unknown id: an empty list, not an error
    return _snapshot("squeue", answer, parse_squeue)


def sacct_snapshot(answer: CommandResult) -> QueueSnapshot:
    """Parse the result of the sacct of `queries`."""
    return _snapshot("sacct", answer, parse_sacct)


def _snapshot(command: str, answer: CommandResult, parse: Callable[[str], Statuses]) -> QueueSnapshot:
    if answer.exit_code is None:
        return QueueSnapshot(complete=False, error=f"{command} did not answer within {answer.wall_s:.0f} s")
    if answer.exit_code != 0:
        if _NO_ACCOUNTING in answer.stderr:
            return QueueSnapshot()  # not an error: `hpcsweep doctor` reports that accounting is off
        last = _last_line(answer.stderr) or f"exit code {answer.exit_code}"
        if authentication_failed(answer.stderr):
            last = f"munge does not work on this machine ({last})"
        return QueueSnapshot(complete=False, error=f"{command}: {last}")
    try:
        return QueueSnapshot(parse(answer.stdout))
    except SchedulerParseError as exc:
        more = f" ({_last_line(answer.stderr)})" if answer.stderr.strip() else ""
        return QueueSnapshot(complete=False, error=exc.message + more)


def submitted_from(job_dir: str, answer: CommandResult) -> list[str]:
    """Return the ids of the listed jobs whose comment names `job_dir`, the oldest first. Raises SchedulerError."""
    _raise_if_unreachable(answer, "squeue")
    if answer.exit_code != 0:
        raise SchedulerError(
            f"squeue: {_last_line(answer.stderr)}", code="scheduler_query_failed", detail=" ".join(answer.argv)
        )
    ids: set[int] = set()
    for line in answer.stdout.splitlines():
        job_id, _, comment = line.partition("|")
        if comment.rstrip("|") == COMMENT_PREFIX + job_dir:
            ids.update(int(key[0]) for key in expand_job_id(job_id))
    return [str(job_id) for job_id in sorted(ids)]


def _raise_if_unreachable(answer: CommandResult, command: str) -> None:
    if answer.exit_code is None:
        raise SchedulerUnreachable(
            f"{command} did not answer within {answer.wall_s:.0f} s",
            code="scheduler_timed_out",
            hint="`scontrol ping` shows whether Slurm is up",
        )
    if answer.exit_code != 0 and unreachable(answer.stderr):
        raise SchedulerUnreachable(
            f"{command}: {_last_line(answer.stderr)}",
            code="scheduler_unreachable",
            hint="`scontrol ping` shows whether Slurm is up",
        )


def _last_line(text: str) -> str:
    """Return the last line on stderr, without the leading name of the command."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"^\w+: (error: |fatal: )?", "", lines[-1]) if lines else ""

"""Parse the output of squeue and sacct into statuses. Formats as measured on 22.05.8."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hpcsweep.errors import SchedulerParseError
from hpcsweep.schedulers.base import JobState, JobStatus
from hpcsweep.schedulers.slurm.reasons import LAUNCH_FAILURE_SIGNAL, meaning, state_hint, waiting
from hpcsweep.spec.phases import OutcomeKind

SQUEUE_FIELDS = ("JobArrayID", "State", "exit_code", "RestartCnt", "NodeList", "Reason", "Name")
SQUEUE_FORMAT = ",".join(f"{name}:|" for name in ("TimeUsed", *SQUEUE_FIELDS))
"""For `squeue -O`. A suffix without a width: no padding, no truncation. The name may contain a `|`, so it is last.

TimeUsed is first, because earlier versions of hpcsweep, and transcripts recorded with them, did not have it.
"""

NO_JOB_FOLDER_EXIT = 66
"""EX_NOINPUT (sysexits.h): exit code of job.sh if its folder does not exist; its output may be lost too."""

NO_AGENT_AFTER_S = 300.0
"""A job that has run for this long without output has most likely not started its script."""

SACCT_FIELDS = ("JobID", "State", "ExitCode", "NodeList", "Reason", "JobName")
SACCT_FORMAT = ",".join(SACCT_FIELDS)
"""For `sacct -P -o`. 22.05 has no field Restarts."""

OWN_STATE_FIELDS = "State:|,RestartCnt:|,PreemptTime:|,StartTime:|"
"""For `squeue --Format` of a job about itself."""

Statuses = dict[tuple[str, int | None], JobStatus]

_JOB_ID = re.compile(r"(\d+)(?:_(\d+)|_\[([^\]]*)\]|\+\d+)?")
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")
_TIME_USED = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d\d)")
_NOWHERE = ("", "(null)", "None assigned", "None")


_NOTHING_STARTED = (
    "check whether a login file (~/.bash_profile, /etc/profile.d) blocks on the nodes: Slurm reads them before the "
    "script because of --export=NONE; with login_shell: false in the cluster profile it does not"
)


def parse_squeue(text: str) -> Statuses:
    """Parse `squeue -h -O SQUEUE_FORMAT`. Raises SchedulerParseError that quotes the line."""
    by_key: Statuses = {}
    for run_s, row in _squeue_rows(text):
        job_id, native, wait_status, restarts, nodes, reason, name = row
        exit_code, signal = _exit(wait_status)
        for key in expand_job_id(job_id):
            status = _status(key, native, reason, nodes, name.removesuffix("|"), exit_code, signal, restarts)
            late = status.state is JobState.RUNNING and run_s is not None and run_s >= NO_AGENT_AFTER_S
            by_key[key] = replace(status, hint=_NOTHING_STARTED) if late else status
    return by_key


def _squeue_rows(text: str) -> Iterator[tuple[float | None, list[str]]]:
    """Yield the seconds that each job has run (None: unknown), and the other fields."""
    lines: list[str] = []
    times: list[float | None] = []
    for line in text.splitlines():
        if line.strip():
            first, bar, rest = line.partition("|")
            match = _TIME_USED.fullmatch(first.strip())
            timed = bar and (match is not None or first.strip() == "INVALID")
            lines.append(rest if timed else line)
            times.append(_seconds(match) if match is not None else None)
    return zip(times, _rows("\n".join(lines), len(SQUEUE_FIELDS), "squeue"), strict=True)


def _seconds(match: re.Match[str]) -> float:
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def parse_sacct(text: str) -> Statuses:
    """Parse `sacct -X -n -P -o SACCT_FORMAT`. Raises SchedulerParseError that quotes the line."""
    by_key: Statuses = {}
    for row in _rows(text, len(SACCT_FIELDS), "sacct"):
        job_id, native, code, nodes, reason, name = row
        if "." in job_id:
            continue  # a step, if -X was not given
        exit_code, signal = _exit(code)
        # Reason is that of the moment of recording, mostly None. It is not why the job waits now.
        reason = "" if native == "PENDING" and reason == "None" else reason
        for key in expand_job_id(job_id):
            status = _status(key, native, reason, nodes, name, exit_code, signal, "")
            by_key[key] = replace(status, lags=True)
    return by_key


def _exit(text: str) -> tuple[int | None, int | None]:
    """Return (exit code, signal) of `3:0`, as sacct prints it, or of a raw wait status. None: not reported."""
    code, colon, signal = text.partition(":")
    if not code.isdigit():
        return None, None
    return (int(code), int(signal) if signal.isdigit() else None) if colon else split_wait_status(int(code))


def split_wait_status(status: int) -> tuple[int, int]:
    """Return (exit code, signal) of a raw wait status, as squeue prints it: 768 is exit code 3, 15 is signal 15.

    `scontrol` and `sacct` print the same as `3:0` and `0:15`. With a signal the exit code is 0.
    """
    signal = status & 0x7F
    return (0, signal) if signal else (status >> 8 & 0xFF, 0)


def expand_job_id(text: str) -> list[tuple[str, int | None]]:
    """Return the keys of a job id as Slurm prints it: `7`, `8_3`, `8_[3-4,6,9%3]`, `8_[1-201:2]`.

    A truncated range (`8_[1,3,...]`) gives the indexes that it contains. Raises SchedulerParseError.
    """
    match = _JOB_ID.fullmatch(text)
    if match is None:
        raise SchedulerParseError(f"not a Slurm job id: {text!r}", code="slurm_output_unreadable")
    job_id, index, ranges = match.groups()
    if ranges is not None:
        return [(job_id, number) for number in _expand(ranges.partition("%")[0], text)]
    return [(job_id, None if index is None else int(index))]


def fold_indexes(indexes: Sequence[int]) -> str:
    """Return `1,3-5` for 1, 3, 4, 5, the form that sbatch --array and scancel read."""
    parts: list[list[int]] = []
    for index in sorted(set(indexes)):
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in parts)


def _expand(ranges: str, text: str) -> Iterator[int]:
    for part in ranges.split(","):
        if part == "...":
            continue
        match = _RANGE.fullmatch(part)
        if match is None:
            raise SchedulerParseError(
                f"not a range of array indexes: {part!r} in {text!r}", code="slurm_output_unreadable"
            )
        low, high, step = match.groups()
        yield from range(int(low), int(high or low) + 1, int(step or 1))


def _rows(text: str, fields: int, command: str) -> Iterator[list[str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        row = [value.strip() for value in line.split("|", fields - 1)]
        if len(row) != fields:
            raise SchedulerParseError(
                f"{command} line {number} has {len(row)} fields instead of {fields}: {line!r}",
                code="slurm_output_unreadable",
            )
        yield row


def _status(
    key: tuple[str, int | None],
    native: str,
    reason: str,
    nodes: str,
    name: str,
    exit_code: int | None,
    signal: int | None,
    restarts: str,
) -> JobStatus:
    known = meaning(native)
    state, words, hint, outcome = known.state, known.words, state_hint(native), known.outcome
    if native == "PENDING" and reason:
        why = waiting(reason)
        state, words, hint = why.state, why.words, why.hint
    elif native == "FAILED":
        if not exit_code and not signal:
            exit_code = None  # right after an outage of slurmdbd, sacct reports 0:0 for a failed job
        words, hint = _failure(exit_code, signal, hint)
    elif outcome is OutcomeKind.LOST:
        exit_code = signal = None  # NODE_FAIL has 0:0 or, since 24.11, 1:0: neither is from the script
    return JobStatus(
        job_id=key[0],
        index=key[1],
        state=state,
        native=native,
        reason=words,
        hint=hint,
        outcome=outcome,
        exit_code=exit_code if state.final else None,
        signal=(signal or None) if state.final else None,
        node=None if nodes in _NOWHERE else nodes,
        restarts=int(restarts) if restarts.isdigit() else None,
        name=name or None,
    )


def _failure(exit_code: int | None, signal: int | None, hint: str) -> tuple[str, str]:
    if signal == LAUNCH_FAILURE_SIGNAL:
        return (
            "its node could not start the script (exit code 0:53)",
            "check that the log folder exists and is writable on that node; then: hpcsweep retry --exclude-bad-nodes",
        )
    if signal:
        return f"its script was killed by signal {signal}", hint
    if exit_code == NO_JOB_FOLDER_EXIT:
        return (
            f"its script did not find the job's folder on the node (exit code {exit_code})",
            "HPCSWEEP_HOME must be on a file system that compute nodes share; with job_container/tmpfs, each job has "
            "its own /tmp and /dev/shm",
        )
    return f"its script ended with exit code {'unknown' if exit_code is None else exit_code}", hint


def read_own_state(text: str, restarts: int) -> str:
    """Return `REQUEUED`, `PREEMPTED`, or the state in the line that squeue prints for OWN_STATE_FIELDS.

    `restarts`: of this start of the job. While Slurm requeues a job, its state is COMPLETING, as for any job that ends:
    only a restart that is counted already, or a preemption time within this start, shows it (Slurm 22.05.8).
    Returns "" for text of another form.
    """
    row = text.partition("\n")[0].split("|")
    if len(row) != 5:
        return ""
    state, counted, preempted_at, started_at, _ = row
    if counted.isdigit() and int(counted) > restarts:
        return "REQUEUED"
    if preempted_at[:1].isdigit() and preempted_at >= started_at:
        return "PREEMPTED"
    return state

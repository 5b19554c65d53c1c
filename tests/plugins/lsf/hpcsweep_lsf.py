"""A scheduler plugin: IBM Spectrum LSF, through `bsub`, `bjobs` and `bkill`."""

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from hpcsweep.errors import SchedulerError, SchedulerUnreachable
from hpcsweep.schedulers.base import CommandResult, JobEnvironment, JobState, JobStatus, Query, QueueSnapshot, Scheduler
from hpcsweep.spec.base import Model

STATES = {
    "PEND": JobState.PENDING,
    "PSUSP": JobState.HELD,
    "RUN": JobState.RUNNING,
    "DONE": JobState.COMPLETED,
    "EXIT": JobState.FAILED,
}


class LsfOptions(Model):
    """Keys of `scheduler_options` in a cluster profile."""

    application: str = Field("", pattern=r"^[\w.-]*$", description="application profile (bsub -app)")


class LsfScheduler(Scheduler):
    """LSF 10. Its array indexes begin at 1, those of hpcsweep at 0."""

    name = "lsf"
    template = "lsf.sh.j2"
    template_text = Path(__file__).with_name("lsf.sh.j2").read_text(encoding="utf-8")
    environment = JobEnvironment(job_id="LSB_JOBID", job_name="LSB_JOBNAME", queue="LSB_QUEUE")
    options_model = LsfOptions

    def submit_argv(self, script: str, job_dir: str, text: str = "") -> tuple[str, ...]:
        return ("/bin/sh", "-c", 'cd "$1" && exec bsub < "$2"', "bsub", job_dir, script)

    def parse_submit(self, answer: CommandResult) -> str:
        if answer.exit_code is None:
            raise SchedulerUnreachable(f"bsub did not answer within {answer.wall_s:.0f} s", code="submit_timed_out")
        match = re.search(r"Job <(\d+)> is submitted", answer.stdout)
        if match is None:
            raise SchedulerError(f"bsub rejected the job: {answer.stderr.strip()}", code="submit_rejected")
        return match[1]

    def cancel_argv(self, job_id: str, indexes: Sequence[int] | None) -> tuple[str, ...]:
        ids = [job_id] if indexes is None else [self.array_task_id(job_id, index) for index in indexes]
        return ("bkill", *ids)

    def cancel_error(self, answer: CommandResult) -> str:
        return "" if answer.exit_code == 0 else answer.stderr.strip() or "bkill failed"

    def queries(self, job_ids: Sequence[str], user: str) -> Sequence[Query[QueueSnapshot]]:
        argv = ("bjobs", "-a", "-noheader", "-o", "jobid jobindex stat exec_host delimiter='|'", *job_ids)
        return (Query(argv, snapshot),)

    def array_task_id(self, job_id: str, index: int) -> str:
        return f"{job_id}[{index + 1}]"

    def log_index(self, file_name: str) -> int | None:
        match = re.fullmatch(r"(\d+)\.out", file_name)
        return max(int(match[1]) - 1, 0) if match else None


def snapshot(answer: CommandResult) -> QueueSnapshot:
    """Parse `bjobs`: JOBID|JOBINDEX|STAT|EXEC_HOST, with index 0 for a job that is not an array task."""
    rows = [line.split("|") for line in answer.stdout.splitlines()]
    if answer.exit_code != 0 or not all(len(row) == 4 and row[1].isdigit() for row in rows):
        return QueueSnapshot(complete=False, error=f"bjobs: {answer.stderr.strip() or answer.stdout.strip()[:80]}")
    statuses = {}
    for job_id, number, state, host in rows:
        index = int(number) - 1 if number != "0" else None
        node = None if host == "-" else host
        statuses[job_id, index] = JobStatus(job_id, index, STATES.get(state, JobState.UNKNOWN), state, node=node)
    return QueueSnapshot(statuses)

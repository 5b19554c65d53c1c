"""jobs/N/submission.json: the record of one submission."""

from typing import Literal

from pydantic import AliasChoices, Field

from hpcsweep.spec.base import Record


class Submission(Record):
    """The scheduler's answer to a submission, and the requests since.

    `job_id` None: unconfirmed, the job may or may not exist. `cancelled`: indexes that hpcsweep cancelled, because a
    scheduler may forget an array task that is cancelled while it is pending. `searched_in_vain`: the scheduler reported
    long after the submission that it has no such job, so `status` stopped the search. `plain`: the user submitted
    the job or array with sbatch or qsub, and it joined the sweep when it started, at `submitted_at`; the array tasks of
    a plain job are runs that it executes one after the other. `name`: of the job, if it is not SWEEP-N.
    """

    job_id: str | None = Field(
        pattern=r"^[A-Za-z0-9_][^\s/\x00-\x1f\x7f-\x9f]{0,254}$", description="an argument of the scheduler's commands"
    )
    cluster: str
    scheduler: str
    submitted_at: float
    array_tasks: int = Field(ge=1, validation_alias=AliasChoices("array_tasks", "elements"))
    cancelled: list[int] = []
    searched_in_vain: bool = False
    plain: Literal["job", "array"] | None = None
    name: str | None = None

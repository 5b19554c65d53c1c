"""jobs/N/submission.json: what became of a job that was handed over."""

from typing import Literal

from pydantic import AliasChoices, Field

from hpcsweep.spec.base import Record


class Submission(Record):
    """What the scheduler answered, and what we asked of it since.

    `job_id` None: the submission was begun, and nobody knows whether it arrived. `cancelled`: indexes that we
    cancelled ourselves: a scheduler may forget an element that is cancelled while it is pending. `searched_in_vain`:
    the scheduler reported long after the submission that it has no such job; no status looks for it any more. `plain`:
    the user submitted the job or array with sbatch or qsub, and it joined the sweep as it started, at `submitted_at`;
    elements of a plain job are runs that it executes one after the other. `name`: that of the job, where it is not
    SWEEP-N.
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

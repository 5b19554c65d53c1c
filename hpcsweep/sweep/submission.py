"""jobs/N/submission.json: what became of a job that was handed over."""

from typing import Literal

from pydantic import Field

from hpcsweep.spec.base import Record


class Submission(Record):
    """What the scheduler answered, and what we asked of it since.

    `job_id` None: the submission was begun, and nobody knows whether it arrived. `cancelled`: indexes that we
    cancelled ourselves: a scheduler may forget an element that is cancelled while it is pending. `plain`: the user
    submitted the job or array with sbatch or qsub, and it joined the sweep as it started, at `submitted_at`; elements
    of a plain job are runs that it executes one after the other. `name`: that of the job, where it is not SWEEP-N.
    """

    job_id: str | None
    cluster: str
    scheduler: str
    submitted_at: float
    elements: int = Field(ge=1)
    cancelled: list[int] = []
    plain: Literal["job", "array"] | None = None
    name: str | None = None

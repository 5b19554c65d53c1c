"""The preparations of a sweep when its runs are submitted, submitted again or cancelled."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from hpcsweep.errors import SpecError
from hpcsweep.plan.jobs import of_profile
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.job import JobSpec
from hpcsweep.sweep.layout import SweepFolder


class PreparationUse(Enum):
    """What a command does with an earlier job of a preparation.

    DONE: it completed, so nothing waits for it. WAIT: it is queued or running. AGAIN: it ended without completing, or
    was never submitted. UNKNOWN: the scheduler does not report its state.
    """

    DONE = "done"
    WAIT = "wait"
    AGAIN = "again"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class PreparationsAgain:
    """The preparations of runs that are submitted again. `jobs`: to submit first. `next_job`: number after those.

    `numbers`: name -> number of the job, of those that have not completed.
    """

    jobs: list[JobSpec]
    next_job: int
    numbers: dict[str, int]

    def open_of(self, job: JobSpec) -> dict[str, int]:
        """Return the preparations that `job` needs and that have not completed."""
        return {name: self.numbers[name] for name in job.needs if name in self.numbers}


def preparation_jobs(sweep: SweepFolder) -> dict[str, JobSpec]:
    """Return name -> the latest submitted job of each preparation; a job that was never submitted comes last."""
    jobs = [sweep.read_job(number) for number in sweep.job_numbers()]
    steps = [job for job in jobs if job.preparation is not None]
    steps.sort(key=lambda job: sweep.was_submitted(job.job))  # stable: by number within each half
    return {job.preparation.name: job for job in steps if job.preparation is not None}


def preparations_again(
    sweep: SweepFolder, jobs: Sequence[JobSpec], uses: Mapping[str, PreparationUse], cluster: Cluster
) -> PreparationsAgain:
    """Return what the runs of `jobs` need when they are submitted again, with the current profile.

    Raises SpecError when the state of a preparation is unknown.
    """
    first = sweep.job_numbers()[-1] + 1
    wanted = list(dict.fromkeys(name for job in jobs for name in job.needs))
    latest = preparation_jobs(sweep) if wanted else {}
    again: list[JobSpec] = []
    numbers: dict[str, int] = {}
    for name in wanted:
        use = uses.get(name, PreparationUse.AGAIN)
        if use is PreparationUse.UNKNOWN:
            raise SpecError(
                f"{sweep.name}: the state of preparation {name} is unknown, so it is neither waited for nor repeated",
                code="preparation_unknown",
                hint=f"run `hpcsweep status {sweep.name}` until the scheduler reports its job {latest[name].job}",
            )
        if use is PreparationUse.WAIT:
            numbers[name] = latest[name].job
        elif use is PreparationUse.AGAIN:
            numbers[name] = number = first + len(again)
            needs = {earlier: numbers[earlier] for earlier in latest[name].needs if earlier in numbers}
            changed = {"job": number, "name": f"{sweep.name}-{number}", "needs": needs, **of_profile(cluster)}
            again.append(latest[name].model_copy(update=changed))
    return PreparationsAgain(again, first + len(again), numbers)


def submitted_before(sweep: SweepFolder, job: JobSpec) -> list[str]:
    """Return the scheduler's ids of the jobs that `job` must wait for. Raises SpecError when one has none."""
    ids = []
    for name, number in job.needs.items():
        submission = sweep.read_submission(number)
        if submission is None or submission.job_id is None:
            raise SpecError(
                f"preparation {name} of {sweep.name} (job {number}) was not submitted, so that no job can wait for it",
                code="preparation_not_submitted",
            )
        ids.append(submission.job_id)
    return ids


def unneeded_preparations(sweep: SweepFolder, cancelled: Collection[str]) -> list[int]:
    """Return the numbers of the submitted preparation jobs that only runs in `cancelled` need, by their labels."""
    current = sweep.current_jobs()
    kept = {number for label, (job, _, _) in current.items() if label not in cancelled for number in job.needs.values()}
    needed = {number for label, (job, _, _) in current.items() if label in cancelled for number in job.needs.values()}
    return sorted(number for number in needed - kept if sweep.was_submitted(number))

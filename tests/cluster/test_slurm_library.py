"""hpcsweep.submit.submitit.slurm_executor as a library, on a real Slurm, with or without accounting."""

import os
import time
from pathlib import Path

import pytest
import submitit
from slurm_sweeps import SERVICE, slurm, wait_for
from submitit.core.utils import FailedJobError, UncompletedJobError

from hpcsweep.errors import SchedulerError
from hpcsweep.spec.cluster import Cluster
from hpcsweep.submit.submitit.slurm_executor import SlurmExecutor

# Waiting for the other workers of xdist counts too.
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]


@pytest.fixture
def executor(tmp_path: Path) -> SlurmExecutor:
    cluster = Cluster(scheduler="slurm", partition="debug", memory="500M", env={"FROM_PROFILE": "it's here"})
    made = SlurmExecutor(tmp_path / "%j", cluster)
    made.update_parameters(timeout_min=2, name="library", cpus_per_task=1)
    return made


def test_map_array(executor: SlurmExecutor) -> None:
    def work(left: int, right: int) -> tuple[int, str, str | None]:
        return left * right, os.environ["FROM_PROFILE"], os.environ.get("OF_THE_CALLER")

    os.environ["OF_THE_CALLER"] = "leaks"
    try:
        jobs = executor.map_array(work, [1, 2, 3], [4, 5, 6])
    finally:
        del os.environ["OF_THE_CALLER"]
    assert len({job.job_id.split("_")[0] for job in jobs}) == 1
    assert [job.result() for job in jobs] == [(n, "it's here", None) for n in (4, 10, 18)]


def test_an_exception_comes_back(executor: SlurmExecutor) -> None:
    def work() -> None:
        raise ValueError("boom")

    with pytest.raises(FailedJobError, match="boom"):
        executor.submit(work).result()


def test_a_job_that_dies_without_a_result_ends(executor: SlurmExecutor) -> None:
    """submitit's own executor waits for ever here, where accounting is off."""

    def work() -> None:
        os._exit(7)

    job = executor.submit(work)
    with pytest.raises(UncompletedJobError, match="state: FAILED"):
        job.result()
    assert (job.state, job.exit_code, job.reason) == ("FAILED", 7, "its script ended with exit code 7")


def test_cancelled_elements_end(executor: SlurmExecutor) -> None:
    executor.update_parameters(array_parallelism=1)
    first, second = executor.map_array(time.sleep, [100, 100])
    wait_for(lambda: first.watcher.get_state(first.job_id, mode="force") == "RUNNING", 40, "it runs")
    second.cancel()
    first.cancel()
    wait_for(lambda: first.done(force_check=True) and second.done(force_check=True), 60, "both are over")
    assert first.state.startswith("CANCELLED")
    assert second.state == "GONE" or second.state.startswith("CANCELLED")


def test_a_time_limit_is_announced_to_the_function(executor: SlurmExecutor) -> None:
    """The warning signal reaches the function itself, which submitit ends with a reason."""
    executor.update_parameters(timeout_min=1, signal_delay_s=50)
    with pytest.raises((FailedJobError, UncompletedJobError), match="not checkpointable"):
        executor.submit(time.sleep, 100).result()


def test_a_refusal_is_ours(executor: SlurmExecutor) -> None:
    executor.update_parameters(partition="nosuch")
    with pytest.raises(SchedulerError, match="invalid partition specified: nosuch"):
        executor.submit(time.sleep, 1)


def test_it_is_submitits_executor(executor: SlurmExecutor) -> None:
    assert isinstance(executor, submitit.SlurmExecutor)
    assert executor.name() == "slurm"
    assert slurm("scontrol", "ping").endswith("UP") and SERVICE.is_dir()

"""The submitit plugin on the fake PBS: real submitit, real jobs."""

import importlib
import os
import pickle
import signal
import sys
import time
from pathlib import Path

import pytest
import submitit
from pbs_fixture import FakePbs, wait_until
from submitit.core import utils

from hpcsweep.errors import SchedulerError, SpecError
from hpcsweep.submit.submitit import pbs_job
from hpcsweep.submit.submitit.pbs_executor import PbsExecutor


def add(a: int, b: int) -> int:
    return a + b


def divide(a: int, b: int) -> float:
    return a / b


def die(code: int) -> None:
    os._exit(code)


def wait_if(waits, marker):
    if waits:
        wait_long(marker)
    return waits


def wait_long(marker: str) -> str:
    Path(marker).write_text(str(os.getpid()))
    time.sleep(60)
    return "slept"


def say_both() -> None:
    print("to stdout", flush=True)
    print("to stderr", file=sys.stderr)


class Counting:
    """Counts up to a number, slowly; goes on where it was when it is interrupted."""

    def __init__(self, log: str, start: int = 0) -> None:
        self.log, self.count = log, start

    def __call__(self, end: int) -> list[int]:
        with Path(self.log).open("a") as log:
            log.write(f"from {self.count}\n")
        while self.count < end:
            time.sleep(0.05)
            self.count += 1
            if self.count == 20 and Path(self.log).read_text() == "from 0\n":
                Path(self.log).write_text("from 0\nat 20\n")
                time.sleep(60)  # interrupted here
        return [self.count, os.getpid()]

    def checkpoint(self, end: int) -> utils.DelayedSubmission:
        return utils.DelayedSubmission(Counting(self.log, self.count), end)


@pytest.fixture
def site(pbs: FakePbs, monkeypatch: pytest.MonkeyPatch) -> FakePbs:
    pbs.admin("set server kill_delay=2.0")
    monkeypatch.setattr(pbs_job.PbsJob, "watcher", pbs_job.PbsWatcher(delay_s=1))
    monkeypatch.setattr(pbs_job.PbsJob, "_results_timeout_s", 2)
    return pbs


@pytest.fixture
def executor(site: FakePbs) -> submitit.AutoExecutor:
    found = submitit.AutoExecutor(site.home / "work", cluster="pbs")
    # The functions of this file are unpickled in the job by the name of their module.
    found.update_parameters(
        timeout_min=5, pbs_queue="gpuq", pbs_env={"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[1]}"}
    )
    return found


def test_it_is_found_by_its_entry_points(executor):
    assert isinstance(executor._executor, PbsExecutor)
    assert PbsExecutor.affinity() == 2


def test_one_function(executor, site):
    job = executor.submit(add, 2, 3)
    assert job.result() == 5
    assert site.attributes(job.job_id)["Resource_List.walltime"] == "00:05:00"
    assert "Submission file" not in (job.stdout() or "")
    assert "\n#PBS -N submitit\n" in job.paths.submission_file.read_text()
    wait_until(lambda: job.watcher.get_state(job.job_id, mode="force") == "COMPLETED")
    assert (job.exit_code, job.reason) == (0, "finished")


def test_an_array_is_one_qsub(executor, site):
    executor.update_parameters(name="sums", pbs_array_parallelism=2)
    jobs = executor.map_array(add, [1, 2, 3, 4], [10, 20, 30, 40])
    assert [job.result() for job in jobs] == [11, 22, 33, 44]
    assert [job.job_id for job in jobs] == [f"0_{index}" for index in range(4)]
    (record,) = site.state()["jobs"].values()
    assert (record["a"]["array_indices_submitted"], record["limit"], record["a"]["Job_Name"]) == ("0-3", 2, "sums")


def test_an_array_of_one_is_a_plain_job_and_a_long_one_becomes_several(executor, site):
    (single,) = executor.map_array(add, [1], [2])
    assert (single.result(), single.job_id) == (3, "0")
    executor.update_parameters(pbs_max_array_size=2)
    jobs = executor.map_array(add, range(5), range(5))
    assert [job.job_id for job in jobs] == ["1_0", "1_1", "2_0", "2_1", "3"]
    assert [job.result() for job in jobs] == [0, 2, 4, 6, 8]


def test_an_exception_in_the_function(executor):
    job = executor.submit(divide, 1, 0)
    with pytest.raises(utils.FailedJobError, match="ZeroDivisionError"):
        job.result()


@pytest.mark.parametrize("history", ["True", "False"])
def test_a_process_that_dies_ends_the_wait(executor, site, history):
    site.admin(f"set server job_history_enable={history}")
    job = executor.submit(die, 7)
    with pytest.raises(utils.UncompletedJobError, match="has not produced any output"):
        job.result()
    assert job.state == "FAILED"
    assert job.exit_code == 7
    assert "exit code 7" in job.reason


def test_killed_without_a_word_and_without_history(executor, site, monkeypatch):
    site.admin("set server job_history_enable=False")
    marker = site.home / "pid"
    job = executor.submit(wait_long, str(marker))
    wait_until(lambda: marker.exists() and job.watcher.get_state(job.job_id, mode="force") == "RUNNING")
    site.out(f"qdel -W force {job.job_id}")
    assert job.watcher.get_state(job.job_id, mode="force") == "RUNNING"  # its own end may still be on its way
    monkeypatch.setattr(pbs_job, "ABSENCE_GRACE_S", 0.0)
    wait_until(lambda: job.done(force_check=True))
    assert job.state == pbs_job.GONE


def test_cancelling_a_subjob_that_has_ended_while_its_array_lives(executor, site):
    """qdel exits with 55: "Request invalid for finished array subjob"."""
    marker = site.home / "pid"
    short, long = executor.map_array(wait_if, [0, 1], [str(marker)] * 2)
    assert short.result() == 0
    wait_until(lambda: marker.exists() and site.attributes("0[0]")["job_state"] == "X")
    refused = site.run("qdel '0[0]'")
    assert (refused.returncode, refused.stderr.strip()) == (
        55,
        "qdel: Request invalid for finished array subjob 0[0].pbshost",
    )
    short.cancel()
    long.cancel()


def test_cancel(executor, site):
    marker = site.home / "pid"
    job = executor.submit(wait_long, str(marker))
    wait_until(marker.exists)
    job.cancel()
    with pytest.raises(utils.UncompletedJobError, match="SIGTERM: deleted"):
        job.result()
    wait_until(lambda: job.watcher.get_state(job.job_id, mode="force") == "CANCELLED")
    assert job.reason == "deleted by hpcuser@pbshost"


def test_cancel_without_history(executor, site):
    """The server forgets the job as it ends; that it was cancelled is known all the same."""
    site.admin("set server job_history_enable=False")
    site.admin("set server kill_delay=1.0")
    marker = site.home / "pid"
    job = executor.submit(wait_long, str(marker))
    wait_until(lambda: marker.exists() and job.watcher.get_state(job.job_id, mode="force") == "RUNNING")
    os.kill(int(site.attributes("0")["session_id"]), signal.SIGSTOP)  # its own record of its end is never written
    job.cancel()
    wait_until(lambda: job.watcher.get_state(job.job_id, mode="force") == "CANCELLED")
    wait_until(lambda: not Path(f"/proc/{marker.read_text()}").exists())
    job.cancel()  # over already: fine


def test_cancel_one_element_that_waits(executor, site):
    executor.update_parameters(pbs_array_parallelism=1)
    marker = site.home / "pid"
    jobs = executor.map_array(wait_long, [str(marker), str(marker)])
    wait_until(marker.exists)
    jobs[1].cancel()
    wait_until(lambda: jobs[1].watcher.get_state(jobs[1].job_id, mode="force") == "CANCELLED")
    assert jobs[1].reason == "deleted before it ran"
    assert jobs[0].watcher.get_state(jobs[0].job_id, mode="force") == "RUNNING"


@pytest.mark.parametrize("operator", [True, False], ids=["qrerun", "continuation"])
@pytest.mark.parametrize("array", [False, True], ids=["plain", "array"])
def test_a_checkpoint_goes_on(executor, site, monkeypatch, operator, array):
    """As an operator the job is requeued by qrerun; as a user, whom PBS denies that, a further job goes on."""
    if operator:
        monkeypatch.setenv("FAKE_PBS_OPERATOR", "1")
    log = site.home / "count.log"
    both = [Counting(str(log)), Counting(str(site.home / "other.log"))]
    if array:
        with executor.batch():
            job, _ = (executor.submit(one, end) for one, end in zip(both, [40, 1], strict=True))
    else:
        job = executor.submit(both[0], 40)
    wait_until(lambda: log.exists() and "at 20" in log.read_text())
    job._interrupt()
    assert job.result()[0] == 40
    assert log.read_text().splitlines() == ["from 0", "at 20", "from 20"]
    number = job.job_id.partition("_")[0]
    runs = site.attributes(pbs_job.pbs_id(job.job_id))["run_count"]
    others = [n for n in site.state()["jobs"] if n != number]
    assert (runs, len(others)) == (("2", 0) if operator else ("1", 1))
    assert job.watcher.get_state(job.job_id, mode="force") in ("COMPLETED", "COMPLETING", "RUNNING")


def test_the_jobs_own_clock_checkpoints_before_the_walltime(executor, site):
    """Walltime 60 s, margin 20 s (a third at most), and the job believes that it began 35 s ago."""
    early = "export SUBMITIT_PBS_STARTED=$(( $(date +%s) - 35 ))"
    executor.update_parameters(timeout_min=1, pbs_signal_delay_s=58, pbs_setup=[early])
    log = site.home / "count.log"
    job = executor.submit(Counting(str(log)), 40)
    assert job.result()[0] == 40
    assert log.read_text().splitlines() == ["from 0", "at 20", "from 20"]


def test_the_function_runs_where_it_was_submitted(site, monkeypatch):
    """PBS starts jobs in the home folder; submitit's users have modules of their own beside them."""
    project = site.home / "my project"
    project.mkdir()
    (project / "mine_only.py").write_text("import os\n\n\ndef where():\n    return os.getcwd()\n")
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(project))
    mine = importlib.import_module("mine_only")
    executor = submitit.AutoExecutor(site.home / "work", cluster="pbs")
    assert executor.submit(mine.where).result() == str(project)


def test_a_job_can_be_pickled(executor):
    job = executor.submit(add, 1, 1)
    again = pickle.loads(pickle.dumps(job))
    assert again.result() == 2


def test_refusals_say_what_to_change(executor, site):
    executor.update_parameters(pbs_queue="nosuch")
    with pytest.raises(SchedulerError, match="Unknown queue") as caught:
        executor.submit(add, 1, 1)
    assert "qstat -Q" in caught.value.hint


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tasks_per_node": 2}, "tasks_per_node"),
        ({"name": "two words"}, "directive"),
        ({"pbs_signal_delay_s": 0}, "signal_delay_s"),
        ({"pbs_directives": ["-l walltime=1-00:00:00"]}, "does not accept -l walltime"),
        ({"pbs_directives": ["nodash"]}, "starts with a dash"),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_and_leave_the_old_ones(executor, given, message):
    before = dict(executor._executor.parameters)
    with pytest.raises(SpecError, match=message):
        executor.update_parameters(**given)
    assert executor._executor.parameters == before


def test_unknown_parameters_name_the_known(site):
    with pytest.raises(SpecError, match="unknown key 'ques'") as caught:
        PbsExecutor(site.home / "work").update_parameters(ques="gpuq")
    assert "did you mean 'queue'" in caught.value.hint


def test_state_while_it_waits(executor, site):
    executor.update_parameters(gpus_per_node=64)
    job = executor.submit(add, 1, 1)
    assert job.watcher.get_state(job.job_id, mode="force") == "PENDING"
    assert job.reason == "Insufficient amount of resource: ngpus (R: 64 A: 32 T: 32)"
    site.admin("down")
    assert job.watcher.get_state(job.job_id, mode="force") == "PENDING"


def test_logs_are_where_submitit_looks(executor):
    job = executor.submit(say_both)
    job.result()
    assert "to stdout" in job.stdout()
    assert job.stderr() == "to stderr\n"
    executor.update_parameters(stderr_to_stdout=True)
    joined = executor.submit(say_both)
    joined.result()
    assert "to stderr" in joined.stdout()
    assert joined.stderr() is None

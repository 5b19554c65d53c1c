"""Submissions that go half wrong, and what the caller's own shell says to Slurm's commands."""

import json
import subprocess

import pytest
from slurm_sweeps import SWEEP, Sweep

# Waiting for the other workers of xdist counts too.
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

LOST_ANSWER = (
    '"$REAL" "$@" >/dev/null\n'
    'echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1'
)
SILENT = 'echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2; exit 1'


def test_an_answer_that_is_lost_is_found_at_once(sweep: Sweep) -> None:
    sweep.fake("sbatch", LOST_ANSWER)
    job_id = sweep.submit()
    assert {run["job"] for run in sweep.runs().values()} == {f"{job_id}_{index}" for index in range(3)}
    assert {run["outcome"] for run in sweep.wait_until_ended().values()} == {"completed"}


def test_an_answer_that_is_lost_while_nobody_answers_is_found_later(sweep: Sweep) -> None:
    """The job is there once, belongs to the sweep, and is never submitted twice."""
    sweep.write(slow=True)
    sweep.fake("sbatch", LOST_ANSWER)
    sweep.fake("squeue", SILENT)
    told = sweep.cli("submit", "study.yaml", "--cluster", "slurm", code=1)
    assert "job 0 of" in told and "do not submit again" in told
    assert {run["state"] for run in sweep.runs().values()} == {"unknown"}
    assert "nothing to retry" in sweep.cli("retry", SWEEP, code=1)
    sweep.fake("squeue", "")
    sweep.wait(lambda runs: all(run["state"] == "running" for run in runs.values()))
    (job_id,) = sweep.job_ids()
    found = subprocess.run(
        ["squeue", "-h", "-o", "%F", f"--name={SWEEP}-0"], capture_output=True, text=True, check=True, timeout=60
    )
    assert job_id in found.stdout.split()
    assert "cancelled 3 runs" in sweep.cli("cancel", SWEEP)
    assert {run["outcome"] for run in sweep.wait_until_ended().values()} == {"cancelled"}
    assert "cancelled 0 runs (3 had already ended)" in sweep.cli("cancel", SWEEP)


def test_the_second_of_two_jobs_is_refused(sweep: Sweep) -> None:
    sweep.write(max_array_size=2)
    refusal = 'echo "sbatch: error: Batch job submission failed: Invalid qos specification" >&2; exit 1'
    sweep.fake("sbatch", f'case "$*" in */jobs/1*) {refusal} ;; esac\nexec "$REAL" "$@"')
    told = sweep.cli("submit", "study.yaml", "--cluster", "slurm", code=1)
    assert "1 of 2 jobs" in told and f"`hpcsweep retry {SWEEP}` submits the rest" in told
    runs = sweep.wait(lambda runs: [run["state"] for run in runs.values()] == ["finished", "finished", "planned"])
    assert [run["outcome"] for run in runs.values()] == ["completed", "completed", None]
    sweep.fake("sbatch", "")
    runs = sweep.retry_completes()
    assert {run["attempt"] for run in runs.values()} == {1}


def test_variables_of_the_shell_change_nothing(sweep: Sweep) -> None:
    """What people set for their own eyes hides no job, and what salloc set around us reaches none."""
    sweep.write(slow=True)
    own = {
        "SQUEUE_PARTITION": "a100",
        "SQUEUE_FORMAT": "%i",
        "SINFO_FORMAT": "%P",
        "SCANCEL_PARTITION": "a100",
        "SBATCH_PARTITION": "nosuch",
        "SLURM_JOB_ID": "1",
        "SLURM_ARRAY_TASK_ID": "7",
        "SLURM_JOB_END_TIME": "1",
    }
    sweep.cli("submit", "study.yaml", "--cluster", "slurm", **own)
    sweep.wait_until_measuring("len-1k", "len-2k", "len-3k")
    told = sweep.cli("status", SWEEP, "--json", **own)
    runs = json.loads(told)["sweeps"][0]["runs"]
    assert [run["state"] for run in runs] == ["running"] * 3
    sweep.cli("cancel", SWEEP, **own)
    assert {run["outcome"] for run in sweep.wait_until_ended().values()} == {"cancelled"}


def test_a_directive_after_which_the_job_would_be_lost_sight_of(sweep: Sweep) -> None:
    sweep.write(directives=["--array=0-9"])
    told = sweep.cli("submit", "study.yaml", "--cluster", "slurm", code=1)
    assert "'--array=0-9' is already set by hpcsweep in line" in told
    assert not list(sweep.home.glob("sweeps/*"))


def test_without_login_files(sweep: Sweep) -> None:
    sweep.write(lengths=("1k",), login_shell=False)
    sweep.submit()
    assert "--export=NIL" in (sweep.sweep_dir / "jobs" / "0" / "job.sh").read_text()
    assert sweep.wait_until_ended()["len-1k"]["outcome"] == "completed"


def test_text_around_the_job_id(sweep: Sweep) -> None:
    """A site's wrapper around sbatch: the job is ours, and its folder stays."""
    sweep.write(lengths=("1k",))
    sweep.fake(
        "sbatch", 'echo "Welcome to the cluster"; "$REAL" "$@"; code=$?; echo "See https://site.example"; exit $code'
    )
    job_id = sweep.submit()
    assert sweep.job_ids() == [job_id]
    assert sweep.wait_until_ended()["len-1k"]["outcome"] == "completed"


def test_output_without_a_job_id(sweep: Sweep) -> None:
    """The wrapper keeps the id to itself: the job is found by its comment."""
    sweep.write(lengths=("1k",))
    sweep.fake("sbatch", '"$REAL" "$@" >/dev/null && echo "Your job was submitted."')
    sweep.submit()
    assert sweep.wait_until_ended()["len-1k"]["outcome"] == "completed"

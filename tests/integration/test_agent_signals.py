"""What ends an agent from outside: signals, the walltime, kill -9; and what the next life of the job makes of it."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from agent_job import Job

from hpcsweep.spec.job import Resources

LONG = {"speed": {"decode_tps": 5.0}}  # three requests of 32 tokens take 20 simulated seconds
FOR_EVER = {"startup": {"load_weights": 100_000}}
PATIENT = {"startup": 200_000, "stall": 200_000}

SIGNALS = {
    "SIGTERM": (signal.SIGTERM, 3600, "cancelled", 12),
    "SIGINT": (signal.SIGINT, 3600, "cancelled", 12),
    "SIGHUP": (signal.SIGHUP, 3600, "cancelled", 12),
    "SIGUSR1 long before the walltime": (signal.SIGUSR1, 3600, "preempted", 11),
    "SIGUSR1 near the walltime": (signal.SIGUSR1, 100, "walltime", 10),
    "SIGTERM near the walltime": (signal.SIGTERM, 100, "walltime", 10),
    "SIGINT near the walltime": (signal.SIGINT, 100, "cancelled", 12),
}


@pytest.mark.parametrize(("signum", "walltime_s", "outcome", "code"), SIGNALS.values(), ids=SIGNALS.keys())
def test_a_signal_while_loading(job: Job, signum: signal.Signals, walltime_s: float, outcome: str, code: int):
    first = job.run_spec("first", FOR_EVER, PATIENT)
    job.write(first, job.run_spec("second"), resources=Resources(walltime_s=walltime_s))
    agent = job.start()
    job.wait_for_phase("load_weights", "first")
    agent.send_signal(signum)
    begun_s = time.monotonic()
    agent.communicate(timeout=30)
    assert agent.returncode == code
    assert time.monotonic() - begun_s < 10  # PBS kills 10 s after its SIGTERM
    assert (job.ended("first")["outcome"], job.ended("first")["phase"]) == (outcome, "load_weights")
    assert not job.attempt_dir("second").exists()
    not_run = json.loads((job.sweep_dir / "runs/second/not_run.json").read_text())
    assert not_run["outcome"] == "not_run"
    assert not_run["reason"].startswith(outcome)
    end = json.loads((job.job_dir / "tasks/0.exit.json").read_text())
    assert (end["exit_code"], end["outcome"]) == (code, outcome)
    assert job.left_processes() == []


def test_a_signal_while_measuring_keeps_what_was_measured(job: Job):
    job.write(job.run_spec(profile=LONG, workloads=[job.workload(requests=200)]))
    agent = job.start()
    job.wait_for_event("sample")
    agent.send_signal(signal.SIGTERM)
    agent.communicate(timeout=30)
    samples = [sample for sample in job.of_kind("sample") if sample.error is None]
    assert samples
    (ended,) = job.of_kind("workload_ended")
    assert ended.completed == len(samples)
    assert job.ended()["outcome"] == "cancelled"


def test_the_agents_own_clock_ends_it_before_the_walltime(job: Job):
    job.write(
        job.run_spec("first", FOR_EVER, {**PATIENT, "walltime_margin": 3}),
        job.run_spec("second"),
        resources=Resources(walltime_s=12),
    )
    begun_s = time.monotonic()
    code, _ = job.execute()
    assert code == 10
    assert time.monotonic() - begun_s < 12
    assert "own clock" in job.ended("first")["decided_by"]
    assert (job.sweep_dir / "runs/second/not_run.json").exists()


def test_time_that_the_job_already_spent_counts(job: Job):
    job.write(job.run_spec(), resources=Resources(walltime_s=600))
    code, _ = job.execute({"HPCSWEEP_JOB_STARTED_AT": str(time.time() - 599)})
    assert code == 10
    assert (job.sweep_dir / "runs/eager-yes/not_run.json").exists()


@pytest.mark.parametrize("marker", ["submission.json", "dispatcher"])
def test_our_own_cancel_is_told_from_a_strangers(job: Job, marker: str):
    job.write(job.run_spec(profile=FOR_EVER, budgets=PATIENT), resources=Resources(walltime_s=100))
    agent = job.start()
    job.wait_for_phase("load_weights")
    if marker == "dispatcher":
        place = job.sweep_dir / "dispatcher" / "cancel"
        place.mkdir(parents=True)
        (place / "0_0").touch()
    else:
        (job.job_dir / "submission.json").write_text(json.dumps({"job_id": "7", "cancelled": [0]}))
    agent.send_signal(signal.SIGTERM)
    agent.communicate(timeout=30)
    assert job.ended()["outcome"] == "cancelled"
    assert "hpcsweep cancel" in job.ended()["decided_by"]


def test_a_killed_agent_leaves_no_process_and_a_record(job: Job, tmp_path: Path):
    children = [{"kind": "children", "own_session": True, "orphan": True, "ignore_sigterm": True}]
    spec = job.run_spec(profile={**LONG, "faults": children}, workloads=[job.workload(requests=500)])
    job.write(spec, compile_cache="node_local")
    local = tmp_path / "local"
    local.mkdir()
    agent = job.start({"TMPDIR": str(local)})
    job.wait_for_event("sample")
    assert list(local.iterdir()) and list(job.cache_dir.rglob("*.lock"))
    assert len(job.left_processes()) >= 3
    agent.kill()
    agent.communicate()
    job.wait_until_nothing_is_left()
    deadline_s = time.monotonic() + 10
    while not (job.attempt_dir() / "exit.json").exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    ended = job.ended()
    assert (ended["outcome"], ended["phase"], ended["decided_by"]) == ("lost", "measure", "the agent's guardian")
    assert ended["killed"]
    assert job.of_kind("sample")
    deadline_s = time.monotonic() + 10
    while (list(local.iterdir()) or list(job.cache_dir.rglob("*.lock"))) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert list(local.iterdir()) == []
    assert list(job.cache_dir.rglob("*.lock")) == []


def test_the_next_agent_closes_what_a_dead_one_left(job: Job):
    """Agent and guardian are both killed: nobody could write the end of the attempt."""
    job.write(job.run_spec(profile={**FOR_EVER, "faults": []}, budgets=PATIENT))
    agent = job.start({"SLURM_JOB_ID": "77"})
    job.wait_for_phase("load_weights")
    guardian = _child(agent.pid, "hpcsweep.node.guardian")
    os.kill(guardian, signal.SIGKILL)
    agent.kill()
    agent.communicate()
    time.sleep(0.2)
    assert not (job.attempt_dir() / "exit.json").exists()
    job.write(job.run_spec())
    code, _ = job.execute({"SLURM_JOB_ID": "77", "SLURM_RESTART_COUNT": "1"})
    assert code == 0
    assert (job.ended(number=1)["outcome"], job.ended(number=1)["decided_by"]) == ("lost", "the next agent")
    assert job.ended(number=2)["outcome"] == "completed"
    assert job.of_kind("attempt_started", number=2)[0].restart_count == 1
    assert "closed_as_lost" in [event.code for event in job.of_kind("warning", number=2)]


def test_an_owner_on_another_host_is_left_alone(job: Job):
    """A node that does not answer may still run the job's first life: its folder is not ours to write."""
    first = job.attempt_dir()
    first.mkdir(parents=True)
    owner = {"job_id": "77", "host": "far-away", "boot_id": "b", "pid": 1, "started_ticks": 1, "token": "t"}
    (first / "owner.json").write_text(json.dumps(owner))
    job.write(job.run_spec())
    code, _ = job.execute({"SLURM_JOB_ID": "77"})
    assert code == 0
    assert [path.name for path in first.iterdir()] == ["owner.json"]
    assert job.ended(number=2)["outcome"] == "completed"
    assert "owner_on_other_host" in [event.code for event in job.of_kind("warning", number=2)]


def test_a_requeued_job_skips_what_it_has_done_and_goes_on(job: Job):
    job.write(job.run_spec("first"), job.run_spec("second", FOR_EVER, PATIENT), job.run_spec("third"))
    agent = job.start({"SLURM_JOB_ID": "77"})
    job.wait_for_phase("load_weights", "second")
    agent.send_signal(signal.SIGUSR1)
    agent.communicate(timeout=30)
    assert agent.returncode == 11
    assert (job.sweep_dir / "runs/third/not_run.json").exists()
    job.write(job.run_spec("first"), job.run_spec("second"), job.run_spec("third"))
    code, err = job.execute({"SLURM_JOB_ID": "77", "SLURM_RESTART_COUNT": "1"})
    assert code == 0
    assert "first: skipped, because it ended as completed" in err
    assert not job.attempt_dir("first", 2).exists()
    assert job.ended("second", 1)["outcome"] == "preempted"
    assert job.ended("second", 2)["outcome"] == "completed"
    assert job.ended("third", 1)["outcome"] == "completed"
    assert not (job.sweep_dir / "runs/third/not_run.json").exists()


def test_by_hand_a_run_is_done_again(job: Job):
    job.write(job.run_spec())
    assert job.execute()[0] == 0
    assert job.execute()[0] == 0
    assert job.ended(number=2)["outcome"] == "completed"


def test_two_agents_of_one_run_never_share_a_folder(job: Job):
    job.write(job.run_spec())
    one, two = job.start(), job.start()
    one.communicate(timeout=60)
    two.communicate(timeout=60)
    assert (one.returncode, two.returncode) == (0, 0)
    for number in (1, 2):
        assert job.ended(number=number)["outcome"] == "completed"
        assert {event.pid for event in job.of_kind("attempt_started", number=number)} <= {one.pid, two.pid}
        assert len(job.of_kind("attempt_started", number=number)) == 1


def _child(pid: int, module: str) -> int:
    answer = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
    return next(int(line.split()[0]) for line in answer.stdout.splitlines() if module in line)


def test_an_earlier_life_of_the_same_job_on_this_host_is_stopped(job: Job):
    """slurmd was away, the job was requeued onto the same node, and its first life still holds the GPUs."""
    job.write(job.run_spec(profile=FOR_EVER, budgets=PATIENT))
    first = job.start({"SLURM_JOB_ID": "77"})
    job.wait_for_phase("load_weights")
    job.write(job.run_spec())
    code, _ = job.execute({"SLURM_JOB_ID": "77", "SLURM_RESTART_COUNT": "1"})
    first.communicate(timeout=10)
    assert (first.returncode, code) == (-signal.SIGKILL, 0)
    assert job.ended(number=1)["outcome"] == "lost"
    assert job.ended(number=2)["outcome"] == "completed"

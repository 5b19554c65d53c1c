"""The all-reduce check on two nodes that do not meet, with a stand-in for torch: what is blamed, and what is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from agent_job import Job
from all_reduce_job import stand_in, write_checked

from hpcsweep.node.ranks import all_reduce_script

FAKES = Path(__file__).parents[1] / "fakes" / "torch"


def environment(folder: Path, how: str = "hang") -> dict[str, str]:
    return {**stand_in(folder, sys.executable), "PYTHONPATH": str(FAKES), "FAKE_TORCH": how}


def wait_until_connecting(job: Job) -> None:
    logs = [job.attempt_dir() / "all_reduce.log", job.attempt_dir() / "ranks" / "1" / "all_reduce.log"]
    deadline_s = time.monotonic() + 60
    while not all(log.exists() and '"connect"' in log.read_text() for log in logs):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


FAILURES = {
    "hang": ("all_reduce_timeout", None, "vm#1 waits for the other processes"),
    "broken": ("all_reduce_failed", 1, "RuntimeError: unhandled system error"),
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_failure_names_the_node(job, tmp_path, how):
    code, node, reason = FAILURES[how]
    write_checked(job, 8 if how == "hang" else 90)
    begun_s = time.monotonic()
    exit_code, err = job.execute(environment(tmp_path, how))
    end, nodes = job.ended(), job.of_kind("attempt_started")[0].nodes
    assert exit_code == 0 and (end["outcome"], end["code"]) == ("failed", code), (end, err)
    assert end["node"] == (nodes[node] if node is not None else None)
    assert reason.replace("vm#1", nodes[1]) in end["reason"] and "NCCL_SOCKET_IFNAME" in end["hint"], end
    assert how != "broken" or "NCCL WARN socketProgress: Connection refused" in end["evidence"]
    assert time.monotonic() - begun_s < 60
    assert not (job.attempt_dir() / "server.log").exists()
    job.wait_until_nothing_is_left()


def test_a_process_that_crashes_ends_those_of_its_node():
    command = [sys.executable, all_reduce_script.__file__, "--nodes", "2", "--node", "1", "--processes", "2"]
    command += ["--address", "127.0.0.1", "--port", "9", "--within", "60"]
    env = {**os.environ, "PYTHONPATH": str(FAKES), "FAKE_TORCH": "crash"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == all_reduce_script.FAILED
    assert "a process was ended by signal 11" in done.stdout


def test_an_agent_that_is_lost_during_the_check(job, tmp_path):
    write_checked(job, 300)
    agent = job.start(environment(tmp_path))
    wait_until_connecting(job)
    other = next(p for p in psutil.Process(agent.pid).children() if "hpcsweep.node.rank_agent" in p.cmdline())
    other.kill()
    agent.communicate(timeout=60)
    assert (job.ended()["outcome"], job.ended()["code"]) == ("lost", "rank_agent_lost")
    job.wait_until_nothing_is_left()


def test_without_torch_on_a_node_the_server_starts_with_a_warning(job, tmp_path):
    write_checked(job, 90)
    _, err = job.execute(environment(tmp_path, "missing"))
    assert job.ended()["outcome"] == "completed", (job.ended(), err)
    (warning,) = [event for event in job.of_kind("warning") if event.code == "all_reduce_unavailable"]
    node = job.of_kind("attempt_started")[0].nodes[1]
    assert f"{node}: No module named 'torch'" in warning.message
    assert not any(event.name.startswith("all_reduce") for event in job.of_kind("fact"))


def test_a_cancel_during_the_check_leaves_nothing(job, tmp_path):
    write_checked(job, 300)
    agent = job.start(environment(tmp_path))
    wait_until_connecting(job)
    agent.send_signal(signal.SIGTERM)
    agent.communicate(timeout=60)
    assert job.ended()["outcome"] == "cancelled"
    job.wait_until_nothing_is_left()


def test_a_killed_head_agent_leaves_nothing_of_the_check(job, tmp_path):
    write_checked(job, 300)
    agent = job.start(environment(tmp_path))
    wait_until_connecting(job)
    agent.kill()
    agent.communicate()
    job.wait_until_nothing_is_left()

"""The agent and its server: teardown of whatever was started, stalls while serving, retries, caches, a full disk."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from agent_job import Job

from hpcsweep.spec.job import ArrayTask
from hpcsweep.spec.server import ServerConfig

CHILDREN = {
    "plain": {},
    "deaf": {"ignore_sigterm": True},
    "own session": {"own_session": True, "ignore_sigterm": True},
    "orphans": {"orphan": True},
    "orphans in their own session": {"own_session": True, "orphan": True, "ignore_sigterm": True},
}


@pytest.mark.parametrize("fault", CHILDREN.values(), ids=CHILDREN.keys())
def test_children_of_the_server_are_gone_too(job: Job, fault: dict[str, Any]):
    job.write(job.run_spec(profile={"faults": [{"kind": "children", "count": 3, **fault}]}))
    job.execute()
    assert job.ended()["outcome"] == "completed"
    assert job.left_processes() == []
    if fault.get("ignore_sigterm"):
        assert len(job.ended()["killed"]) == 3


def test_children_of_a_server_that_died_are_gone_too(job: Job):
    faults = [{"kind": "children", "own_session": True}, {"kind": "crash"}]
    job.write(job.run_spec(profile={"faults": faults}))
    job.execute()
    assert job.ended()["outcome"] == "crashed"
    assert job.left_processes() == []


def test_a_server_that_is_deaf_to_sigterm_is_killed(job: Job):
    job.write(job.run_spec(profile={"faults": [{"kind": "ignore_sigterm"}]}))
    job.execute()
    assert job.ended()["outcome"] == "completed"
    assert len(job.ended()["killed"]) == 1


def test_a_killed_server_is_a_crash_at_once(job: Job):
    job.write(job.run_spec(profile={"speed": {"decode_tps": 2.0}}))
    agent = job.start()
    job.wait_for_event("workload_started")
    os.kill(_server_pid(job), signal.SIGKILL)
    agent.communicate(timeout=30)
    ended = job.ended()
    assert (ended["outcome"], ended["exit_code"], ended["phase"]) == ("crashed", -signal.SIGKILL, "measure")


@pytest.mark.parametrize(("stall_s", "token_s", "outcome"), [(100, 5000, "stalled"), (5000, 60, "request_timeout")])
def test_a_server_that_is_frozen_while_serving(job: Job, stall_s: float, token_s: float, outcome: str):
    budgets = {"stall": stall_s, "token": token_s, "request": 2 * token_s}
    job.write(job.run_spec(profile={"speed": {"decode_tps": 1.0}}, budgets=budgets))
    agent = job.start()
    job.wait_for_event("workload_started")
    time.sleep(0.3)
    os.kill(_server_pid(job), signal.SIGSTOP)
    agent.communicate(timeout=60)
    assert (job.ended()["outcome"], job.ended()["phase"]) == (outcome, "measure")
    assert job.left_processes() == []


def test_an_idle_server_between_rare_requests_is_no_stall(job: Job):
    rare = job.workload(requests=3, arrival={"request_rate": 0.008, "process": "constant"})
    job.write(job.run_spec(workloads=[rare], budgets={"stall": 60}))
    job.execute()
    assert job.ended()["outcome"] == "completed"


@pytest.mark.parametrize("choice", ["retry", "retry_warm"])
def test_a_stalled_start_is_tried_again_with_larger_budgets(job: Job, choice: str):
    profile = {"startup": {"compile": 20}, "faults": [{"kind": "stall", "phase": "compile", "times": 1}]}
    job.write(job.run_spec(profile=profile, budgets={"stall": 60, "on_stall": choice, "retry_factor": 3}))
    assert job.execute()[0] == 0
    assert [job.ended(number=n)["outcome"] for n in (1, 2)] == ["stalled", "completed"]
    again = json.loads((job.attempt_dir(number=2) / "run.json").read_text())["budgets"]
    assert (again["stall"], again["startup"]) == (180, 1200)


def test_there_is_one_retry_only(job: Job):
    profile = {"faults": [{"kind": "stall", "phase": "profile"}]}
    job.write(job.run_spec(profile=profile, budgets={"stall": 40, "on_stall": "retry", "retry_factor": 1}))
    job.execute()
    assert job.ended(number=2)["outcome"] == "stalled"
    assert not job.attempt_dir(number=3).exists()


@pytest.mark.parametrize("mode", ["shared", "node_local", "off"])
def test_the_second_start_finds_the_cache_warm(job: Job, mode: str, tmp_path: Path):
    profile = {"startup": {"compile": 60}, "compile": {"dynamo_s": 1, "warm_s": 2}}
    job.write(job.run_spec("one", profile), job.run_spec("two", profile), compile_cache=mode)
    local = tmp_path / "local"
    local.mkdir()
    job.execute({"TMPDIR": str(local)})
    found = [_fact(job, label, "compile_cache_at_start") for label in ("one", "two")]
    assert found == (["cold", "cold"] if mode == "off" else ["cold", "warm"])
    compiled_s = [_fact(job, label, "compile_s") for label in ("one", "two")]
    assert (compiled_s[1] < 10) is (mode != "off")
    assert list(local.iterdir()) == []
    assert list(job.cache_dir.rglob("*.lock")) == []


def test_two_jobs_never_write_one_cache(job: Job):
    slow = {"startup": {"compile": 60}, "compile": {"warm_s": 2}}
    elements = [
        ArrayTask(index=0, runs=[job.run_spec("one", slow)]),
        ArrayTask(index=1, runs=[job.run_spec("two", slow)]),
    ]
    job.write(elements=elements)
    agents = [job.start({"HPCSWEEP_ARRAY_INDEX": index}) for index in "01"]
    for agent in agents:
        agent.communicate(timeout=60)
    assert {job.ended(label)["outcome"] for label in ("one", "two")} == {"completed"}
    codes = [event.code for label in ("one", "two") for event in job.of_kind("warning", label)]
    assert codes.count("cache_locked") == 1


def test_a_full_file_ends_the_attempt_and_loses_nothing_before(job: Job):
    """RLIMIT_FSIZE stands for the full disk: events.jsonl cannot grow, exit.json can still be written."""
    fast = {"speed": {"decode_tps": 2000.0}}  # the load process has the same limit: few requests, long answers
    job.write(job.run_spec(profile=fast, workloads=[job.workload(requests=150, max_tokens=300)]))
    limit = 120_000
    code, err = job.execute(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    ended = job.ended()
    assert (code, ended["outcome"]) == (0, "failed"), err
    assert ended["code"] == "disk_full" and "events.jsonl" in ended["reason"]
    samples = job.of_kind("sample")
    assert len(samples) > 10
    assert [sample.index for sample in samples] == list(range(len(samples)))
    assert job.left_processes() == []


@pytest.mark.skipif(os.getuid() != 0, reason="a small tmpfs can be mounted by root only")
def test_a_full_disk(job: Job, tmp_path: Path):
    runs = job.sweep_dir / "runs"
    runs.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(runs)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        fast = {"speed": {"decode_tps": 2000.0}}
        job.write(job.run_spec(profile=fast, workloads=[job.workload(requests=600, max_tokens=300)]))
        code, err = job.execute()
        ended = job.ended()
        assert (code, ended["outcome"]) == (0, "failed"), err
        assert len(job.of_kind("sample")) > 50
        assert job.of_kind("attempt_ended")
        assert job.left_processes() == []
    finally:
        subprocess.run(["umount", str(runs)], check=True)


def test_what_an_attempt_leaves(job: Job):
    server = ServerConfig(engine="vllm", model="some/model", env={"HF_TOKEN": "hf_secret", "PLAIN": "a'b $(id)"})
    job.write(job.run_spec(server=server, workloads=[job.workload(), job.workload("long", left_out="does not fit")]))
    job.execute()
    folder = job.attempt_dir()
    assert {path.name for path in folder.iterdir()} == {
        "owner.json", "run.json", "command.txt", "events.jsonl", "server.log", "client.log", "exit.json"
    }  # fmt: skip
    (started,) = job.of_kind("attempt_started")
    assert started.simulated
    assert started.env["HPCSWEEP_AXIS_EAGER"] == "yes"
    command = (folder / "command.txt").read_text()
    assert subprocess.run(["bash", "-n"], input=command, text=True, capture_output=True).returncode == 0
    assert "PLAIN='a'\"'\"'b $(id)'" in command
    for path in ("events.jsonl", "command.txt", "server.log", "client.log", "exit.json", "owner.json"):
        text = (folder / path).read_text()
        assert "hf_secret" not in text
    assert all(line[:4] == "2026" or line[:2] == "20" for line in (folder / "server.log").read_text().splitlines())
    (left_out,) = job.of_kind("workload_left_out")
    assert (left_out.workload, left_out.reason) == ("long", "does not fit")
    (ended,) = job.of_kind("workload_ended")
    assert ended.server_figures["generation_tokens"] == 96
    assert job.of_kind("server_ready")[0].startup_s > 30


def _fact(job: Job, label: str, name: str) -> Any:
    return [event.value for event in job.of_kind("fact", label) if event.name == name][-1]


def _server_pid(job: Job) -> int:
    for pid in job.left_processes():
        if b"hpcsweep.simulator" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return int(pid)
    raise AssertionError("no server")


def test_what_the_setup_of_a_job_started_is_not_taken_for_the_server(job: Job, tmp_path: Path):
    """A service for all runs of the job (`srun ray start`): it is busy, and it must outlive the first run."""
    service = tmp_path / "service"
    stuck = {"startup": {"compile": 30}, "faults": [{"kind": "stall", "phase": "compile"}]}
    job.write(
        job.run_spec("one", profile=stuck, budgets={"stall": 100}),
        job.run_spec("two"),
    )
    busy, idle = "(while :; do :; done)", "(setsid sleep 500)"
    agent = job.start(setup="\n".join(f"{command} >/dev/null 2>&1 &\necho $! >>{service}" for command in (busy, idle)))
    try:
        _, err = agent.communicate(timeout=100)
        assert (job.ended("one")["outcome"], job.ended("two")["outcome"]) == ("stalled", "completed"), err
        assert all(psutil.pid_exists(int(pid)) for pid in service.read_text().split())
        assert not job.ended("one")["killed"] and not job.ended("two")["killed"]
    finally:
        for pid in service.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

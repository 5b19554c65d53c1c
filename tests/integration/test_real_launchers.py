"""A simulated server on two nodes, whose second part a real `ssh` or `mpiexec` starts by another name of this host."""

import os
import shlex
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from agent_job import Job

from hpcsweep.spec.server import EngineSettings, ServerConfig

OTHER = "node-b"
"""A name that only the configuration of ssh has; its host key is verified."""
SSH = ("HPCSWEEP_TEST_SSH_HOST", "HPCSWEEP_TEST_SSH_PORT", "HPCSWEEP_TEST_SSH_KEY", "HPCSWEEP_TEST_SSH_KNOWN_HOSTS")
SERVER = ServerConfig(engine="vllm", model="some/model", settings=EngineSettings(tensor_parallel_size=2))

pytestmark = pytest.mark.sshd


def needs(present: bool, what: str) -> None:
    if not present:
        pytest.fail(what) if os.environ.get("CI") else pytest.skip(what)


@pytest.fixture
def nodes(tmp_path: Path) -> dict[str, str]:
    """The environment of a job on this machine and OTHER, in which `ssh` has the configuration of the test's sshd."""
    needs(all(name in os.environ for name in SSH), 'needs a real sshd: eval "$(scripts/test-services start sshd)"')
    host, port, key, known_hosts = (os.environ[name] for name in SSH)
    kept = tmp_path / "known_hosts"
    kept.write_text(Path(known_hosts).read_text().replace(f"[{host}]:{port}", OTHER))
    (tmp_path / "ssh_config").write_text(
        f"Host {OTHER}\n  HostName {host}\n  Port {port}\n  HostKeyAlias {OTHER}\n  IdentityFile {key}\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {kept}\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
    )
    commands = tmp_path / "bin"
    commands.mkdir()
    real = shutil.which("ssh")
    assert real is not None
    (commands / "ssh").write_text(f'#!/bin/sh\nexec {real} -F {shlex.quote(str(tmp_path / "ssh_config"))} "$@"\n')
    (commands / "ssh").chmod(0o755)
    (tmp_path / "nodes").write_text(f"{socket.gethostname()}\n{OTHER}\n")
    return {
        "PBS_JOBID": "7.test",
        "PBS_NODEFILE": str(tmp_path / "nodes"),
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
    }


def begin(job: Job, launcher: str, **run: Any) -> None:
    needs(launcher == "ssh" or shutil.which("mpiexec") is not None, "needs an mpiexec: apt-get install mpich")
    job.write(job.run_spec(server=SERVER, nodes=2, **run), launcher=launcher)


def wait_until_ended(job: Job, within_s: float = 20) -> None:
    """Wait until neither the server, nor an agent, nor a launcher of this job runs: agents have its folder in argv."""
    job.wait_until_nothing_is_left(within_s)
    deadline_s = time.monotonic() + within_s
    while left := [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if any(str(job.sweep_dir.parent) in word for word in process.info["cmdline"] or [])
    ]:
        assert time.monotonic() < deadline_s, left
        time.sleep(0.05)


@pytest.mark.parametrize("launcher", ["ssh", "mpiexec"])
def test_a_server_on_two_nodes(job, nodes, launcher):
    begin(job, launcher)
    code, err = job.execute(nodes)
    end = job.ended()
    assert code == 0 and end["outcome"] == "completed", (end, err)
    assert job.of_kind("attempt_started")[0].nodes == [socket.gethostname(), OTHER]
    assert {event.node for event in job.of_kind("rank_phase")} == {OTHER}
    assert job.of_kind("warning") == []
    assert len(job.of_kind("sample")) == 3
    wait_until_ended(job)


@pytest.mark.parametrize("launcher", ["ssh", "mpiexec"])
def test_nothing_is_left_when_the_head_agent_is_killed(job, nodes, launcher):
    begin(job, launcher, profile={"speed": {"decode_tps": 1.0}})
    agent = job.start(nodes)
    job.wait_for_event("workload_started")
    agent.kill()
    agent.communicate()
    wait_until_ended(job)
    deadline_s = time.monotonic() + 20
    while not (job.attempt_dir() / "exit.json").exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert job.ended()["outcome"] == "lost"


def test_an_unknown_host_key_is_refused(job, nodes, tmp_path):
    (tmp_path / "known_hosts").write_text("")
    begin(job, "ssh")
    job.execute(nodes)
    end = job.ended()
    assert (end["outcome"], end["code"], end["node"]) == ("failed", "launcher_failed", OTHER)
    assert any("Host key verification failed" in line for line in end["evidence"]), end["evidence"]

"""What another user of the node can do with a server while it serves: nothing."""

import json
import os
import socket
import stat
import time
from pathlib import Path

import psutil
import pytest
from agent_job import Job
from second_user import as_second_user

from hpcsweep.load.client.gate import Gate
from hpcsweep.node.process.private_network import private_network_problem


def listening_ports(pids: set[int]) -> set[int]:
    """TCP ports of these processes that anybody on the node can connect to."""
    return {c.laddr.port for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.pid in pids}


def server_argv(job: Job) -> list[str]:
    return job.wait_for_event("attempt_started").argv


def test_no_other_user_reaches_the_server_and_nothing_is_left_of_its_folder(job):
    job.write(job.run_spec(workloads=[job.workload(requests=400, max_tokens=200)]))
    job.start()
    argv = server_argv(job)
    path = Path(argv[argv.index("--uds") + 1])
    job.wait_for_event("workload_started")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with socket.socket(socket.AF_UNIX) as mine:
        mine.connect(str(path))  # so the refusal below is not for want of a server

    def connect() -> str:
        with socket.socket(socket.AF_UNIX) as theirs:
            theirs.connect(str(path))
        return "connected"

    assert isinstance(as_second_user(connect), PermissionError)
    agent = psutil.Process(job.processes[0].pid)
    pids = {agent.pid, *(child.pid for child in agent.children(recursive=True))}
    assert len(pids) > 2
    assert listening_ports(pids) == set()
    agent.terminate()
    job.processes[0].communicate(timeout=60)
    assert not path.parent.exists()


def test_the_folder_of_a_killed_agent_is_removed_by_its_guardian(job):
    job.write(job.run_spec(workloads=[job.workload(requests=400, max_tokens=200)]))
    job.start()
    argv = server_argv(job)
    path = Path(argv[argv.index("--uds") + 1])
    job.wait_for_event("server_ready")
    job.processes[0].kill()
    job.wait_until_nothing_is_left()
    job.processes[0].communicate(timeout=60)
    deadline_s = time.monotonic() + 10
    while path.parent.exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not path.parent.exists()


def test_a_long_temporary_folder_does_not_make_the_socket_s_path_too_long(job, tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    job.write(job.run_spec())
    code, err = job.execute({"TMPDIR": str(long)})
    assert (code, job.ended()["outcome"]) == (0, "completed"), err


def test_an_engine_that_would_be_open_to_every_user_is_not_started(job, tmp_path):
    """TensorRT-LLM can only listen on a TCP port, without a key."""
    run = job.run_spec()
    server = run.server.model_copy(update={"engine": "trtllm"})
    job.write(run.model_copy(update={"server": server, "simulation": None}))
    code, _ = job.execute()
    ended = job.ended()
    assert (code, ended["outcome"]) == (0, "unsupported")
    assert ended["code"] == "server_unprotected"
    assert "allow_unprotected_server" in ended["hint"]
    job.write(
        run.model_copy(
            update={"server": server, "simulation": None, "label": "allowed", "run_dir": str(tmp_path / "r")}
        ),
        unprotected_server_allowed=True,
    )
    job.execute()
    (exit_file,) = (tmp_path / "r").glob("attempt-*/exit.json")
    assert json.loads(exit_file.read_text())["code"] == "engine_not_installed"  # the next check


@pytest.fixture
def echo_server(tmp_path):
    """A Unix socket that answers every connection with what it has read, in HTTP."""
    path = str(tmp_path / "server")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(10)
        yield path, listener


def ask_gate(url: str, head: bytes) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(head)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while data := client.recv(4096):
            answer += data
    return answer


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n\r\n", id="no key"),
        pytest.param(b"GET /metrics HTTP/1.1\r\nAuthorization: Bearer wrong\r\n\r\n", id="a wrong key"),
        pytest.param(b"GET / HTTP/1.1\r\nAuthorization: Basic s3cret\r\n\r\n", id="another scheme"),
        pytest.param(b"GET / HTTP/1.1\r\nX: a\r\n\r\nAuthorization: Bearer s3cret\r\n\r\n", id="the key in the body"),
    ],
)
def test_the_gate_passes_nothing_on_without_the_key(echo_server, head):
    path, listener = echo_server
    listener.settimeout(0.3)
    with Gate(path, "s3cret") as gate:
        answer = as_second_user(lambda: ask_gate(gate.url, head))
        assert answer.startswith(b"HTTP/1.1 401 ")
        with pytest.raises(TimeoutError):
            listener.accept()


def test_the_gate_passes_on_what_bears_the_key(echo_server):
    path, listener = echo_server
    head = b"GET /x HTTP/1.1\r\nauthorization: bearer s3cret\r\n\r\n"
    with Gate(path, "s3cret") as gate:
        host, port = gate.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(head)
            server, _ = listener.accept()
            with server:
                assert server.recv(4096) == head
                server.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                assert client.recv(4096).endswith(b"ok")
                client.sendall(b"GET /y HTTP/1.1\r\n\r\n")  # the same connection, so the same client
                assert server.recv(4096).startswith(b"GET /y")
    assert os.environ.get("HPCSWEEP_API_KEY") is None


def test_a_server_with_a_network_of_its_own_answers_us_and_nobody_can_reach_a_port_of_it(job):
    """A user namespace may be forbidden here; then the run says so, before a server is started."""
    problem = private_network_problem()
    job.write(job.run_spec(workloads=[job.workload(requests=400, max_tokens=200)]), private_network=True)
    agent = job.start()
    if problem:
        agent.communicate(timeout=60)
        assert job.ended()["code"] == "private_network_unavailable"
        return
    job.wait_for_event("sample")
    ours = Path("/proc/self/ns/net").readlink()
    servers = [c.pid for c in psutil.Process(agent.pid).children() if "hpcsweep.simulator" in " ".join(c.cmdline())]
    (server,) = servers
    assert Path(f"/proc/{server}/ns/net").readlink() != ours
    assert "lo:" in Path(f"/proc/{server}/net/dev").read_text()
    agent.kill()  # the server dies with it in this case too
    agent.communicate(timeout=60)
    job.wait_until_nothing_is_left()


def test_a_network_of_its_own_is_refused_for_an_engine_that_listens_on_a_port(job):
    run = job.run_spec()
    server = run.server.model_copy(update={"engine": "sglang"})
    job.write(run.model_copy(update={"server": server, "simulation": None}), private_network=True)
    job.execute()
    assert (job.ended()["outcome"], job.ended()["code"]) == ("unsupported", "private_network_unsupported")

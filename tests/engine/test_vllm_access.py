"""What another user of the node gets from a real vLLM: nothing; and whether workloads find empty prefix caches."""

import http.client
import socket
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from engine_job import LABEL
from second_user import as_second_user
from vllm_job import VllmJob

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800), pytest.mark.xdist_group("engine")]

WITHIN_S = 1700
PATHS = ("/health", "/metrics", "/v1/models", "/version", "/server_info", "/openapi.json")


def http_answers(ports: list[int]) -> list[str]:
    """What answers HTTP on these ports of the loopback interface."""
    found = []
    for port in ports:
        for path in PATHS:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            try:
                connection.request("GET", path)
                found.append(f"{port}{path}: {connection.getresponse().status}")
            except (OSError, http.client.HTTPException):
                continue
            finally:
                connection.close()
    return found


def test_no_endpoint_answers_another_user_and_each_workload_finds_an_empty_prefix_cache(job: VllmJob):
    first, again = (job.workload(name, requests=2, max_tokens=100, words=70) for name in ("first", "again"))
    agent = job.begin(job.vllm_run(workloads=[first, again]), {"HPCSWEEP_FLAG_CHECK": "off"})
    argv = job.wait_for_event("attempt_started", LABEL, within_s=600).argv
    path = Path(argv[argv.index("--uds") + 1])
    job.wait_for_event("server_ready", LABEL, within_s=WITHIN_S)
    with socket.socket(socket.AF_UNIX) as mine:
        mine.connect(str(path))

    def connect() -> str:
        with socket.socket(socket.AF_UNIX) as theirs:
            theirs.connect(str(path))
        return "connected"

    assert isinstance(as_second_user(connect), PermissionError)
    pids = {process.pid for process in job.engine_processes()}
    ports = [c.laddr.port for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.pid in pids]
    assert pids and as_second_user(lambda: http_answers(ports)) == []
    environments = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):  # a helper of the server that has ended; a zombie is one of these
            environments.append(psutil.Process(pid).environ())
    assert environments and not [env for env in environments if "VLLM_SERVER_DEV_MODE" in env]
    assert job.declared(agent, 0.0, WITHIN_S).outcome == "completed"
    assert not path.parent.exists()
    ended = {event.workload: event.server_figures for event in job.of_kind("workload_ended", LABEL)}
    assert ended["again"]["prefix_cache_queries"] >= 2 * 2 * 128, ended  # two whole blocks a prompt could be found
    assert ended["again"]["prefix_cache_hits"] == 0, ended  # the same prompts as before, with another salt

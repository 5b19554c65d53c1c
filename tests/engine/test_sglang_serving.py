"""A real SGLang from launch to a stopped scheduler: one server, because a start takes more than a minute."""

import http.client
import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from engine_job import LABEL
from ruamel.yaml import YAML
from second_user import as_second_user
from sglang_job import DETOKENIZER, SCHEDULER, SglangJob

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(1800), pytest.mark.xdist_group("engine")]

WITHIN_S = 1700
STALL_S = 20.0
TOKENS = 24
OPEN = {"/health": 200, "/metrics": 200}
"""What SGLang answers without its key."""
CLOSED = ("/v1/models", "/server_info", "/get_server_info", "/model_info", "/openapi.json", "/docs")
CLOSED_POSTS = ("/generate", "/v1/completions", "/v1/chat/completions", "/flush_cache", "/abort_request", "/freeze_gc")


def test_one_server_from_launch_to_a_stopped_scheduler(sglang_job: SglangJob, faults: dict[str, Any]):
    job = sglang_job
    short = [job.workload(name, requests=2, max_tokens=TOKENS, words=70) for name in ("first", "again")]
    endless = job.workload("endless", requests=4000, max_tokens=TOKENS, arrival={"max_concurrency": 2})
    agent = job.begin(job.sglang_run(workloads=[*short, endless], budgets={"stall": STALL_S}))
    argv = job.wait_for_event("attempt_started", LABEL, within_s=600).argv
    key_file = Path(argv[argv.index("--config") + 1])
    key = YAML(typ="safe").load(key_file)["api-key"]
    job.wait_for_event("server_ready", LABEL, within_s=WITHIN_S)
    another_user_gets_nothing(job, int(argv[argv.index("--port") + 1]), key_file, key)
    while not any(event.workload == "endless" for event in job.of_kind("sample", LABEL)):
        assert agent.poll() is None, job.declared(agent, 0.0, WITHIN_S)
        time.sleep(0.2)
    since = job.hit(SCHEDULER, signal.SIGSTOP)
    told = job.declared(agent, since, WITHIN_S)
    faults["SIGSTOP of the scheduler in a request"] = told
    assert (told.outcome, told.cause, told.phase) == ("stalled", "rank_stuck", "measure"), told
    assert told.ranks == "scheduler" and "scheduler (pid " in told.reason, told
    assert not key_file.parent.exists() and key not in job.server_log()
    its_start_was_followed(job)
    its_workloads_were_measured(job)


def another_user_gets_nothing(job: SglangJob, port: int, key_file: Path, key: str) -> None:
    """Nothing but the state of the server and its figures."""
    assert isinstance(as_second_user(lambda: key_file.read_text()), PermissionError)
    processes = job.engine_processes()
    names = [" ".join(process.cmdline()) for process in processes]
    assert any(SCHEDULER in name for name in names) and any(DETOKENIZER in name for name in names)
    assert not any(key in name for name in names)
    answers = as_second_user(lambda: {path: answer("GET", port, path) for path in (*OPEN, *CLOSED)})
    assert answers == {**OPEN, **dict.fromkeys(CLOSED, 401)}
    assert as_second_user(lambda: {path: answer("POST", port, path) for path in CLOSED_POSTS}) == dict.fromkeys(
        CLOSED_POSTS, 401
    )
    pids = {process.pid for process in processes}
    sockets = {c.laddr for c in psutil.net_connections("unix") if c.pid in pids and str(c.laddr).startswith("/")}
    assert sockets, "its processes send each other pickled objects through these"
    assert as_second_user(lambda: [path for path in sockets if connects(path)]) == []
    listening = {c.laddr.port for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.pid in pids}
    assert as_second_user(lambda: answers_on(sorted(listening - {port}))) == []


def answers_on(ports: list[int]) -> list[int]:
    """The ports that speak HTTP. All at once: those that do not are given as long as the others to answer."""
    with ThreadPoolExecutor() as pool:
        statuses = pool.map(lambda port: answer("GET", port, "/health"), ports)
        return [port for port, status in zip(ports, statuses, strict=True) if status is not None]


def answer(method: str, port: int, path: str) -> int | None:
    """The HTTP status that another user gets; None: no HTTP is spoken there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, json.dumps({}), {"Content-Type": "application/json"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def connects(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as theirs, suppress(OSError):
        theirs.connect(path)
        return True
    return False


def its_start_was_followed(job: SglangJob) -> None:
    assert job.phases()[:7] == ["launch", "engine_init", "load_weights", "kv_cache", "warmup", "ready", "measure"]
    assert job.of_kind("server_ready", LABEL)[0].unseen_phases == []
    entered = {event.phase.value: event.t_s for event in job.of_kind("phase_entered", LABEL)}
    facts = job.facts()
    assert facts["architecture"] == "Glm4MoeForCausalLM" and facts["max_model_len_tokens"] == 512
    assert facts["kv_cache_tokens"] == 32_768 and "weights_bytes_per_gpu" not in facts
    assert facts["load_s"] < entered["kv_cache"] - entered["load_weights"] + 1
    assert entered["launch"] < entered["engine_init"] < entered["load_weights"]
    # Single functions are compiled in the warm-up; the cache of this session may have them already.
    assert facts["compile_cache"] == {"cold": "miss", "warm": "hit"}[facts["compile_cache_at_start"]]
    assert facts["inductor_graphs_at_start"] + facts["inductor_graphs_added"] > 0
    started = job.of_kind("attempt_started", LABEL)[0]
    assert started.versions["sglang"] == "0.5.23" and not started.simulated


def its_workloads_were_measured(job: SglangJob) -> None:
    samples = [event for event in job.of_kind("sample", LABEL) if event.workload != "endless"]
    assert [sample.error for sample in samples] == [None] * 4
    assert all(sample.completion_tokens == TOKENS and sample.tokens_from == "usage" for sample in samples)
    assert [event.cache_reset for event in job.of_kind("workload_started", LABEL)] == [None, True, True]
    ended = {event.workload: event.server_figures for event in job.of_kind("workload_ended", LABEL)}
    prompt_tokens = sum(sample.prompt_tokens for sample in samples if sample.workload == "again")
    assert ended["again"]["prompt_tokens"] == ended["again"]["prefix_cache_queries"] == prompt_tokens > 200
    assert ended["again"]["generation_tokens"] == 2 * TOKENS
    assert ended["again"]["prefix_cache_hits"] < 10, "the prompts of `first` again, but its cache was flushed"

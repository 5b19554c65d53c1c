"""Faults on a real SGLang: what each is called, in which phase, on what evidence, how soon; and that nothing is left.

What costs seconds is tested with every change, and one fault of a serving server (test_sglang_serving.py). The rest of
the table takes a start of a minute each.
"""

import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from engine_job import LABEL, Refused
from sglang_job import DETOKENIZER, SCHEDULER, SglangJob

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(1800), pytest.mark.xdist_group("engine")]

WITHIN_S = 1700
STALL_S = 20.0
NO_CHECK = {"HPCSWEEP_FLAG_CHECK": "off"}

REFUSED = {
    "model path missing": Refused(
        "model_not_found", {"model": "/no/such/model"}, started=False, decided_by="preflight: the model's path"
    ),
    "unknown flag": Refused(
        "bad_arguments", {"flags": {"--swap-space": 4}}, started=False, decided_by="preflight: the engine's own help"
    ),
    "context too large": Refused(
        "bad_arguments", {"settings": {"max_model_len": 100_000}}, phase="launch", evidence="context_length (100000)"
    ),
}
REFUSED_SLOWLY = {
    "model unknown to the hub": Refused(
        "model_not_found", {"model": "nobody/no-such-model"}, phase="launch", evidence="find them in the cached files"
    ),
    "unknown flag, not checked before": Refused(
        "bad_arguments", {"flags": {"--swap-space": 4}}, phase="launch", evidence="--swap-space", env=NO_CHECK
    ),
    "memory fraction too small": Refused(
        "out_of_memory", {"flags": {"--mem-fraction-static": 0.00001}}, evidence="--mem-fraction-static"
    ),
}


def refuse(job: SglangJob, faults: dict[str, Any], fault: str, case: Refused) -> None:
    begun = time.time()
    told = job.declared(job.begin(job.sglang_run(**case.run), case.env), begun, WITHIN_S)
    faults[fault] = told
    case.check(told, job)


@pytest.mark.parametrize("fault", REFUSED)
def test_a_configuration_that_cannot_work(sglang_job, faults, fault):
    refuse(sglang_job, faults, fault, REFUSED[fault])


@pytest.mark.nightly
@pytest.mark.parametrize("fault", REFUSED_SLOWLY)
def test_a_configuration_that_cannot_work_slowly(sglang_job, faults, fault):
    refuse(sglang_job, faults, fault, REFUSED_SLOWLY[fault])


@pytest.mark.nightly
def test_the_port_is_taken_while_it_starts(sglang_job, faults):
    """SGLang looks at its port first and binds it last: what listens there in the meantime must not pass for it."""
    agent = sglang_job.begin(sglang_job.sglang_run(), NO_CHECK)
    argv = sglang_job.wait_for_event("attempt_started", LABEL, within_s=600).argv
    sglang_job.wait_for_process(SCHEDULER)
    with socket.create_server(("127.0.0.1", int(argv[argv.index("--port") + 1]))):
        told = sglang_job.declared(agent, time.time(), WITHIN_S)
    faults["port taken while it starts"] = told
    assert told.outcome == "port_in_use" and "[Errno 98]" in told.reason
    assert not sglang_job.of_kind("server_ready", LABEL)


@dataclass
class Struck:
    """What is done to a process of a server. `words`: a piece of the reason or its evidence.
    `run`: what is set in it.
    """

    process: str
    signum: signal.Signals
    outcome: str
    words: str
    run: dict[str, Any] = field(default_factory=dict)


TP2 = {"settings": {"tensor_parallel_size": 2}, "env": {"SGLANG_CPU_OMP_THREADS_BIND": "0|1"}}
KILLED, STOPPED = signal.SIGKILL, signal.SIGSTOP
STARTING = {
    "SIGSTOP of the scheduler while it starts": Struck(SCHEDULER, STOPPED, "stalled", "scheduler (pid"),
    "SIGSTOP of the detokenizer while it starts": Struck(DETOKENIZER, STOPPED, "stalled", "detokenizer (pid"),
    "kill -9 of the scheduler while it starts": Struck(SCHEDULER, KILLED, "crashed", "scheduler"),
    "kill -9 of the detokenizer while it starts": Struck(DETOKENIZER, KILLED, "crashed", "detokenizer"),
}
SERVING = {
    "SIGSTOP of the detokenizer in a request": Struck(DETOKENIZER, STOPPED, "stalled", "detokenizer (pid"),
    "kill -9 of the scheduler in a request": Struck(SCHEDULER, KILLED, "crashed", "scheduler"),
    "kill -9 of the detokenizer in a request": Struck(DETOKENIZER, KILLED, "crashed", "detokenizer"),
    "kill -9 of the parent in a request": Struck("", KILLED, "crashed", "SIGKILL"),
    "SIGSTOP of rank 1 of 2 in a request": Struck(f"{SCHEDULER}_TP1", STOPPED, "stalled", "TP1 (pid", TP2),
    "kill -9 of rank 1 of 2 in a request": Struck(
        f"{SCHEDULER}_TP1", KILLED, "crashed", "Connection reset by peer", TP2
    ),
}


def strike(job: SglangJob, faults: dict[str, Any], fault: str, case: Struck, wait: Callable[[], Any]) -> None:
    answers = job.workload(requests=400, max_tokens=24, arrival={"max_concurrency": 2})
    run = job.sglang_run(workloads=[answers], budgets={"stall": STALL_S}, **case.run)
    agent = job.begin(run, NO_CHECK)
    wait()
    process = job.wait_for_process(case.process or SCHEDULER)
    since = time.time()
    (process if case.process else process.parent()).send_signal(case.signum)
    told = job.declared(agent, since, WITHIN_S)
    faults[fault] = told
    assert told.outcome == case.outcome, told
    assert case.words in f"{told.reason} {told.evidence} {told.decided_by}", told
    assert case.signum is KILLED or told.cause == "rank_stuck", told


@pytest.mark.nightly
@pytest.mark.parametrize("fault", STARTING)
def test_struck_while_it_starts(sglang_job, faults, fault):
    strike(sglang_job, faults, fault, STARTING[fault], lambda: None)


@pytest.mark.nightly
@pytest.mark.parametrize("fault", SERVING)
def test_struck_in_the_middle_of_a_request(sglang_job, faults, fault):
    wait = lambda: sglang_job.wait_for_event("sample", LABEL, within_s=900)  # noqa: E731
    strike(sglang_job, faults, fault, SERVING[fault], wait)

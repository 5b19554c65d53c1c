"""Faults on a real vLLM: what each is called, in which phase, on what evidence, how soon; and that nothing is left."""

import signal
import time
from dataclasses import dataclass

import pytest
from engine_job import LABEL, Refused
from vllm_job import OFFLINE, VllmJob

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800), pytest.mark.xdist_group("engine")]

WITHIN_S = 1700


REFUSED = {
    "model path missing": Refused(
        "model_not_found", {"model": "/no/such/model"}, started=False, decided_by="preflight: the model's path"
    ),
    "model unknown to the hub": Refused(
        "model_not_found", {"model": "nobody/no-such-model"}, phase="engine_init", evidence="Error"
    ),
    "unknown flag": Refused(
        "bad_arguments", {"flags": {"--swap-space": 4}}, started=False, decided_by="preflight: the engine's own help"
    ),
    "max-model-len too large": Refused(
        "bad_arguments",
        {"settings": {"max_model_len": 100_000}},
        phase="engine_init",
        evidence="max_model_len (100000)",
    ),
    "KV cache too small": Refused(
        "out_of_memory",
        {"settings": {"max_model_len": 4096}, "flags": {"--kv-cache-memory-bytes": 200_000}, "env": OFFLINE},
        evidence="larger than the available KV cache memory",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_configuration_that_cannot_work(job, faults, fault):
    case = REFUSED[fault]
    begun = time.time()
    told = job.declared(job.begin(job.vllm_run(**case.run)), begun, WITHIN_S)
    faults[fault] = told
    case.check(told, job)


@dataclass
class Struck:
    """What is done to a server in the middle of a request."""

    process: str
    signum: signal.Signals
    outcome: str
    decided_by: str


STRUCK = {
    "EngineCore killed in a request": Struck("VLLM::EngineCore", signal.SIGKILL, "crashed", ""),
    "parent killed (-9)": Struck("", signal.SIGKILL, "crashed", "SIGKILL"),
}


@pytest.mark.alone
@pytest.mark.parametrize("fault", STRUCK)
def test_struck_in_the_middle_of_a_request(job, faults, fault):
    case = STRUCK[fault]
    long_answers = job.workload(requests=200, max_tokens=400)
    agent = job.begin(job.vllm_run(workloads=[long_answers]))
    job.wait_for_event("sample", LABEL, within_s=900)
    since = hit_server(job, case)
    told = job.declared(agent, since, WITHIN_S)
    faults[fault] = told
    assert (told.outcome, told.phase) == (case.outcome, "measure")
    assert case.decided_by in told.decided_by


def hit_server(job: VllmJob, case: Struck) -> float:
    """Strike. The parent is the process whose port it is; its children must not outlive it."""
    if case.process:
        return job.hit(case.process, case.signum)
    core = job.engine_processes("VLLM::EngineCore")[0]
    at = time.time()
    core.parent().send_signal(case.signum)
    return at

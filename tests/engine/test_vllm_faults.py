"""Faults on a real vLLM: what each is called, in which phase, on what evidence, how soon; and that nothing is left."""

import contextlib
import signal
import time
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
from vllm_job import LABEL, OFFLINE, VllmJob

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800), pytest.mark.xdist_group("vllm")]

WITHIN_S = 1700
STALL_S = 20


@dataclass
class Refused:
    """A configuration that cannot work. `started`: the engine itself had to say so."""

    outcome: str
    run: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    started: bool = True
    phase: str | None = None
    evidence: str = ""
    decided_by: str = ""


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
    assert told.outcome == case.outcome
    assert case.decided_by in told.decided_by and case.evidence in told.evidence
    assert (job.attempt_dir(LABEL) / "server.log").exists() == case.started
    assert case.phase in (None, told.phase)


@pytest.mark.alone
def test_stopped_in_compile(job, faults):
    run = job.vllm_run(settings={"enforce_eager": False}, budgets={"stall": STALL_S})
    agent = job.begin(run, compile_cache="off")
    job.wait_for_phase("compile", LABEL, within_s=900)
    since = job.hit("VLLM::Worker", signal.SIGSTOP)
    stop_compilers(job)
    told = job.declared(agent, since, WITHIN_S)
    faults["SIGSTOP in compile"] = told
    assert (told.outcome, told.phase) == ("stalled", "compile") and told.decided_by.startswith("budget stall")
    assert told.after_s < STALL_S + 10, told.signs
    assert (job.attempt_dir(LABEL) / "diagnostics").is_dir()


def stop_compilers(job: VllmJob) -> None:
    """Stop what the workers have started. A compiler may start another before it is hit: again, until none is new."""
    stopped: set[int] = set()
    while True:
        found = [child for worker in job.engine_processes("VLLM::Worker") for child in worker.children(recursive=True)]
        new = [child for child in found if child.pid not in stopped]
        if not new:
            return
        for child in new:
            stopped.add(child.pid)
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGSTOP)


@dataclass
class Struck:
    """What is done to a server in the middle of a request."""

    process: str
    signum: signal.Signals
    outcome: str
    decided_by: str
    budgets: dict[str, Any] = field(default_factory=dict)


STRUCK = {
    "EngineCore killed in a request": Struck("VLLM::EngineCore", signal.SIGKILL, "crashed", ""),
    "SIGSTOP while serving": Struck("VLLM::EngineCore", signal.SIGSTOP, "stalled", "budget stall", {"stall": STALL_S}),
    "parent killed (-9)": Struck("", signal.SIGKILL, "crashed", "SIGKILL"),
}


@pytest.mark.alone
@pytest.mark.parametrize("fault", STRUCK)
def test_struck_in_the_middle_of_a_request(job, faults, fault):
    case = STRUCK[fault]
    long_answers = job.workload(requests=200, max_tokens=400)
    agent = job.begin(job.vllm_run(workloads=[long_answers], budgets=case.budgets))
    job.wait_for_event("sample", LABEL, within_s=900)
    since = hit_server(job, case)
    told = job.declared(agent, since, WITHIN_S)
    faults[fault] = told
    assert (told.outcome, told.phase) == (case.outcome, "measure")
    assert case.decided_by in told.decided_by
    if case.outcome == "stalled":
        assert told.after_s < STALL_S + 10, told.signs


def hit_server(job: VllmJob, case: Struck) -> float:
    """Strike. The parent is the process whose port it is; its children must not outlive it."""
    if case.process:
        return job.hit(case.process, case.signum)
    core = job.engine_processes("VLLM::EngineCore")[0]
    at = time.time()
    core.parent().send_signal(case.signum)
    return at

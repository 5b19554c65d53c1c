"""Busy but stuck, on a real vLLM at TP=2: what it is called, which rank is named, how soon; and what is left alone."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from engine_job import LABEL
from vllm_job import ENV, VllmJob

pytestmark = [pytest.mark.vllm, pytest.mark.alone, pytest.mark.timeout(1800), pytest.mark.xdist_group("engine")]

WITHIN_S = 1700
STALL_S = 12.0
AT_MOST_S = 1.5 * STALL_S + 10
TP2 = {"tensor_parallel_size": 2}
TWO_RANKS = {**ENV, "VLLM_CPU_OMP_THREADS_BIND": "0|1"}  # by itself it wants a NUMA node for each rank
INJECT = str(Path(__file__).parent / "inject")
RANK_1 = "VLLM::Worker_TP1"


def injected(what: str) -> dict[str, str]:
    return {**TWO_RANKS, "PYTHONPATH": INJECT, "HPCSWEEP_TEST_INJECT": what}


def stop(name: str) -> Callable[[VllmJob], float]:
    return lambda job: job.hit(name, signal.SIGSTOP)


def stop_in_compile(job: VllmJob) -> float:
    job.wait_for_phase("compile", LABEL, within_s=900)
    since = job.hit(RANK_1, signal.SIGSTOP)
    job.stop_compilers(RANK_1)
    return since


def stopped_itself(job: VllmJob) -> float:
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline:
        for process in job.engine_processes(RANK_1):
            if process.status() == psutil.STATUS_STOPPED:
                return time.time()
        time.sleep(0.05)
    raise AssertionError("rank 1 has not stopped itself")


def last_progress(job: VllmJob) -> float:
    """When the loop began is not seen from outside, but the last progress is."""
    while not any(event.name == "stall_declared_after_s" for event in job.of_kind("fact", LABEL)):
        time.sleep(0.2)
    return [event.at for event in job.of_kind("progress", LABEL) if event.signs][-1]


@dataclass
class Case:
    """A fault. `strike` returns when it was, Unix seconds; `serving`: in the middle of a request."""

    phase: str
    strike: Callable[[VllmJob], float]
    cause: str | None = "rank_stuck"
    rank: str | None = "TP1"
    env: dict[str, str] = field(default_factory=lambda: TWO_RANKS)
    settings: dict[str, Any] = field(default_factory=dict)
    serving: bool = False
    outcome: str = "stalled"
    nightly: bool = False


CASES = {
    "SIGSTOP of rank 1 while loading": Case("load_weights", stopped_itself, env=injected("stop_at_load")),
    "SIGSTOP of rank 1 while compiling": Case("compile", stop_in_compile, settings={"enforce_eager": False}),
    "SIGSTOP of rank 1 while serving": Case("measure", stop(RANK_1), serving=True),
    "SIGSTOP of the engine core": Case(
        "measure", stop("VLLM::EngineCore"), rank="EngineCore", serving=True, nightly=True
    ),
    "rank 1 in a busy loop": Case("measure", last_progress, env=injected("loop_in_step"), serving=True),
    "kill -9 of rank 1": Case(
        "measure",
        lambda job: job.hit(RANK_1, signal.SIGKILL),
        cause=None,
        rank=None,
        serving=True,
        outcome="crashed",
        nightly=True,
    ),
}
PARAMETERS = [
    pytest.param(name, marks=pytest.mark.nightly if case.nightly else [], id=name) for name, case in CASES.items()
]


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_stuck_rank_is_found_and_named(job, faults, name):
    case = CASES[name]
    run = job.vllm_run(
        settings={**TP2, **case.settings},
        workloads=[job.workload(requests=400, max_tokens=100, arrival={"max_concurrency": 2})],
        budgets={"stall": STALL_S},
        env=case.env,
    )
    agent = job.begin(run, compile_cache="off")
    if case.serving:
        job.wait_for_event("sample", LABEL, within_s=900)
    since = case.strike(job)
    told = job.declared(agent, since, WITHIN_S)
    faults[name] = told
    # The other rank may end its compile, and wait in the next phase.
    phases = ("compile", "profile") if case.phase == "compile" else (case.phase,)
    assert (told.outcome, told.cause) == (case.outcome, case.cause) and told.phase in phases, told
    if case.rank is not None:
        assert told.ranks == case.rank and f"{case.rank} (pid " in told.reason, told.reason
        # Held-up time up to the stall budget is excused, and not in `idle_s`; more of it is in there.
        held_up_s = max(0.0, job.held_up_s(last_progress(job)) - STALL_S)
        assert told.idle_s is not None and told.idle_s - held_up_s < AT_MOST_S, (held_up_s, told.signs)
        # The other rank may have had work of its own to finish: that was progress.
        assert case.phase != "measure" or told.after_s < AT_MOST_S, told.signs
        assert (job.attempt_dir(LABEL) / "diagnostics" / "summary.txt").read_text().strip() in told.reason
    else:
        assert "Worker_TP1" in told.evidence or "VllmWorker-1" in " ".join((told.reason, told.evidence)), told
        assert told.after_s < AT_MOST_S


QUIET_S = 8.0
AT_LEAST_S = 4 * QUIET_S
LOAD_BYTES = int(1.05 * AT_LEAST_S * (1 << 20))
LONG_TOKENS = 64_000


def ready(job: VllmJob) -> Any:
    return job.of_kind("server_ready", LABEL)[0]


def entered_s(job: VllmJob, phase: str) -> float:
    return next(event.t_s for event in job.of_kind("phase_entered", LABEL) if event.phase.value == phase)


def test_what_only_looks_stuck_is_left_alone(job, faults, tmp_path):
    """A slow load, rare requests, a prompt of 64k tokens, and a machine that is frozen for a while: one server."""
    weights = tmp_path / "weights.bin"
    weights.write_bytes(bytes(LOAD_BYTES))
    rare = job.workload(
        "rare", requests=2, max_tokens=4, arrival={"request_rate": 0.9 / AT_LEAST_S, "process": "constant"}
    )
    prompt = job.prompts("prefill", [" ".join("7" for _ in range(60_000))], max_tokens=1)
    frozen = job.workload("frozen", requests=40, max_tokens=100, arrival={"max_concurrency": 2})
    run = job.vllm_run(
        settings={**TP2, "max_model_len": 66_000},
        flags={"--hf-overrides": '{"max_position_embeddings": 66000}', "--max-num-batched-tokens": 1024},
        workloads=[rare, prompt, frozen],
        budgets={"stall": QUIET_S, "token": 1500, "request": 1500},
        env=injected(f"slow_load={weights}"),
    )
    agent = job.begin(run)
    while not any(e.workload == "frozen" and not e.error for e in job.of_kind("sample", LABEL)):
        assert agent.poll() is None, job.declared(agent, 0.0, WITHIN_S)
        time.sleep(0.2)
    freeze([psutil.Process(agent.pid), *psutil.Process(agent.pid).children(recursive=True)], AT_LEAST_S)
    told = job.declared(agent, 0.0, WITHIN_S)
    assert told.outcome == "completed", told
    samples = job.of_kind("sample", LABEL)
    assert all(sample.error is None for sample in samples)
    loaded_s = entered_s(job, "kv_cache") - entered_s(job, "load_weights")
    gap_s = samples[1].sent_s - samples[0].sent_s
    prefill_s = next(sample.ttft_s for sample in samples if sample.workload == "prefill")
    lasted = {"a load at 1 MB/s": loaded_s, "an idle server": gap_s, "a prompt of 64k tokens": prefill_s}
    faults.update({f"left alone: {name}, {seconds:.0f} s": told for name, seconds in lasted.items()})
    assert all(seconds >= AT_LEAST_S for seconds in lasted.values()), lasted
    assert next(s.prompt_tokens for s in samples if s.workload == "prefill") > 0.9 * LONG_TOKENS


def freeze(processes: list[psutil.Process], seconds: float) -> None:
    """As when the machine is suspended: nothing of the job runs, and all of it goes on."""
    for process in processes:
        process.suspend()
    time.sleep(seconds)
    for process in reversed(processes):
        process.resume()

"""A real SGLang on two nodes, which are this machine twice: phases and figures of both, and who is blamed."""

import signal
import time
from typing import Any

import psutil
import pytest
from engine_job import LABEL, Declared
from sglang_job import SCHEDULER, SglangJob

pytestmark = [pytest.mark.sglang, pytest.mark.alone, pytest.mark.timeout(1800), pytest.mark.xdist_group("engine")]

WITHIN_S = 1700
STALL_S = 20.0
TP2 = {"tensor_parallel_size": 2}
TWO_NODES = {"SGLANG_CPU_OMP_THREADS_BIND": "0|0"}  # by itself it wants a NUMA node for each rank


@pytest.mark.nightly
def test_two_nodes_from_launch_to_a_stopped_rank(sglang_job: SglangJob, faults: dict[str, Any]):
    """One server for all of it, because a start takes more than a minute."""
    strike(sglang_job, faults, 1, signal.SIGSTOP)
    started = sglang_job.of_kind("attempt_started", LABEL)[0]
    assert "--nnodes 2 --node-rank 0 --dist-init-addr 127.0.0.1:" in " ".join(started.argv)
    both_nodes_were_followed(sglang_job, started.nodes[1])
    samples = [event for event in sglang_job.of_kind("sample", LABEL) if event.workload == "short"]
    assert [(sample.error, sample.completion_tokens) for sample in samples] == [(None, 24)] * 4


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("rank", "signum"),
    [
        pytest.param(rank, signum, id=f"{signum.name} of rank {rank}")
        for rank, signum in ((0, signal.SIGKILL), (1, signal.SIGKILL), (0, signal.SIGSTOP))
    ],
)
def test_the_rank_at_fault_is_named(sglang_job, faults, rank, signum):
    strike(sglang_job, faults, rank, signum)


def strike(job: SglangJob, faults: dict[str, Any], rank: int, signum: signal.Signals) -> None:
    """Serve until two workloads have answers, hit the scheduler of a rank, and check what is reported."""
    short = job.workload("short", requests=4, max_tokens=24)
    endless = job.workload("endless", requests=400, max_tokens=24, arrival={"max_concurrency": 2})
    run = job.sglang_run(TP2, nodes=2, env=TWO_NODES, workloads=[short, endless], budgets={"stall": STALL_S})
    agent = job.begin(run)
    while not any(event.workload == "endless" for event in job.of_kind("sample", LABEL)):
        assert agent.poll() is None, job.declared(agent, 0.0, WITHIN_S)
        time.sleep(0.2)
    struck = scheduler(job, rank)
    since = time.time()
    struck.send_signal(signum)
    told: Declared = job.declared(agent, since, WITHIN_S)
    faults[f"two nodes: {signum.name} of the scheduler of rank {rank}"] = told
    nodes = job.of_kind("attempt_started", LABEL)[0].nodes
    assert (told.outcome, told.phase) == ("crashed" if signum is signal.SIGKILL else "stalled", "measure"), told
    assert f"rank TP{rank} (pid {struck.pid}, node {nodes[rank]})" in told.reason, told
    assert "in phase measure" in told.reason, told
    assert job.of_kind("attempt_ended", LABEL)[0].node == nodes[rank]


def scheduler(job: SglangJob, rank: int) -> psutil.Process:
    """The scheduler of a rank, by its title."""
    (found,) = [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if (process.info["cmdline"] or [""])[0].startswith(f"{SCHEDULER}_TP{rank}")
        and str(process.info["cwd"] or "").startswith(str(job.sweep_dir))
    ]
    return found


def both_nodes_were_followed(job: SglangJob, second: str) -> None:
    assert job.phases()[:5] == ["launch", "engine_init", "load_weights", "kv_cache", "warmup"]
    phases = [event.phase.value for event in job.of_kind("rank_phase", LABEL) if event.node == second]
    assert phases == ["engine_init", "load_weights", "kv_cache", "warmup"]
    figures = {event.name: event.value for event in job.of_kind("rank_fact", LABEL) if event.node == second}
    assert figures["load_s"] > 0 and figures["kv_cache_tokens"] == 32768 == job.facts()["kv_cache_tokens"]

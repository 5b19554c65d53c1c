"""A real vLLM on two nodes, which are this machine twice: phases, facts and figures of both, and who is blamed.

Each case takes a start of minutes; in every run a real vLLM serves on two nodes of a Slurm (tests/cluster).
"""

import signal
import time

import psutil
import pytest
from engine_job import LABEL
from vllm_job import ENV, VllmJob

pytestmark = [pytest.mark.vllm, pytest.mark.alone, pytest.mark.timeout(1800), pytest.mark.xdist_group("engine")]

WITHIN_S = 1700
STALL_S = 30.0
TP2 = {"tensor_parallel_size": 2}
TWO_NODES = {**ENV, "VLLM_CPU_OMP_THREADS_BIND": "nobind"}  # by itself it wants a NUMA node for each rank


def worker(job: VllmJob, rank: int) -> psutil.Process:
    """The worker of a rank. vLLM overwrites the environment of its processes, so it is found by its title."""
    (found,) = [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if (process.info["cmdline"] or [""])[0].startswith(f"VLLM::Worker_TP{rank}")
        and str(process.info["cwd"] or "").startswith(str(job.sweep_dir))
    ]
    return found


CASES = [
    pytest.param(rank, signum, id=f"{signum.name} of rank {rank}")
    for rank in (0, 1)
    for signum in (signal.SIGKILL, signal.SIGSTOP)
]


@pytest.mark.nightly
@pytest.mark.parametrize(("rank", "signum"), CASES)
def test_two_nodes_serve_until_a_rank_fails_which_is_named(job: VllmJob, faults, rank, signum):
    run = job.vllm_run(
        settings=TP2,
        nodes=2,
        env=TWO_NODES,
        budgets={"stall": STALL_S} if signum is signal.SIGSTOP else {},
        workloads=[
            job.workload("short", requests=4, max_tokens=24),
            job.workload("endless", requests=4000, max_tokens=100, arrival={"max_concurrency": 2}),
        ],
    )
    agent = job.begin(run, compile_cache="off")
    job.wait_for_event("workload_ended", LABEL, within_s=1500)
    while not any(event.workload == "endless" for event in job.of_kind("sample", LABEL)):
        assert agent.poll() is None, job.declared(agent, 0.0, WITHIN_S)
        time.sleep(0.2)
    struck = worker(job, rank)
    since = time.time()
    struck.send_signal(signum)
    told = job.declared(agent, since, WITHIN_S)
    faults[f"two nodes: {signum.name} of rank {rank}"] = told
    nodes = job.of_kind("attempt_started", LABEL)[0].nodes
    assert told.outcome == ("crashed" if signum is signal.SIGKILL else "stalled"), told
    assert f"rank TP{rank} (pid {struck.pid}, node {nodes[rank]})" in told.reason, told
    assert job.of_kind("attempt_ended", LABEL)[0].node == nodes[rank]
    both_nodes_were_followed(job)


def both_nodes_were_followed(job: VllmJob) -> None:
    started = job.of_kind("attempt_started", LABEL)[0]
    second = started.nodes[1]
    argv = " ".join(started.argv)
    assert "--nnodes 2 --node-rank 0 --master-addr 127.0.0.1" in argv and "--headless" not in argv
    assert [event.phase.value for event in job.of_kind("rank_phase", LABEL) if event.node == second][:1] == [
        "load_weights"
    ]
    figures = {event.name: event.value for event in job.of_kind("rank_fact", LABEL) if event.node == second}
    assert figures["load_s"] > 0
    samples = [sample for sample in job.of_kind("sample", LABEL) if sample.workload == "short"]
    assert [sample.error for sample in samples] == [None] * 4
    assert all(sample.completion_tokens == 24 for sample in samples)

"""A real vLLM on two nodes, which are this machine twice: phases, facts and figures of both, and who is blamed."""

import pytest
from vllm_job import ENV, LABEL, VllmJob

pytestmark = [pytest.mark.vllm, pytest.mark.alone, pytest.mark.timeout(1800), pytest.mark.xdist_group("vllm")]

WITHIN_S = 1700
TP2 = {"tensor_parallel_size": 2}
TWO_NODES = {**ENV, "VLLM_CPU_OMP_THREADS_BIND": "nobind"}  # by itself it wants a NUMA node for each rank


def test_two_nodes_serve(job: VllmJob):
    run = job.vllm_run(settings=TP2, nodes=2, env=TWO_NODES, workloads=[job.workload(requests=4, max_tokens=24)])
    told = job.declared(job.begin(run), 0.0, WITHIN_S)
    assert told.outcome == "completed", told
    started = job.of_kind("attempt_started", LABEL)[0]
    second = started.nodes[1]
    argv = " ".join(started.argv)
    assert "--nnodes 2 --node-rank 0 --master-addr 127.0.0.1" in argv and "--headless" not in argv
    assert [event.phase.value for event in job.of_kind("rank_phase", LABEL) if event.node == second][:1] == [
        "load_weights"
    ]
    figures = {event.name: event.value for event in job.of_kind("rank_fact", LABEL) if event.node == second}
    assert figures["load_s"] > 0
    samples = job.of_kind("sample", LABEL)
    assert [sample.error for sample in samples] == [None] * 4
    assert all(sample.completion_tokens == 24 for sample in samples)

"""A real SGLang on two nodes, which are this machine twice: phases, facts and figures of both, and who is blamed."""

import pytest
from engine_job import LABEL
from sglang_job import SglangJob

pytestmark = [pytest.mark.sglang, pytest.mark.alone, pytest.mark.timeout(1800), pytest.mark.xdist_group("engine")]

WITHIN_S = 1700
TP2 = {"tensor_parallel_size": 2}
TWO_NODES = {"SGLANG_CPU_OMP_THREADS_BIND": "0|0"}  # by itself it wants a NUMA node for each rank


def test_two_nodes_serve(sglang_job: SglangJob):
    job = sglang_job
    run = job.sglang_run(TP2, nodes=2, env=TWO_NODES, workloads=[job.workload(requests=4, max_tokens=24)])
    told = job.declared(job.begin(run), 0.0, WITHIN_S)
    assert told.outcome == "completed", told
    started = job.of_kind("attempt_started", LABEL)[0]
    second = started.nodes[1]
    assert "--nnodes 2 --node-rank 0 --dist-init-addr 127.0.0.1:" in " ".join(started.argv)
    phases = [event.phase.value for event in job.of_kind("rank_phase", LABEL) if event.node == second]
    figures = {event.name: event.value for event in job.of_kind("rank_fact", LABEL) if event.node == second}
    print(job.phases(), phases, figures, job.facts())
    samples = job.of_kind("sample", LABEL)
    assert [sample.error for sample in samples] == [None] * 4
    assert all(sample.completion_tokens == 24 for sample in samples)

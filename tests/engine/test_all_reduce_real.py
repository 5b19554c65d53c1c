"""The all-reduce check with a real torch, on two nodes that are this machine twice: the figures of Gloo."""

import os
from pathlib import Path

import pytest
from all_reduce_job import stand_in, write_checked
from vllm_job import VllmJob

from hpcsweep.node.setup.engine_identity import python_of

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]


def test_two_nodes_add_numbers_before_the_server_starts(job: VllmJob, tmp_path: Path):
    python = python_of(os.environ["HPCSWEEP_VLLM"])
    assert python is not None
    write_checked(job, 240)
    agent = job.start(stand_in(tmp_path, python))
    _, err = agent.communicate(timeout=280)  # the import of torch takes a minute on a busy machine
    assert agent.returncode == 0 and job.ended("eager-yes")["outcome"] == "completed", (job.ended("eager-yes"), err)
    facts = {event.name: event for event in job.of_kind("fact", "eager-yes") if event.source == "all-reduce check"}
    assert facts["all_reduce"].value == "gloo, 2 ranks on 2 nodes, 4.0 MiB, interface lo"
    algbw, busbw = facts["all_reduce_algbw"], facts["all_reduce_busbw"]
    assert busbw.unit == "GB/s" and busbw.value == algbw.value > 0, "2(n-1)/n is 1 for two ranks"
    folder = job.attempt_dir("eager-yes")
    assert '"stage": "done"' in (folder / "all_reduce.log").read_text()
    assert '"stage": "done"' in (folder / "ranks" / "1" / "all_reduce.log").read_text()

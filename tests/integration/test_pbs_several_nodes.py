"""A server on two nodes of the fake PBS, started with pbsdsh as recorded: no environment but HOME, PATH and PBS_*."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pbs_fixture import FakePbs
from pbs_sweeps import PbsSweep

pytestmark = pytest.mark.timeout(300)

LABEL = "len-1k"


@pytest.fixture
def sweep(pbs: FakePbs, tmp_path: Path) -> Iterator[PbsSweep]:
    pbs.admin("set server kill_delay=5.0")
    made = PbsSweep(pbs, tmp_path)
    made.write(lengths=("1k",), slow=True, gpus_per_node=8, gpus=None)
    path = tmp_path / "study.yaml"
    experiment = json.loads(path.read_text()) | {"engine_args": {"tensor-parallel-size": 16}}
    path.write_text(json.dumps(experiment))
    yield made
    pbs.admin("stop-all")
    for process in made.processes():
        process.kill()


def events(sweep: PbsSweep, kind: str) -> list[dict[str, Any]]:
    lines = (sweep.sweep_dir / "runs" / LABEL / "attempt-1" / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def test_two_nodes_by_pbsdsh(sweep):
    number = sweep.submit()
    script = (sweep.sweep_dir / "jobs" / "0" / "job.sh").read_text()
    assert "#PBS -l select=2:ngpus=8" in script and "#PBS -l place=scatter" in script
    sweep.wait_until_measuring(LABEL)
    (started,) = events(sweep, "attempt_started")
    assert len(started["nodes"]) == 2 and len(set(started["nodes"])) == 2
    assert {event["node"] for event in events(sweep, "rank_phase")} == {started["nodes"][1]}
    sweep.pbs.out(f"qdel {number}")
    assert sweep.wait_until_ended()[LABEL]["outcome"] == "cancelled"
    sweep.wait_until_nothing_runs()


def test_a_worker_that_dies_on_the_other_node(sweep):
    sweep.submit()
    sweep.wait_until_measuring(LABEL)
    nodes = events(sweep, "attempt_started")[0]["nodes"]
    (worker,) = [process for process in sweep.processes() if process.cmdline()[0] == "VLLM::Worker_TP1"]
    worker.kill()
    run = sweep.wait_until_ended()[LABEL]
    assert run["outcome"] == "crashed"
    assert f"rank TP1 (pid {worker.pid}, node {nodes[1]}) ended first" in run["reason"], run
    sweep.wait_until_nothing_runs()

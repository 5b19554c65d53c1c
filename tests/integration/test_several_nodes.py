"""A simulated server on several nodes, with the local launcher: what is recorded, and what is blamed."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from two_nodes import TwoNodes

LABEL = "eager-yes"


@pytest.fixture
def job(tmp_path: Path) -> Iterator[TwoNodes]:
    made = TwoNodes(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()
    made.wait_until_nothing_is_left()


def test_two_nodes(job):
    job.write(job.two())
    code, err = job.execute()
    assert code == 0 and job.ended()["outcome"] == "completed", err
    started = job.of_kind("attempt_started")[0]
    assert len(started.nodes) == 2 and started.nodes[1] == f"{started.nodes[0]}#1"
    phases = [event.phase.value for event in job.of_kind("rank_phase") if event.node == started.nodes[1]]
    assert phases[:1] == ["load_weights"] and "kv_cache" in phases
    figures = {event.name: event.value for event in job.of_kind("rank_fact")}
    assert figures["weights_bytes_per_gpu"] > 0 and figures["load_s"] > 0
    assert len(job.of_kind("sample")) == 3
    log = (job.attempt_dir() / "ranks" / "1" / "server.log").read_text()
    assert "Worker" in log and "Application startup" not in log
    left = sorted(path.name for path in (job.attempt_dir() / "ranks").iterdir())
    assert left == ["1"], "the token and the environment are removed"


SLOW_LOAD = {"startup": {"load_weights": 150}}
QUIET = {"stall": 100, "startup": 3000}


@dataclass
class Fault:
    """`node`: the one to blame, 0 or 1. `named`: what the reason says of the process."""

    strike: Callable[[TwoNodes], psutil.Process]
    signum: signal.Signals
    outcome: str
    node: int
    named: str


def worker(rank: int) -> Callable[[TwoNodes], psutil.Process]:
    return lambda job: job.worker(rank)


def engine(rank: int) -> Callable[[TwoNodes], psutil.Process]:
    return lambda job: job.engine(rank)


FAULTS = {
    "kill -9 of the worker of rank 0": Fault(worker(0), signal.SIGKILL, "crashed", 0, "rank TP0"),
    "kill -9 of the worker of rank 1": Fault(worker(1), signal.SIGKILL, "crashed", 1, "rank TP1"),
    "kill -9 of the engine of rank 0": Fault(engine(0), signal.SIGKILL, "crashed", 0, "front end"),
    "kill -9 of the engine of rank 1": Fault(engine(1), signal.SIGKILL, "crashed", 1, "front end"),
    "SIGSTOP of the worker of rank 0": Fault(worker(0), signal.SIGSTOP, "stalled", 0, "rank TP0"),
    "SIGSTOP of the worker of rank 1": Fault(worker(1), signal.SIGSTOP, "stalled", 1, "rank TP1"),
    "SIGSTOP of the engine of rank 0": Fault(engine(0), signal.SIGSTOP, "stalled", 0, "front end"),
    "SIGSTOP of the engine of rank 1": Fault(engine(1), signal.SIGSTOP, "stalled", 1, "front end"),
    "kill -9 of the agent of rank 1": Fault(TwoNodes.rank_agent, signal.SIGKILL, "lost", 1, "the agent on node"),
}


IN_EVERY_RUN = {
    ("kill -9 of the worker of rank 1", "load_weights"),
    ("kill -9 of the worker of rank 1", "measure"),
    ("kill -9 of the engine of rank 0", "measure"),
    ("SIGSTOP of the worker of rank 0", "measure"),
    ("SIGSTOP of the worker of rank 1", "load_weights"),
    ("kill -9 of the agent of rank 1", "measure"),
}
CASES = [
    pytest.param(name, phase, marks=[] if (name, phase) in IN_EVERY_RUN else pytest.mark.nightly, id=f"{name}, {phase}")
    for name in FAULTS
    for phase in ("load_weights", "measure")
]


@pytest.mark.parametrize(("name", "phase"), CASES)
def test_the_node_at_fault_is_named(job, name, phase):
    fault = FAULTS[name]
    profile = SLOW_LOAD if phase == "load_weights" else {"speed": {"decode_tps": 1.0}}
    job.write(job.two(profile=profile, budgets=QUIET))
    agent = job.start()
    job.wait_for_phase(phase)
    if phase == "measure":
        job.wait_for_event("workload_started")
    fault.strike(job).send_signal(fault.signum)
    _, err = agent.communicate(timeout=60)
    end, nodes = job.ended(), job.of_kind("attempt_started")[0].nodes
    assert (end["outcome"], end["node"]) == (fault.outcome, nodes[fault.node]), err
    assert fault.named in end["reason"] and f"node {nodes[fault.node]}" in end["reason"], end["reason"]
    assert phase != "measure" or "in phase measure" in end["reason"], "only the first node logs that it serves"
    job.wait_until_nothing_is_left()


def test_the_other_node_is_cleaned_when_the_head_agent_is_killed(job):
    job.write(job.two(profile={"speed": {"decode_tps": 1.0}}))
    agent = job.start()
    job.wait_for_event("workload_started")
    rank_agent = job.rank_agent()
    agent.kill()
    agent.communicate()
    rank_agent.wait(timeout=20)
    job.wait_until_nothing_is_left()
    assert job.ended()["outcome"] == "lost"


def test_a_cancel_ends_all_parts(job):
    job.write(job.two(profile={"speed": {"decode_tps": 1.0}}))
    agent = job.start()
    job.wait_for_event("workload_started")
    agent.send_signal(signal.SIGTERM)
    agent.communicate(timeout=30)
    assert (job.ended()["outcome"], job.ended()["node"]) == ("cancelled", None)

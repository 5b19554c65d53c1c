"""A server on two nodes of the real Slurm, started with srun: it serves, and the node at fault is named and cleaned."""

import json
import os
import signal

import psutil
import pytest
from slurm_sweeps import SWEEP, Sweep, daemon, start_daemon, wait_for

from hpcsweep.node.process.processes import TOKEN_VARIABLE

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

LABEL = "len-1k"
NODES = ["hopper-01", "hopper-02"]


def write(sweep: Sweep, *, slow: bool = False) -> None:
    sweep.write(lengths=("1k",), slow=slow, nodes=2, nodelist=",".join(NODES))
    path = sweep.folder / "study.yaml"
    experiment = json.loads(path.read_text())
    experiment["serve"] = {"tensor-parallel-size": 2}
    experiment["budgets"]["stall"] = "15s"
    path.write_text(json.dumps(experiment))


def events(sweep: Sweep, kind: str) -> list[dict[str, object]]:
    lines = (sweep.attempt_dir(LABEL) / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def worker(sweep: Sweep, rank: int) -> psutil.Process:
    token = json.loads((sweep.attempt_dir(LABEL) / "owner.json").read_text())["token"]
    suffix = f".rank{rank}" if rank else ""
    for process in sweep.processes():
        if process.environ().get(TOKEN_VARIABLE) == token + suffix and process.cmdline()[0].startswith("VLLM::Worker"):
            return process
    raise AssertionError(f"no worker of rank {rank}")


def rank_agent(sweep: Sweep) -> psutil.Process:
    return next(process for process in sweep.processes() if "hpcsweep.node.rank_agent" in process.cmdline()[:3])


def test_two_nodes_serve(sweep: Sweep) -> None:
    write(sweep)
    sweep.submit()
    assert sweep.wait_until_ended(120)[LABEL]["outcome"] == "completed"
    assert events(sweep, "attempt_started")[0]["nodes"] == NODES
    assert {event["node"] for event in events(sweep, "rank_phase")} == {NODES[1]}
    shown = sweep.cli("report", SWEEP, "--full")
    assert all(node in shown for node in NODES)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_the_node_at_fault_is_named(sweep: Sweep, rank: int, signum: signal.Signals) -> None:
    write(sweep, slow=True)
    sweep.submit()
    sweep.wait_until_measuring(LABEL, within_s=120)
    worker(sweep, rank).send_signal(signum)
    run = sweep.wait_until_ended(120)[LABEL]
    assert run["outcome"] == ("crashed" if signum is signal.SIGKILL else "stalled")
    assert f"TP{rank} (pid" in run["reason"] and f"node {NODES[rank]}" in run["reason"], run
    sweep.wait_until_nothing_runs()


def test_a_lost_agent_of_the_other_node(sweep: Sweep) -> None:
    write(sweep, slow=True)
    sweep.submit()
    sweep.wait_until_measuring(LABEL, within_s=120)
    rank_agent(sweep).kill()
    run = sweep.wait_until_ended(120)[LABEL]
    assert run["outcome"] == "lost" and f"the agent on node {NODES[1]} ended" in run["reason"], run
    sweep.wait_until_nothing_runs()


@pytest.mark.skipif(os.geteuid() != 0, reason="stops a daemon of Slurm: needs root")
@pytest.mark.usefixtures("whole_cluster")
def test_a_node_that_loses_power(sweep: Sweep) -> None:
    """Its daemon dies, and all its processes fall silent at once: Slurm ends the job, and the node is named."""
    write(sweep, slow=True)
    sweep.submit()
    sweep.wait_until_measuring(LABEL, within_s=120)
    silent = [rank_agent(sweep), *rank_agent(sweep).children(recursive=True)]
    daemon(f"slurmd.{NODES[1]}").send_signal(signal.SIGKILL)
    for process in silent:
        process.send_signal(signal.SIGSTOP)
    try:
        record = sweep.attempt_dir(LABEL) / "exit.json"
        wait_for(record.exists, 100, "the attempt has ended")
        end = json.loads(record.read_text())
        assert (end["outcome"], end["code"], end["node"]) == ("lost", "node_lost", NODES[1]), end
    finally:
        for process in silent:  # the node comes back
            process.send_signal(signal.SIGCONT)
        start_daemon(f"slurmd.{NODES[1]}", "slurmd", "-N", NODES[1])
    sweep.wait_until_nothing_runs()


def test_cancel_ends_both_nodes(sweep: Sweep) -> None:
    write(sweep, slow=True)
    sweep.submit()
    sweep.wait_until_measuring(LABEL, within_s=120)
    sweep.cli("cancel", SWEEP)
    assert sweep.wait_until_ended(60)[LABEL]["outcome"] == "cancelled"
    sweep.wait_until_nothing_runs()


@pytest.mark.vllm
@pytest.mark.timeout(1800)
def test_a_real_vllm_on_two_nodes(sweep: Sweep) -> None:
    write(sweep)
    path = sweep.folder / "study.yaml"
    experiment = json.loads(path.read_text())
    del experiment["simulated"]
    experiment |= {
        "model": {"name": "tiny", "path": os.environ["HPCSWEEP_TINY_MODEL"]},
        "env": {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1"},
    }
    experiment["serve"] |= {"enforce-eager": True}
    experiment["budgets"] |= {"startup": "25m", "stall": "8m"}
    experiment["resources"]["walltime"] = "30m"
    path.write_text(json.dumps(experiment))
    config = json.loads((sweep.folder / "hpcsweep.yaml").read_text())
    config["clusters"]["slurm"] |= {"simulate": "never", "engines": {"vllm": os.environ["HPCSWEEP_VLLM"]}}
    (sweep.folder / "hpcsweep.yaml").write_text(json.dumps(config))
    sweep.submit()
    assert sweep.wait_until_ended(1700)[LABEL]["outcome"] == "completed"
    assert events(sweep, "attempt_started")[0]["nodes"] == NODES
    assert {"load_weights"} <= {event["phase"] for event in events(sweep, "rank_phase")}
    loads = {event["node"]: event["value"] for event in events(sweep, "rank_fact") if event["name"] == "load_s"}
    assert loads.keys() == {NODES[1]}
    assert [sample["error"] for sample in events(sweep, "sample")] == [None, None]
    shown = sweep.cli("report", SWEEP, "--full")
    assert all(node in shown for node in NODES)
    sweep.wait_until_nothing_runs()

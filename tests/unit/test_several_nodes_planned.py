"""Servers on several nodes before they start: how many nodes, what each engine is told, and how an end is judged."""

import pytest

from hpcsweep.engines.access import exposed
from hpcsweep.engines.base import Launch, LaunchContext, Placement
from hpcsweep.engines.registry import get_engine
from hpcsweep.errors import EngineError
from hpcsweep.node.ranks import verdicts
from hpcsweep.node.ranks.verdicts import Departure
from hpcsweep.node.watch.outcome import server_exited
from hpcsweep.plan.feasibility import check, nodes_spanned
from hpcsweep.plan.jobs import nodes_needed, shape
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.experiment import ResourceRequest
from hpcsweep.spec.job import Resources
from hpcsweep.spec.phases import OutcomeKind, Phase
from hpcsweep.spec.server import EngineSettings, ServerConfig

EIGHT = Cluster(scheduler="slurm", gpus_per_node=8)


def server(engine: str = "vllm", **sizes: int) -> ServerConfig:
    names = {"tp": "tensor_parallel_size", "pp": "pipeline_parallel_size", "dp": "data_parallel_size"}
    return ServerConfig(
        engine=engine, model="m", settings=EngineSettings(**{names[name]: size for name, size in sizes.items()})
    )


@pytest.mark.parametrize(
    ("gpus", "asked", "cluster", "nodes"),
    [
        (8, None, EIGHT, 1),
        (16, None, EIGHT, 2),
        (12, None, EIGHT, 2),
        (20, None, EIGHT, 4),  # three nodes cannot have equal parts
        (16, 4, EIGHT, 4),
        (16, None, Cluster(scheduler="slurm"), 1),
        (16, 0, EIGHT, 1),
        (16, None, Cluster(), 1),
    ],
)
def test_nodes_are_derived_from_the_gpus_of_a_node(gpus, asked, cluster, nodes):
    assert nodes_needed(gpus, asked, cluster) == nodes


def test_the_request_of_a_server_on_two_nodes():
    request = shape(server(tp=8, pp=2), ResourceRequest(), EIGHT)
    assert (request.nodes, request.gpus) == (2, 8)
    assert shape(server(tp=8), ResourceRequest(), EIGHT).nodes == 1


@pytest.mark.parametrize(
    ("ranks", "nodes", "gpus", "spanned"),
    [(16, 2, 8, 2), (8, 2, 8, 1), (2, 2, 0, 2), (1, 2, 0, 1), (16, 1, 8, 1)],
)
def test_a_server_that_fits_one_node_runs_on_the_first(ranks, nodes, gpus, spanned):
    assert nodes_spanned(ranks, Resources(nodes=nodes, gpus=gpus)) == spanned


def test_uneven_parts_are_refused():
    problems = check(server(tp=20), Resources(nodes=3, gpus=8), get_engine("vllm"), None)
    assert "uneven_nodes" in {problem.code for problem in problems if problem.severity == "error"}


def part(config: ServerConfig, rank: int, nodes: int = 2, version: str | None = None) -> Launch:
    placement = Placement(nodes, rank, "10.0.0.1", 4711, f"10.0.0.{rank + 1}", "ib0")
    context = LaunchContext("exe", 8000, version, socket_path="/tmp/s", placement=placement, attempt_dir="/a")
    return get_engine(config.engine).launch(config, context)


def argv(config: ServerConfig, rank: int, nodes: int = 2) -> str:
    launch = part(config, rank, nodes)
    return " ".join(launch.argv) + " " + " ".join(f"{name}={value}" for name, value in sorted(launch.env.items()))


def test_vllm_on_two_nodes():
    first, second = (argv(server(tp=8, pp=2), rank) for rank in (0, 1))
    for rank, command in enumerate((first, second)):
        assert f"--nnodes 2 --node-rank {rank} --master-addr 10.0.0.1 --master-port 4711" in command
        assert "--distributed-executor-backend mp" in command
        assert f"VLLM_HOST_IP=10.0.0.{rank + 1}" in command and "NCCL_SOCKET_IFNAME=ib0" in command
    assert "--uds /tmp/s" in first and "--headless" not in first
    assert "--headless" in second and "--uds" not in second


def test_vllm_with_whole_replicas_on_each_node():
    first, second = (argv(server(tp=4, dp=4), rank) for rank in (0, 1))
    common = "--data-parallel-size-local 2 --data-parallel-address 10.0.0.1 --data-parallel-rpc-port 4711"
    assert common in first and common in second and "--nnodes" not in first
    assert "--headless --data-parallel-start-rank 2" in second and "--headless" not in first


def asking(backend: str | None = None, across: str | None = None, **sizes: int) -> ServerConfig:
    flags = {"--distributed-executor-backend": backend} if backend else {}
    return server(**(sizes or {"tp": 8, "pp": 2})).model_copy(update={"flags": flags, "across_nodes": across})


@pytest.mark.parametrize(
    ("config", "version", "by_ray"),
    [
        (asking(), "0.11.0", True),
        (asking(), "0.11.1", False),
        (asking(), "0.12.0+cu130", False),
        (asking(), None, False),
        (asking(across="ray"), "0.32.0", True),
        (asking(backend="ray"), "0.32.0", True),
        (asking(across="native"), "0.11.0", False),
        (asking(backend="mp"), "0.11.0", False),
        (asking(across="ray", tp=4, dp=4), "0.11.0", False),
    ],
)
def test_when_vllm_is_started_with_ray(config, version, by_ray):
    launch = part(config, 0, version=version)
    assert bool(launch.through) is by_ray
    assert not (by_ray and "--nnodes" in launch.argv)
    assert (launch.env.get("RAY_ADDRESS") == "10.0.0.1:4711") is by_ray
    if by_ray:
        assert launch.argv.count("--distributed-executor-backend") == 1 and "ray" in launch.argv
    engine = get_engine("vllm")
    assert (exposed(engine, config, nodes=2, version=version) is not None) is by_ray
    assert exposed(engine, config, version=version) is None, "on one node Ray is not started"


def test_the_command_of_each_node_with_ray():
    first, second = (part(asking(), rank, version="0.11.0") for rank in (0, 1))
    assert first.whole_argv == (*first.through, *first.argv)
    assert first.through[:2] == ("/bin/sh", "-c") and "ray start" not in " ".join(first.argv)
    assert first.through[-4:] == ("exe", "10.0.0.1:4711", "10.0.0.1", "/tmp/ray")
    assert second.through[-4:-1] == ("exe", "10.0.0.1:4711", "10.0.0.2")
    assert "--headless" not in second.argv and "RAY_ADDRESS" not in second.env
    assert second.env["VLLM_HOST_IP"] == "10.0.0.2", "the address by which Ray has the node"


def test_replicas_over_nodes_are_refused_with_ray():
    with pytest.raises(EngineError) as caught:
        part(asking(tp=8, dp=2), 0, nodes=3, version="0.11.0")
    assert caught.value.code == "ray_replicas"


def test_the_identifier_of_a_variant_changes_only_on_request():
    assert asking(across="ray").variant_id != asking().variant_id
    assert server(tp=8, pp=2).variant_id == "255daaac69c3"


def test_sglang_on_two_nodes():
    second = argv(server("sglang", tp=16), 1)
    assert "--nnodes 2 --node-rank 1 --dist-init-addr 10.0.0.1:4711" in second
    assert "GLOO_SOCKET_IFNAME=ib0" in second


def test_a_variable_of_the_experiment_takes_precedence():
    config = server(tp=16).model_copy(update={"env": {"NCCL_SOCKET_IFNAME": "hsn0"}})
    assert "NCCL_SOCKET_IFNAME=hsn0" in argv(config, 1) and "GLOO_SOCKET_IFNAME=ib0" in argv(config, 1)


@pytest.mark.parametrize(
    ("config", "nodes", "allowed"),
    [
        (server(tp=16), 2, True),
        (server(tp=4, dp=4), 2, True),
        (server(tp=16, dp=2), 4, True),
        (server(tp=8, dp=3), 4, False),
        (server("sglang", tp=16), 2, True),
        (server("sglang", tp=8, dp=2), 2, False),
        (server("trtllm", tp=16), 2, True),
        (server("trtllm", tp=16).model_copy(update={"flags": {"--cp_size": 2}}), 2, False),
        (server("trtllm", tp=16).model_copy(update={"across_nodes": "ray"}), 2, False),
        (server("sglang", tp=16).model_copy(update={"across_nodes": "ray"}), 2, False),
        (asking(across="ray"), 2, True),
        (asking(backend="ray"), 2, True),
        (asking(backend="ray", across="native"), 2, False),
        (asking(backend="mp", across="ray"), 2, False),
        (asking(across="ray", tp=16, dp=2), 4, False),
        (server(tp=16).model_copy(update={"flags": {"--distributed-executor-backend": "external_launcher"}}), 2, False),
    ],
)
def test_what_engines_cannot_spread(config, nodes, allowed):
    assert (get_engine(config.engine).unsupported_across(config, nodes) == []) is allowed


def departure(at_s: float, rank: int) -> Departure:
    return Departure(at_s, rank, f"n{rank}", 100 + rank, f"rank TP{rank}")


def test_the_process_that_ended_first_is_named():
    first = verdicts.first_departure([departure(2.0, 0), departure(1.5, 1)])
    verdict = verdicts.ended_first(first, server_exited(1, Phase.MEASURE, None, ["last line"]))
    assert verdict.node == "n1" and verdict.reason.startswith("rank TP1 (pid 101, node n1) ended first; the server")
    assert verdicts.first_departure([]) is None


@pytest.mark.parametrize(
    ("why", "code"), [("no message for 60 s", "node_lost"), ("connection closed", "rank_agent_lost")]
)
def test_a_lost_node(why, code):
    verdict = verdicts.node_lost("n1", 1, why, Phase.MEASURE, [])
    assert (verdict.kind, verdict.code, verdict.node) == (OutcomeKind.LOST, code, "n1")

"""The all-reduce check: what is judged from the reports of the nodes, and the script's own parts."""

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hpcsweep.node.ranks import all_reduce_script
from hpcsweep.node.ranks.all_reduce_part import NodeReduced, ReduceRequest
from hpcsweep.node.ranks.all_reduce_script import FAILED, STAGES, UNAVAILABLE, WRONG_SUM
from hpcsweep.node.ranks.all_reduce_verdict import failed, measured, timed_out, unavailable
from hpcsweep.node.setup.environment import without_names
from hpcsweep.plan.jobs import of_profile
from hpcsweep.spec.cluster import Cluster

DONE = NodeReduced("done", 0)


def test_the_script_runs_without_hpcsweep():
    tree = ast.parse(Path(all_reduce_script.__file__).read_text())
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported - {"torch"} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(("ranks", "factor"), [(2, 1.0), (4, 1.5), (16, 1.875)])
def test_the_bus_bandwidth_is_that_of_nccl_tests(ranks, factor):
    figures = all_reduce_script._result(SimpleNamespace(__version__="2.9.0"), "gloo", ranks, 4 << 20, 0.5, 3)
    assert figures["algbw_bytes_per_s"] == (4 << 20) / 0.5
    assert figures["busbw_bytes_per_s"] == pytest.approx(figures["algbw_bytes_per_s"] * factor)


def test_facts():
    result = {
        "ranks": 16, "backend": "nccl", "backend_version": "2.27.5", "interface": "hsn0", "bytes": 256 << 20,
        "algbw_bytes_per_s": 100e9, "busbw_bytes_per_s": 187.5e9,
    }  # fmt: skip
    facts = {fact.name: (fact.value, fact.unit) for fact in measured(result, 2, "").facts}
    assert facts == {
        "all_reduce": ("nccl 2.27.5, 16 ranks on 2 nodes, 256.0 MiB, interface hsn0", ""),
        "all_reduce_algbw": (100.0, "GB/s"),
        "all_reduce_busbw": (187.5, "GB/s"),
    }


def test_a_node_that_failed_alone_is_at_fault():
    reports = {"a": NodeReduced("connect"), "b": NodeReduced("connect", FAILED, "no route to host", last_lines=["x"])}
    verdict = failed(reports, "ib0")
    assert (verdict.code, verdict.node, verdict.evidence) == ("all_reduce_failed", "b", ("x",))
    assert "b: no route to host" in verdict.reason and "ib0" in verdict.hint


def test_nodes_that_failed_together_are_all_named_and_none_is_at_fault():
    reports = {"a": NodeReduced("reduce", FAILED, "connection closed"), "b": NodeReduced("reduce", -9)}
    verdict = failed(reports, "")
    assert verdict.node == "" and "a: connection closed; b: SIGKILL" in verdict.reason


def test_a_wrong_sum_has_its_own_code():
    verdict = failed({"a": DONE, "b": NodeReduced("reduce", WRONG_SUM, "3 of 8 sums are wrong")}, "ib0")
    assert verdict.code == "all_reduce_wrong" and "3 of 8" in verdict.reason and "exclude" in verdict.hint


@pytest.mark.parametrize(
    ("stages", "at_fault", "word"),
    [
        ({"a": "connect", "b": "connect"}, "", "NCCL_SOCKET_IFNAME"),
        ({"a": "connect", "b": "import"}, "b", "all_reduce_budget"),
        ({"a": "measure", "b": "reduce", "c": "measure"}, "b", "NCCL_SOCKET_IFNAME"),
    ],
)
def test_nodes_that_did_not_finish_are_named(stages, at_fault, word):
    verdict = timed_out({node: NodeReduced(stage) for node, stage in stages.items()}, 300, "ib0")
    assert (verdict.code, verdict.node) == ("all_reduce_timeout", at_fault)
    assert all(node in verdict.reason for node in stages) and "5m" in verdict.reason
    assert word in verdict.hint


def test_a_finished_node_is_not_named():
    assert "a " not in timed_out({"a": DONE, "b": NodeReduced("measure")}, 9, "").reason.partition(": ")[2]


def test_torch_that_is_missing_is_a_note():
    note = unavailable({"a": DONE, "b": NodeReduced(STAGES[0], UNAVAILABLE, "No module named 'torch'")})
    assert note is not None and note.code == "all_reduce_unavailable" and "b: No module named 'torch'" in note.text
    assert unavailable({"a": DONE}) is None


def test_the_profile_reaches_the_job():
    profile = Cluster(scheduler="slurm", preflight={"all_reduce": True, "all_reduce_budget": "10m"})
    asked = of_profile(profile)["preflight"]
    assert (asked.all_reduce, asked.all_reduce_budget) == (True, 600)
    assert not of_profile(Cluster())["preflight"].all_reduce


def test_arguments_and_environment():
    request = ReduceRequest(2, 1, 4, "10.0.0.1", 4711, 300.0)
    parsed = " ".join(request.arguments)
    assert parsed == "--nodes 2 --node 1 --processes 4 --address 10.0.0.1 --port 4711 --within 300"
    assert without_names({"HF_TOKEN": "s", "A": "b"}, ["HF_TOKEN"]) == {"A": "b"}

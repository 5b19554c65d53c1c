"""What a cluster profile changes in the environment of the engine: its setup lines, and its cache folders."""

import os
from pathlib import Path

import pytest
from rendered_jobs import planned_job

from hpcsweep.node.compile_cache import VARIABLES, CompileCache, kept_folders, measure
from hpcsweep.node.identity import Identity, boot_id
from hpcsweep.node.setup.engine_environment import engine_environment
from hpcsweep.node.watch.outcome import Ended
from hpcsweep.spec.cluster import Cluster

ME = Identity("77", "here", boot_id(), os.getpid(), 1, 0)
PATH = {"PATH": os.environ["PATH"]}


def test_the_lines_change_the_environment_of_the_engine_only():
    env = {**PATH, "A": "1", "KEEP": "two\nlines"}
    after = engine_environment(["echo loading", 'export A="$A$A" B=2', "unset KEEP"], env)
    assert after == {**PATH, "A": "11", "B": "2"}
    assert "B" not in os.environ


def test_without_lines_nothing_is_started():
    assert engine_environment([], {"A": "1"}) == {"A": "1"}


def test_a_function_such_as_module_is_inherited():
    env = {**PATH, "BASH_FUNC_module%%": '() { export LOADED="$2"; }'}
    assert engine_environment(["module load vllm/0.11"], env)["LOADED"] == "vllm/0.11"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["module-of-nowhere load vllm"], "exited with 127: "),
        (["echo why >&2", "exit 3"], "exited with 3: why"),
        (["if then"], "exited with 2: "),
    ],
)
def test_lines_that_fail_end_the_attempt_with_their_message(lines, words):
    with pytest.raises(Ended) as caught:
        engine_environment(lines, PATH)
    assert caught.value.verdict.code == "engine_setup_failed"
    assert words in caught.value.verdict.reason


def test_the_variables_that_a_profile_sets():
    cluster = Cluster(
        env={"HF_HOME": "/hf"},
        setup=["module load x; export TRITON_CACHE_DIR=$SCRATCH/t", "A=1 echo B=2"],
        engine_setup=["export VLLM_CACHE_ROOT=/v"],
    )
    assert cluster.variables == ["A", "HF_HOME", "TRITON_CACHE_DIR", "VLLM_CACHE_ROOT"]


def test_only_what_was_set_on_purpose_is_kept():
    env = {"VLLM_CACHE_ROOT": "/v", "TRITON_CACHE_DIR": "/login", "CUDA_CACHE_PATH": ""}
    assert kept_folders(env, {"VLLM_CACHE_ROOT", "CUDA_CACHE_PATH", "HF_HOME"}) == {"VLLM_CACHE_ROOT": "/v"}


@pytest.mark.parametrize("mode", ["shared", "node_local", "off"])
def test_a_kept_folder_is_used_and_counted_but_never_moved(tmp_path: Path, mode):
    mine = tmp_path / "mine"
    (mine / "torch_compile_cache").mkdir(parents=True)
    (mine / "torch_compile_cache/a.so").write_text("x")
    cache = CompileCache(mode, tmp_path / "cache", "e/g/m", ME, {"VLLM_CACHE_ROOT": str(mine)})
    cache.open()
    assert cache.warm and cache.at_start.kernels == 1
    assert set(cache.env()) == set(VARIABLES) - {"VLLM_CACHE_ROOT"}
    (mine / "torch_compile_cache/b.so").write_text("x")
    Path(cache.env()["TRITON_CACHE_DIR"], "c.cubin").write_text("x")
    assert measure(*cache.folders).kernels == 3
    cache.close(keep=False)
    assert (mine / "torch_compile_cache/a.so").exists()


def test_a_folder_inside_another_is_counted_once(tmp_path: Path):
    cache = CompileCache(
        "shared", tmp_path, "e/g/m", ME, {"VLLM_CACHE_ROOT": str(tmp_path), "TRITON_CACHE_DIR": str(tmp_path / "t")}
    )
    assert cache.folders == (tmp_path,)


def test_the_job_has_what_its_agent_needs():
    job = planned_job(Cluster(env={"VLLM_CACHE_ROOT": "/v"}, engine_setup=["module load vllm"]))
    assert (job.engine_setup, job.profile_variables) == (["module load vllm"], ["VLLM_CACHE_ROOT"])

"""What every rank of an MPI job runs before the engine: the variables of its node, and the engine's launch script."""

import subprocess
from pathlib import Path

import pytest

from hpcsweep.engines.base import LaunchContext, Placement
from hpcsweep.engines.registry import get_engine
from hpcsweep.errors import EngineError
from hpcsweep.launchers.mpi import NODE_FILE, MpiJob
from hpcsweep.node.process.processes import TOKEN_VARIABLE
from hpcsweep.node.setup.mpi_job import write_node_file
from hpcsweep.spec.server import EngineSettings, ServerConfig


def ranked(folder: Path, hosts: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
    show = f'echo "${TOKEN_VARIABLE} $NCCL_SOCKET_IFNAME ${{TMPDIR:-none}} ${{CUDA_VISIBLE_DEVICES:-none}}"'
    argv = MpiJob(2, 2, hosts, str(folder)).of_each_rank(["/bin/sh", "-c", show])
    first = {TOKEN_VARIABLE: "first", "NCCL_SOCKET_IFNAME": "ib0", "CUDA_VISIBLE_DEVICES": "2,3"}
    return subprocess.run(argv, env={**first, **env}, capture_output=True, text=True, check=False)


@pytest.fixture
def ranks(tmp_path: Path) -> Path:
    folder = tmp_path / "it's a sweep" / "ranks"
    (folder / "1").mkdir(parents=True)
    context = LaunchContext("trtllm-serve", 8000, placement=Placement(2, 1, "h", 1, "o", "ib 1", ("a1", "a2")))
    launch = get_engine("trtllm").launch(ServerConfig(engine="trtllm", model="m"), context)
    write_node_file(folder / "1", "first.rank1", launch, {}, {"TMPDIR": "/tmp/it's"})
    return folder


@pytest.mark.parametrize(
    ("env", "printed"),
    [
        ({"SLURM_PROCID": "0"}, "first ib0 none 2,3"),
        ({"OMPI_COMM_WORLD_RANK": "1"}, "first ib0 none 2,3"),
        ({"PMI_RANK": "2"}, "first.rank1 ib 1 /tmp/it's none"),
        ({"SLURM_PROCID": "3", "PMI_RANK": "0"}, "first.rank1 ib 1 /tmp/it's none"),
    ],
)
def test_a_rank_gets_what_is_particular_to_its_node(ranks, env, printed):
    assert ranked(ranks, **env).stdout.strip() == printed


def test_ranks_that_cannot_be_placed_end(ranks):
    assert "sets none of SLURM_PROCID" in ranked(ranks).stderr
    wrong = ranked(ranks, ("a1", "a2"), SLURM_PROCID="0", SLURMD_NODENAME="a2")
    assert wrong.returncode == 1 and "rank 0 runs on node a2, but the agent of the job on node a1" in wrong.stderr
    assert ranked(ranks, ("a1", "a2"), SLURM_PROCID="0", SLURMD_NODENAME="a1").returncode == 0
    (ranks / "1" / NODE_FILE).unlink()
    assert ranked(ranks, PMI_RANK="3").returncode != 0


def launched(folder: Path, model: str = "m", **env: str) -> subprocess.CompletedProcess[str]:
    context = LaunchContext(f"{folder}/trtllm-serve", 8000, placement=Placement(2, 0, "h", 1, "o"))
    settings = EngineSettings(tensor_parallel_size=16)
    launch = get_engine("trtllm").launch(ServerConfig(engine="trtllm", model=model, settings=settings), context)
    return subprocess.run(launch.whole_argv, env=env, capture_output=True, text=True, check=False)


def test_every_rank_runs_the_launch_script_next_to_the_engine(tmp_path):
    assert "trtllm-llmapi-launch is not installed" in launched(tmp_path, PATH="").stderr
    script = tmp_path / "trtllm-llmapi-launch"
    script.write_text("#!/bin/sh\necho $*\n")
    script.chmod(0o755)
    words = launched(tmp_path).stdout.split()
    assert words[:6] == [f"{tmp_path}/trtllm-serve", "m", "--host", "127.0.0.1", "--port", "8000"]


def test_arguments_that_the_launch_script_would_split_are_refused(tmp_path):
    config = ServerConfig(engine="trtllm", model="/models/it's a model")
    assert "does not pass on" in get_engine("trtllm").unsupported_across(config, 2)[0]
    with pytest.raises(EngineError) as refused:
        launched(tmp_path, model="/models/*")
    assert refused.value.code == "argument_with_blanks"

"""The nodes of a server: from the scheduler's variables, and what is refused."""

from types import SimpleNamespace

import pytest

from hpcsweep.errors import SpecError
from hpcsweep.node.ranks.nodes import job_launcher, job_nodes
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.job import Resources
from hpcsweep.spec.server import EngineSettings, ServerConfig
from hpcsweep.sweep.checks import mpi_errors, network_errors

SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-3]"}


def test_nodes_of_slurm():
    assert job_nodes(SLURM, "n2", 2) == ["n2", "n1"]


def test_nodes_of_pbs(tmp_path):
    (tmp_path / "nodes").write_text("gpu1\ngpu2\n")
    assert job_nodes({"PBS_JOBID": "7.s", "PBS_NODEFILE": str(tmp_path / "nodes")}, "gpu1", 2) == ["gpu1", "gpu2"]


def test_this_machine_several_times():
    assert job_nodes({}, "vm", 3) == ["vm", "vm#1", "vm#2"]


@pytest.mark.parametrize(
    ("env", "code"),
    [
        ({**SLURM, "SLURM_JOB_NODELIST": "n1"}, "too_few_nodes"),
        ({"SLURM_JOB_ID": "7"}, "nodes_unknown"),
        ({"PBS_JOBID": "7.s", "PBS_NODEFILE": "/nonexistent"}, "nodes_unknown"),
    ],
)
def test_unknown_nodes(env, code):
    with pytest.raises(SpecError) as caught:
        job_nodes(env, "n1", 2)
    assert caught.value.code == code


def test_the_launcher_of_the_scheduler(tmp_path):
    (tmp_path / "srun").touch(mode=0o755)
    assert job_launcher(None, {**SLURM, "PATH": str(tmp_path)}).name == "srun"
    assert job_launcher(None, {}).name == "local"


def test_a_private_network_and_several_nodes_are_refused_before_the_submission():
    server = ServerConfig(engine="vllm", model="m", settings=EngineSettings(tensor_parallel_size=16))
    profile = Cluster(scheduler="slurm", private_network=True)
    assert network_errors(server, Resources(nodes=2, gpus=8), profile)
    assert not network_errors(server, Resources(nodes=1, gpus=16), profile)


@pytest.mark.parametrize(
    ("engine", "nodes", "profile", "refused"),
    [
        ("trtllm", 2, {"container": {"runtime": "apptainer", "image": "/i.sif"}}, True),
        ("trtllm", 1, {"container": {"runtime": "apptainer", "image": "/i.sif"}}, False),
        ("vllm", 2, {"container": {"runtime": "apptainer", "image": "/i.sif"}}, False),
        ("trtllm", 2, {}, False),
        ("trtllm", 2, {"container": {"runtime": "apptainer", "image": "/i.sif"},
                       "engines": {"trtllm": {"container": {"runtime": "none"}}}}, False),
    ],
)  # fmt: skip
def test_ranks_of_an_mpi_job_are_not_started_in_containers(engine, nodes, profile, refused):
    server = ServerConfig(engine=engine, model="m", settings=EngineSettings(tensor_parallel_size=16))
    cluster = Cluster.model_validate({"scheduler": "slurm", **profile})
    resources = Resources(nodes=nodes, gpus=16 // nodes)
    assert bool(mpi_errors(server, resources, cluster, SimpleNamespace(container=None))) is refused

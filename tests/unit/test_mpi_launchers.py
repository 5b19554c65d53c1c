"""One MPI job over all nodes of a server: the command of each launcher, and what is recognized of its processes."""

import pytest

from hpcsweep.engines.logs.prefixes import rank_of_line
from hpcsweep.launchers.mpi import MpiJob, forwarded_names, mpi_executable, mpi_launcher
from hpcsweep.node.process.roles import ProcessKind, role_of
from hpcsweep.node.setup.mpi_job import PreparedMpi

COMMAND = ("trtllm-llmapi-launch", "trtllm-serve", "/models/m", "--port", "8000")
JOB = MpiJob(2, 8, ("a1", "a2"), "/sweep/attempt-1/ranks")
OPEN_MPI, OPEN_MPI_5 = "mpiexec (OpenRTE) 4.1.6\n", "mpiexec (Open MPI) 5.0.3\n"
HYDRA, PALS = "HYDRA build details:\n    Version:    4.0.2\n", "mpiexec version 1.2.12 revision 9f2b1\n"


def options(executable: str, version: str, job: MpiJob = JOB, **env: str) -> str:
    argv = mpi_launcher(executable, version).argv(COMMAND, job, ["HF_TOKEN", "PATH"], env)
    at = argv.index("/bin/sh")
    assert tuple(argv[-len(COMMAND) :]) == COMMAND and argv[at + 1] == "-c"
    return " ".join(argv[:at])


def test_srun_starts_a_step_with_a_rank_for_each_gpu():
    assert options("srun", "") == (
        "srun --nodes=2 --ntasks=16 --ntasks-per-node=8 --nodelist=a1,a2 --distribution=block --overlap --export=ALL "
        "--cpu-bind=none --mpi=pmix --input=none --kill-on-bad-exit=1"
    )
    assert "--mpi" not in options("srun", "", SLURM_MPI_TYPE="pmix_v4"), "srun reads the variable"


def test_srun_does_not_read_options_of_the_batch_step():
    env = {"SLURM_CPUS_PER_TASK": "64", "SLURM_NTASKS": "2", "SRUN_CPUS_PER_TASK": "8", "SLURM_JOB_ID": "7"}
    assert mpi_launcher("srun", "").environment(env) == {"SLURM_JOB_ID": "7"}


@pytest.mark.parametrize("version", [OPEN_MPI, OPEN_MPI_5])
def test_open_mpi_gets_names_of_variables_only(version):
    assert options("mpiexec", version) == (
        "mpiexec -n 16 --host a1:8,a2:8 --map-by ppr:8:node --bind-to none -x HF_TOKEN -x PATH"
    )


@pytest.mark.parametrize("version", [HYDRA, PALS, ""])
def test_hydra_and_pals_have_other_options(version):
    assert options("mpiexec", version) == "mpiexec -n 16 -ppn 8 --hosts a1,a2 -genvall"
    unbound = mpi_launcher("mpiexec", version).environment({"I_MPI_PIN": "on"})
    assert unbound == {"PALS_CPU_BIND": "none", "I_MPI_PIN": "on"}, "a choice of the user remains"


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (OPEN_MPI, "mpiexec -n 2 --host localhost:2 --bind-to none -x HF_TOKEN -x PATH"),
        (HYDRA, "mpiexec -n 2 -ppn 1 -genvall"),
    ],
)
def test_one_machine_needs_no_host(version, expected):
    assert options("mpiexec", version, MpiJob(2, 1, (), "/f")) == expected


def test_the_scheduler_chooses_the_launcher():
    assert [mpi_executable(name) for name in ("slurm", "pbs", "local")] == ["srun", "mpiexec", "mpiexec"]


def test_values_are_not_arguments():
    environment = {"HF_TOKEN": "secret", "SLURM_JOB_ID": "7", "TMPDIR": "/tmp/7", "BASH_FUNC_ml%%": "() { :; }"}
    command = PreparedMpi(mpi_launcher("mpiexec", OPEN_MPI), JOB).command(COMMAND, environment)
    assert "HF_TOKEN" in command.argv and not any("secret" in word for word in command.argv)
    assert command.environment == environment
    assert not {"SLURM_JOB_ID", "TMPDIR"} & set(command.argv), "they are those of the first node"
    assert forwarded_names(environment) == ["HF_TOKEN", "SLURM_JOB_ID", "TMPDIR"]


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("srun --nodes=2 /bin/sh -c x hpcsweep-mpi /f 8 a1 trtllm-serve /models/m", ProcessKind.OTHER),
        ("/opt/mpi/bin/mpiexec -n 16 trtllm-llmapi-launch trtllm-serve /models/m", ProcessKind.OTHER),
        ("/bin/bash /opt/bin/trtllm-llmapi-launch trtllm-serve /models/m", ProcessKind.OTHER),
        ("/opt/bin/python /opt/bin/trtllm-serve /models/m", ProcessKind.FRONT_END),
        ("python3 -m tensorrt_llm.llmapi.mgmn_leader_node", ProcessKind.RANK),
        ("python3 -m tensorrt_llm.llmapi.mgmn_worker_node", ProcessKind.RANK),
    ],
)
def test_roles(command, kind):
    role = role_of(command, environment={"OMPI_COMM_WORLD_RANK": "9"})
    assert role.kind is kind and (role.name == "9") is (kind is ProcessKind.RANK)


def test_the_rank_of_a_line():
    assert rank_of_line("[11/28/2026-10:00:00] [TRT-LLM] [RANK 12] [I] Loading weights") == 12
    assert rank_of_line("INFO:     Application startup complete.") is None

"""Own scripts through the command line: the recorded cases, and what the agent does when it is started many times."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from agent_job import Job
from cli import Cli

CASES = Path(__file__).parents[1] / "transcripts" / "scripts"
EXPERIMENT = {
    "name": "study",
    "model": "some/model",
    "engine_args": {"tensor-parallel-size": 8},
    "axes": {"len": ["1k", "2k"]},
    "workloads": {"w": {"dataset": {"kind": "random", "input_len": 64, "output_len": 16}, "num_requests": 4}},
    "resources": {"gpus": 8, "gpu_type": "h200", "walltime": "4h"},
}


@pytest.fixture
def cli(tmp_path):
    (tmp_path / "study.yaml").write_text(json.dumps(EXPERIMENT))
    profiles = {name: {"scheduler": name, "simulate": "always"} for name in ("slurm", "pbs")}
    (tmp_path / "hpcsweep.yaml").write_text(json.dumps({"clusters": profiles}))
    return Cli(tmp_path, {"HPCSWEEP_CONFIG": str(tmp_path / "hpcsweep.yaml"), "COLUMNS": "250"})


def submit(cli, case, code=0):
    (script,) = CASES.glob(f"{case}-*.sh")
    cluster = "pbs" if "pbs" in script.name else "slurm"
    return cli.run("submit", "study.yaml", "--cluster", cluster, "--script", str(script), "--dry-run", code=code)


def resources(cli, case):
    (script,) = CASES.glob(f"{case}-*.sh")
    cluster = "pbs" if "pbs" in script.name else "slurm"
    args = ("submit", "study.yaml", "--cluster", cluster, "--script", str(script), "--dry-run")
    return cli.json(*args)["jobs"][0]["resources"]


def test_case_70_a_walltime_of_minutes_and_seconds(cli):
    assert "at most 8.0 GPU-hours" in submit(cli, 70).stdout
    assert resources(cli, 70)["walltime_s"] == 1800


def test_case_71_a_glued_array_is_refused(cli):
    assert "line 3 of the script makes it a job array: '#SBATCH -a1-4'" in submit(cli, 71, 1).stderr


def test_case_73_srun_of_eight_tasks_is_refused(cli):
    assert "line 3 of the script starts 8 agents for one run: 'srun hpcsweep-node'" in submit(cli, 73, 1).stderr


def test_case_75_what_the_script_requests_is_compared_and_counted(cli):
    told = submit(cli, 75).stdout
    assert "the script requests 4 a100 GPUs per node, the experiment 8" in told
    assert "the script requests GPUs of type a100, the experiment h200" in told
    assert "the script requests a walltime of 15m00s, the experiment 4h00m" in told
    assert "at most 2.0 GPU-hours" in told


def test_case_77_a_late_directive_is_reported(cli):
    told = submit(cli, 77).stdout
    assert "Slurm does not read line 4 of the script, '#SBATCH --time=00:10:00': it comes after a command" in told
    assert "at most 64.0 GPU-hours" in told


def test_a_server_beside_the_agent_is_reported(cli, tmp_path):
    (tmp_path / "own.sh").write_text("#!/bin/bash\n#SBATCH -t 240\nvllm serve m &\nexec hpcsweep-node\n")
    told = cli.run("submit", "study.yaml", "--cluster", "slurm", "--script", "own.sh", "--dry-run").stdout
    assert "line 3 of the script starts a server; hpcsweep-node starts its own on the same GPUs" in told


@pytest.mark.parametrize("rank", ["SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PALS_RANKID", "PBS_NODENUM"])
def test_an_agent_of_a_higher_rank_exits_at_once(job: Job, rank):
    job.write(job.run_spec())
    code, err = job.execute({rank: "3"})
    assert code == 0
    assert f"nothing to do: {rank}=3" in err
    assert not (job.sweep_dir / "runs").exists()


@pytest.mark.parametrize(
    "env",
    [
        {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0"},
        {"PBS_JOBID": "7.pbs", "PBS_JOBCOOKIE": "246E3CF45784CE6C265C815060176126"},
    ],
    ids=["slurm", "pbs"],
)
def test_of_agents_without_ranks_one_works(job: Job, env):
    """mpirun of a library that hpcsweep does not know, `hpcsweep-node & hpcsweep-node`."""
    job.write(job.run_spec())
    agents = [job.start(env) for _ in range(4)]
    errors = [agent.communicate(timeout=100)[1] for agent in agents]
    assert [agent.returncode for agent in agents] == [0] * 4
    assert sum("nothing to do" in err for err in errors) == 3
    assert [path.name for path in (job.sweep_dir / "runs/eager-yes").iterdir()] == ["attempt-1"]
    assert job.ended()["outcome"] == "completed"
    assert not list((job.job_dir / "tasks").glob("*.agent-*"))


def test_the_next_life_of_a_job_works_beside_the_claim_of_a_dead_one(job: Job):
    job.write(job.run_spec(profile={"speed": {"decode_tps": 0.2}}))
    first = job.start({"SLURM_JOB_ID": "7"})
    job.wait_for_phase("measure")
    first.kill()
    first.communicate()
    assert len(list((job.job_dir / "tasks").glob("*.agent-*"))) == 1
    job.write(job.run_spec())
    for number, env in ((2, {"SLURM_JOB_ID": "7"}), (3, {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"})):
        assert job.execute(env)[0] == 0
        if number == 2:
            assert job.ended(number=2)["outcome"] == "completed"


def test_srun_as_it_is(job: Job, tmp_path):
    """What srun does: one process per task, each with its rank, in one job."""
    job.write(job.run_spec())
    srun = 'for SLURM_PROCID in 0 1 2 3; do export SLURM_PROCID; "$@" & done; wait'
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "PBS_", "HPCSWEEP_"))}
    argv = ["bash", "-c", srun, "srun", os.sys.executable, "-m", "hpcsweep.node.agent", str(job.job_dir)]
    started = time.monotonic()
    subprocess.run(argv, env=clean | {"SLURM_JOB_ID": "9"}, capture_output=True, timeout=100, check=True)
    assert time.monotonic() - started < 100
    assert [path.name for path in (job.sweep_dir / "runs/eager-yes").iterdir()] == ["attempt-1"]

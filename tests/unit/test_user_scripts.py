"""Directives of a user's own script, read as the schedulers read them; the launchers that start several agents."""

import pytest

from hpcsweep.errors import SpecError
from hpcsweep.schedulers.clocks import pbs_seconds, slurm_seconds
from hpcsweep.schedulers.pbs import user_script as pbs_user_script
from hpcsweep.schedulers.pbs.exit_codes import ending
from hpcsweep.schedulers.slurm import user_script as slurm_user_script
from hpcsweep.schedulers.user_script import ScriptRequest, check_agents, same_gpu_type
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.job import Resources
from hpcsweep.spec.phases import OutcomeKind


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("30:00", 1800), ("5:30", 330), ("04:00:00", 14400), ("100:00:00", 360000), ("00:00:10.5", 10)],
)
def test_pbs_counts_from_the_right(text, seconds):
    assert pbs_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15", 900),
        ("30:00", 1800),
        ("5:30", 330),
        ("04:00:00", 14400),
        ("1-0", 86400),
        ("2-12:30", 217800),
        ("1-00:00:01", 86401),
        ("UNLIMITED", None),
        ("infinite", None),
    ],
)
def test_slurm_counts_minutes(text, seconds):
    assert slurm_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "1-00:00:00", "1h", "30m", "a:b", "1:2:3:4", "-5"])
def test_what_is_no_duration_of_pbs(text):
    with pytest.raises(ValueError):
        pbs_seconds(text)


@pytest.mark.parametrize("text", ["", "1h", "30m", "1-", "1:2:3:4", "x"])
def test_what_is_no_duration_of_slurm(text):
    with pytest.raises(ValueError):
        slurm_seconds(text)


def test_a_walltime_kill_is_seen_by_what_qstat_reports_as_minutes():
    """`Resource_List.walltime=30:00` is as qalter writes it; 31 minutes used are over it."""
    attributes = {"job_state": "F", "Exit_status": "271", "substate": "93", "stime": "x", "run_count": "1"}
    times = {"resources_used.walltime": "00:31:00", "Resource_List.walltime": "30:00"}
    assert ending(attributes | times).outcome is OutcomeKind.WALLTIME


def test_a_profile_does_not_guess_what_a_clock_of_two_parts_means():
    with pytest.raises(ValueError, match="'30:00' is ambiguous: write 30m for 30 minutes or 30h for 30 hours"):
        Cluster(scheduler="pbs", walltime="30:00")
    assert Cluster(scheduler="pbs", walltime="00:30:00").walltime == 1800


SLURM_ARRAYS = [
    "-a1-4", "-a 1-4", "--array=1-4", "--array 1-4", "--arr=1-4", "-Ha1-4", "-p gpu -N1 -a 0-3", "--exclusive -a0,5",
    "-J 'my job' --array=1-4%2  # four of them",
]  # fmt: skip


@pytest.mark.parametrize("options", SLURM_ARRAYS)
def test_every_form_of_a_slurm_array_is_refused(options):
    with pytest.raises(SpecError, match="line 3 of the script makes it a job array"):
        slurm_user_script.user_request(f"#!/bin/bash\n# mine\n#SBATCH {options}\nexec hpcsweep-node\n")


@pytest.mark.parametrize(
    "line", ["#SBATCH -J 'x -a1-4'", "##SBATCH -a1-4", " #SBATCH -a1-4", "#SBATCH -t5 # -a1-4", "date\n#SBATCH -a1-4"]
)
def test_what_looks_like_a_slurm_array_and_is_none(line):
    slurm_user_script.user_request(f"#!/bin/bash\n{line}\nexec hpcsweep-node\n")


@pytest.mark.parametrize("options", ["-J0-3", "-J 0-3", "-hJ0-3", "-q gpu -J 0-3:2%1", "-N x -J0-3 # four"])
def test_every_form_of_a_pbs_array_is_refused(options):
    with pytest.raises(SpecError, match="line 2 of the script makes it a job array"):
        pbs_user_script.user_request(f"#!/bin/bash\n#PBS {options}\nexec hpcsweep-node\n")


SLURM_REQUESTS = [
    ("--gres=gpu:a100:4 --time=15", {"gpus_per_node": 4, "gpu_type": "a100", "walltime_s": 900, "nodes": 1}),
    ("-N2 --gpus-per-node h200:8 -t1-0", {"gpus": 16, "nodes": 2, "gpu_type": "h200", "walltime_s": 86400}),
    ("-G8 -N 2", {"gpus": 8, "nodes": 2, "gpus_per_node": None}),
    ("--ntasks-per-gpu=1 --gpus=8", {"gpus": 8, "tasks": 8}),
    ("--gpus-per-task=1 --ntasks=4", {"gpus": 4, "nodes": None, "tasks": 4}),
    ("--gres=gpu:1g.10gb:2", {"gpus_per_node": 2, "gpu_type": "1g.10gb"}),
    ("--gres gpu:8,nvme:100 --ntasks-per-node=8", {"gpus_per_node": 8, "tasks": 8}),
    ("-C h100 --gres=gpu:4 --hint=nomultithread", {"gpu_type": "h100", "gpus": 4}),
    ("-C gpu&hbm80g --gpus-per-node=4", {"gpu_type": None, "gpus": 4}),
    ("--nodes=1-2 --exclusive", {"nodes": None, "gpus": None, "tasks": None}),
    ("-t0:30", {"walltime_s": 60}),
    ("--time=0", {"walltime_s": None}),
]


@pytest.mark.parametrize(("options", "expected"), SLURM_REQUESTS)
def test_what_a_slurm_script_requests(options, expected):
    request = slurm_user_script.user_request(f"#!/bin/bash\n#SBATCH {options}\nexec hpcsweep-node\n")
    assert {name: getattr(request, name) for name in expected} == expected


PBS_REQUESTS = [
    ("-l select=1:ncpus=64:ngpus=8,walltime=30:00,filesystems=home:eagle", {"gpus": 8, "walltime_s": 1800, "nodes": 1}),
    ("-l select=2:ngpus=4:mpiprocs=4:gpu_type=a100 -l place=scatter:excl",
     {"gpus": 8, "gpus_per_node": 4, "nodes": 2, "tasks": 8, "gpu_type": "a100"}),
    ("-l select=8:ngpus=1", {"gpus": 8, "nodes": None, "gpus_per_node": None}),
    ("-lnodes=2:ppn=4:gpus=8", {"gpus": 16, "nodes": 2, "tasks": 8}),
    ("-l ngpus=8 -l ncpus=96", {"gpus": 8, "nodes": None}),
    ("-l select=1:ncpus=8:ngpus=8 \\\n  -l walltime=45:00", {"walltime_s": 2700}),
    ("-l select=2:system=polaris", {"gpus": None, "gpu_type": None}),
]  # fmt: skip


@pytest.mark.parametrize(("options", "expected"), PBS_REQUESTS)
def test_what_a_pbs_script_requests(options, expected):
    request = pbs_user_script.user_request(f"#!/bin/bash\n#PBS {options}\nexec hpcsweep-node\n")
    assert {name: getattr(request, name) for name in expected} == expected


PLANNED = Resources(nodes=1, gpus=8, gpu_type="h200", walltime_s=14400)


def test_the_script_is_compared_with_the_experiment():
    request = ScriptRequest(walltime_s=900, nodes=1, gpus_per_node=4, gpus=4, gpu_type="a100")
    told = request.differences(PLANNED)
    assert [("4 a100 GPUs" in t, "type a100" in t, "15m00s" in t) for t in told] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    got = request.resources(PLANNED)
    assert (got.gpus, got.gpu_type, got.walltime_s) == (4, "a100", 900)


@pytest.mark.parametrize(
    "request_", [ScriptRequest(), ScriptRequest(gpus=8), ScriptRequest(gpus_per_node=8, gpu_type="H200-SXM")]
)
def test_what_agrees_or_is_not_said_is_no_difference(request_):
    assert request_.differences(PLANNED) == []
    assert not same_gpu_type("h100", "h200")


@pytest.mark.parametrize(
    ("module", "scheduler", "prefix"), [(slurm_user_script, "Slurm", "#SBATCH"), (pbs_user_script, "PBS", "#PBS")]
)
def test_a_directive_that_is_not_read_is_reported(module, scheduler, prefix):
    option = "--time=10" if scheduler == "Slurm" else "-l walltime=10:00"
    text = f"#!/bin/bash\n{prefix} -A me\nmodule load cuda\n{prefix} {option}\nexec hpcsweep-node\n"
    request = module.user_request(text)
    (warning,) = request.warnings
    assert f"{scheduler} does not read line 4" in warning and "line 3" in warning
    assert request.walltime_s is None


def test_directives_of_the_other_scheduler_are_reported():
    (warning,) = slurm_user_script.user_request("#!/bin/bash\n#PBS -q gpu\nhpcsweep-node\n").warnings
    assert "does not read #PBS lines such as line 2" in warning
    assert not slurm_user_script.user_request("#!/bin/bash\n#SBATCH -t 5\n#PBS -q gpu\nhpcsweep-node\n").warnings


MANY = [
    ("srun hpcsweep-node", 8), ("exec srun hpcsweep-node", 8), ("srun -n4 hpcsweep-node", 4),
    ("srun --ntasks 4 hpcsweep-node", 4), ("srun -N2 hpcsweep-node", 2), ("mpirun -np 4 hpcsweep-node", 4),
    ("srun \\\n  --label \\\n  hpcsweep-node &\nwait", 8), ("srun bash -c 'exec hpcsweep-node'", 8),
    ("/opt/slurm/bin/srun python -m hpcsweep.node.agent", 8), ("pbsdsh -- hpcsweep-node", 8),
    ("module load cuda && mpiexec hpcsweep-node | tee log", 8),
]  # fmt: skip


@pytest.mark.parametrize(("command", "number"), MANY)
def test_a_launcher_of_several_agents_is_refused(command, number):
    with pytest.raises(SpecError, match=f"line 3 of the script starts {number} agents for one run"):
        check_agents(f"#!/bin/bash\n# mine\n{command}\n", 8)


ONE = [
    "hpcsweep-node", "srun -n1 hpcsweep-node", "srun --ntasks=1 hpcsweep-node", "mpirun -np 1 hpcsweep-node",
    "srun nvidia-smi; hpcsweep-node", "srun --ntasks=$N hpcsweep-node", "# srun hpcsweep-node\nhpcsweep-node",
    "pbsdsh -n 0 hpcsweep-node", "cat <<EOF\nsrun hpcsweep-node\nEOF\nhpcsweep-node", "echo 'srun'; hpcsweep-node",
]  # fmt: skip


@pytest.mark.parametrize("command", ONE)
def test_one_agent_is_fine(command):
    check_agents(f"#!/bin/bash\n{command}\n", 8)


def test_srun_of_a_job_of_one_task_is_fine():
    check_agents("#!/bin/bash\nsrun hpcsweep-node\n", 1)
    check_agents("#!/bin/bash\nsrun hpcsweep-node\n", None)

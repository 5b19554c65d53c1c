"""The main job: twelve configurations in one array, and what doctor says of the cluster it ran on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_sweeps import accounting, slurm

from hpcsweep.hosts.local import LocalHost
from hpcsweep.schedulers.slurm.scheduler import SlurmScheduler
from hpcsweep.submit.backends import SchedulerBackend

# Waiting for the other workers of xdist counts too.
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]


def hpcsweep(folder: Path, *args: str, timeout_s: float = 110) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hpcsweep.cli.main", "--home", str(folder / "home"), *args],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.usefixtures("whole_cluster")
def test_twelve_runs_in_one_array(tmp_path: Path) -> None:
    args = (
        "submit",
        "exp_runner",
        "--grid",
        "ep,eager,len",
        "--cluster",
        "slurm-test",
        "--max-parallel",
        "6",
        "--wait",
    )
    assert "12 runs, 12 array tasks in 1 submission" in hpcsweep(tmp_path, *args)
    (sweep,) = json.loads(hpcsweep(tmp_path, "status", "exp_runner-0001", "--json"))["sweeps"]
    runs = {run["run"]: run for run in sweep["runs"]}
    assert len(runs) == 12
    # torch.compile is stuck in the profile that is played: eager mode decides.
    for label, run in runs.items():
        assert run["outcome"] == ("completed" if "eager-yes" in label else "stalled"), run
        assert run["simulated"] and run["attempt"] == 1
    assert len({run["node"] for run in runs.values()}) > 1
    assert {run["job"].split("_")[0] for run in runs.values()} == {runs["ep-on_eager-yes_len-8k"]["job"].split("_")[0]}
    report = hpcsweep(tmp_path, "report", "exp_runner-0001", "--format", "markdown")
    assert "SIMULATED" in report and all(label in report for label in runs)


def test_an_array_is_one_call_and_its_state_two(tmp_path: Path) -> None:
    """500 elements: one sbatch; all their states: one squeue, one sacct."""
    backend = SchedulerBackend(SlurmScheduler(), LocalHost())
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/bash\n#SBATCH --array=0-499\n#SBATCH --hold\n#SBATCH --job-name=many\ntrue\n")
    answer = LocalHost().run(SlurmScheduler().submit_argv(str(script), str(tmp_path)), timeout_s=60)
    job_id = SlurmScheduler().parse_submit(answer)
    try:
        listing = backend.queue_snapshot({job_id: "many"})
        assert len(listing.statuses) == 500 and listing.complete
        assert len(backend.calls) == 2
        assert not backend.queue_snapshot({job_id: "somebody-else's"}).statuses
    finally:
        slurm("scancel", job_id)


def test_doctor_and_init_on_this_cluster(tmp_path: Path) -> None:
    told = json.loads(hpcsweep(tmp_path, "doctor", "--json"))
    facts = told["schedulers"]["slurm"]
    assert (facts["version"], facts["max_array_size"], facts["accounting"]) == (
        slurm("sinfo", "--version").split()[-1], 1001, accounting(),
    )  # fmt: skip
    partitions = {partition["name"]: partition for partition in facts["partitions"]}
    assert (partitions["h200"]["gpus"], partitions["a100"]["gpus"]) == ({"h200": 8}, {"a100": 8})
    assert told["profiles"] == {"slurm-test": []}
    assert told["home"]["trouble"] == ""
    hpcsweep(tmp_path, "init", "mine.yaml")
    text = (tmp_path / "mine.yaml").read_text()
    assert "default: slurm-h200" in text and "gpu_type: h200" in text

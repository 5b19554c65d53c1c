"""Plain `sbatch experiments/exp_runner.slurm`, and a script in which srun starts the agent once per task."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_sweeps import Run, Sweep, wait_for

import hpcsweep.experiments

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

SHIPPED = Path(hpcsweep.experiments.__file__).parent / "exp_runner.slurm"


def sbatch(sweep: Sweep, *args: str, **variables: str) -> str:
    """Id of a job that `sbatch` submits as a user would: from the project's folder, with the environment's PATH."""
    folder = sweep.folder / "experiments"
    folder.mkdir(exist_ok=True)
    shutil.copy(SHIPPED, folder)
    for name in ("samples.jsonl", "engine.yaml"):
        shutil.copy(sweep.folder / name, folder)
    experiment = json.loads((sweep.folder / "study.yaml").read_text()) | {"name": "exp_runner"}
    (folder / "exp_runner.yaml").write_text(json.dumps(experiment))
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HPCSWEEP_HOME": str(sweep.home),
        "HPCSWEEP_CONFIG": str(sweep.folder / "hpcsweep.yaml"),
        **variables,
    }
    argv = ["sbatch", "--parsable", "-p", "h200", "--exclude=hopper-[03-04]", *args, "experiments/exp_runner.slurm"]
    done = subprocess.run(argv, cwd=sweep.folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().partition(";")[0]


def sweeps(sweep: Sweep) -> dict[str, dict[str, Run]]:
    if not list(sweep.home.glob("sweeps/*/sweep.json")):
        return {}
    told = sweep.cli("status", "--json")
    document = json.loads(told[told.index("{") :])
    return {found["name"]: {run["run"]: run for run in found["runs"]} for found in document["sweeps"]}


def ended(sweep: Sweep, runs: int) -> dict[str, dict[str, Run]]:
    def all_ended() -> bool:
        found = [run for of_sweep in sweeps(sweep).values() for run in of_sweep.values()]
        return len(found) == runs and all(run["state"] == "finished" for run in found)

    wait_for(all_ended, 120, f"{runs} runs have ended")
    return sweeps(sweep)


def test_plain_jobs_of_one_study_share_a_sweep(sweep: Sweep) -> None:
    ids = {
        name: sbatch(sweep, EXP_NAME=name, MAX_MODEL_LEN=length, HPCSWEEP_SWEEP="study")
        for name, length in {"3A": "1k", "1A": "2k", "3C": "3072"}.items()
    }
    ((name, runs),) = ended(sweep, 3).items()
    assert name == "study"
    assert {label: (run["job"], run["outcome"]) for label, run in runs.items()} == {
        label: (job_id, "completed") for label, job_id in ids.items()
    }
    assert {label: run["axes"]["len"] for label, run in runs.items()} == {"3A": "1k", "1A": "2k", "3C": "3k"}
    report = sweep.cli("report", "study", "--format", "markdown")
    assert all(f"job {job_id};" in report for job_id in ids.values())


def test_a_plain_array_is_cancelled_whole_and_a_bad_value_is_a_failed_run(sweep: Sweep) -> None:
    sweep.write(slow=True)
    job_id = sbatch(sweep, "--array=1-3%1", EXP_NAME="1A")
    wait_for(lambda: any(r["phase"] == "measure" for s in sweeps(sweep).values() for r in s.values()), 90, "measuring")
    ((name, runs),) = sweeps(sweep).items()
    assert (name, [run["job"] for run in runs.values()]) == (f"exp_runner-job{job_id}", [f"{job_id}_1"])
    sweep.cli("cancel", name)
    assert [run["outcome"] for run in ended(sweep, 1)[name].values()] == ["cancelled"]
    bad = sbatch(sweep, EXP_NAME="bad", MAX_MODEL_LEN="many")
    run = ended(sweep, 2)[f"exp_runner-job{bad}"]["bad"]
    assert run["outcome"] == "failed" and "MAX_MODEL_LEN=many" in run["reason"]


def test_srun_starts_one_agent_too_many(sweep: Sweep) -> None:
    """Refused where the script shows it; at run time all but rank 0 exit."""
    script = sweep.folder / "own.sh"
    script.write_text(
        "#!/bin/bash\n#SBATCH -p h200 --exclude=hopper-[03-04]\n#SBATCH -n4 -t5\n"
        f"srun {sys.executable} -m hpcsweep.node.agent\n"
    )
    args = ("submit", "study.yaml", "--cluster", "slurm", "--set", "len=1k", "--script", str(script))
    assert "line 4 of the script starts 4 agents for one run" in sweep.cli(*args, code=1)
    script.write_text(script.read_text().replace("srun ", "L=srun; ${L:?} "))
    sweep.cli(*args)
    runs = sweep.wait_until_ended(90)
    assert {label: (run["outcome"], run["attempt"]) for label, run in runs.items()} == {"len-1k": ("completed", 1)}
    log = "".join(path.read_text() for path in sweep.sweep_dir.glob("jobs/0/logs/*.log"))
    assert log.count("nothing to do: SLURM_PROCID=") == 3

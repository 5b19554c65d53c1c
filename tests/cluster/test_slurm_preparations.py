"""Preparations on a real Slurm: dependent jobs, and what happens to them when the preparation fails or starts again."""

import json
import time
from typing import Any

import pytest
from slurm_sweeps import SWEEP, Sweep, slurm, wait_for

# Waiting for the other workers of xdist counts too.
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

SLEEP = "sleep 86399.5"


def prepare(sweep: Sweep, *steps: dict[str, Any], **profile: Any) -> None:
    """Two runs that need the preparations."""
    sweep.write(lengths=("1k", "3k"), **profile)
    path = sweep.folder / "study.yaml"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prepare": list(steps)}))


def preparation(sweep: Sweep, name: str) -> dict[str, Any]:
    told = sweep.cli("status", SWEEP, "--json")
    steps = json.loads(told[told.index("{") :])["sweeps"][0]["preparations"]
    return next(step for step in steps if step["name"] == name)


def in_queue(job_id: str) -> bool:
    return bool(slurm("squeue", "-h", "-j", job_id, check=False))


def outcomes(runs: dict[str, Any]) -> dict[str, str]:
    return {label: run["outcome"] for label, run in runs.items()}


def test_a_failed_preparation_removes_the_jobs_that_wait_for_it(sweep: Sweep) -> None:
    weights = {"name": "weights", "creates": f"{sweep.folder}/w", "commands": ["sleep 1", 'date > "$HPCSWEEP_CREATES"']}
    image = {
        "name": "image",
        "needed_by": {"len": "3k"},
        "commands": f"sleep 5; test -e {sweep.folder}/fixed || {{ echo 'no such image' >&2; exit 3; }}",
        "resources": {"cpus": 1, "memory": "200M", "walltime": "5m"},
    }
    prepare(sweep, weights, image)
    sweep.submit()
    runs = sweep.wait(lambda runs: runs["len-3k"]["reason"].startswith("waiting for preparation"))
    assert runs["len-3k"]["state"] == "queued"
    runs = sweep.wait_until_ended(120)
    assert outcomes(runs) == {"len-1k": "completed", "len-3k": "not_run"}
    assert runs["len-3k"]["reason"] == "preparation image failed: exit code 3: no such image"
    assert preparation(sweep, "weights")["outcome"] == "completed"
    wait_for(lambda: not any(in_queue(job_id) for job_id in sweep.job_ids()), 60, "no job waits for ever")
    (sweep.folder / "fixed").touch()
    assert set(outcomes(sweep.retry_completes()).values()) == {"completed"}
    attempts = sorted(path.parent.name for path in sweep.sweep_dir.glob("jobs/*/attempt-1"))
    assert attempts == ["0", "1", "4"], "weights once, image twice"


def test_a_quick_preparation_does_not_end_before_the_runs_are_submitted(sweep: Sweep) -> None:
    sweep.fake("sbatch", 'case "$*" in *--dependency*) sleep 8;; esac\nexec "$REAL" "$@"')
    prepare(sweep, {"name": "quick", "commands": ["true"]})
    sweep.submit()
    assert set(outcomes(sweep.wait_until_ended(120)).values()) == {"completed"}
    record = json.loads((sweep.sweep_dir / "jobs/0/attempt-1/exit.json").read_text())
    task = json.loads((sweep.sweep_dir / "jobs/0/tasks/0.exit.json").read_text())
    assert task["ended_at"] - record["ended_at"] > 3, "its agent waited for the submission"


def test_a_preparation_that_is_requeued_is_waited_for(sweep: Sweep) -> None:
    flag = sweep.folder / "second"
    command = f"test -e {flag} && exit 0; touch {flag}; {SLEEP}"
    prepare(sweep, {"name": "weights", "commands": command}, requeue=True)
    sweep.submit()
    wait_for(flag.exists, 60, "the commands run")
    prepared, array = sweep.job_ids() if sweep.job_ids()[0] < sweep.job_ids()[1] else sweep.job_ids()[::-1]
    slurm("scontrol", "requeue", prepared)
    time.sleep(2)
    assert in_queue(array), "the array still waits"
    assert set(outcomes(sweep.wait_until_ended(300)).values()) == {"completed"}
    ends = [json.loads(path.read_text())["outcome"] for path in sorted(sweep.sweep_dir.glob("jobs/0/*/exit.json"))]
    assert ends == ["preempted", "completed"]


def test_scancel_of_a_preparation_is_its_end(sweep: Sweep) -> None:
    flag = sweep.folder / "second"
    prepare(sweep, {"name": "weights", "commands": f"test -e {flag} && exit 0; touch {flag}; {SLEEP}"})
    sweep.submit()
    wait_for(flag.exists, 60, "the commands run")
    slurm("scancel", min(sweep.job_ids(), key=int))
    runs = sweep.wait_until_ended(120)
    assert set(outcomes(runs).values()) == {"not_run"}
    assert runs["len-1k"]["reason"] == "preparation weights was cancelled: the job was cancelled"
    sweep.retry_completes()


def test_the_time_limit_of_a_preparation(sweep: Sweep) -> None:
    prepare(sweep, {"name": "weights", "commands": SLEEP, "resources": {"walltime": "1m"}}, signal_margin=20)
    sweep.submit()
    runs = sweep.wait_until_ended(150)
    assert runs["len-1k"]["reason"] == "preparation weights failed: not done within its walltime of 1m00s"
    sweep.wait_until_nothing_runs()


def test_cancel_covers_preparations(sweep: Sweep) -> None:
    prepare(sweep, {"name": "weights", "commands": SLEEP})
    sweep.submit()
    wait_for(lambda: preparation(sweep, "weights")["state"] == "running", 60, "the preparation runs")
    sweep.cli("cancel", SWEEP)
    assert set(outcomes(sweep.wait_until_ended()).values()) == {"cancelled"}
    wait_for(lambda: preparation(sweep, "weights")["outcome"] == "cancelled", 60, "it was cancelled")
    sweep.wait_until_nothing_runs()

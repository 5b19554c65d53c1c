"""The main job on a Slurm on the other side of an SSH connection: staged there, fetched back, cancelled there."""

import json
import os
import time
from pathlib import Path

import pytest
from cli import Cli
from slurm_sweeps import SERVICE

pytestmark = [pytest.mark.slurm, pytest.mark.sshd]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    profile = {
        "scheduler": "slurm",
        "ssh": {
            "host": os.environ["HPCSWEEP_TEST_SSH_HOST"],
            "port": int(os.environ["HPCSWEEP_TEST_SSH_PORT"]),
            "user": os.environ["HPCSWEEP_TEST_SSH_USER"],
            "key_file": os.environ["HPCSWEEP_TEST_SSH_KEY"],
            "known_hosts": os.environ["HPCSWEEP_TEST_SSH_KNOWN_HOSTS"],
            "home": str(tmp_path / "far"),
        },
        "partition": "h200",
        "gpu_type": "h200",
        "gpus_per_node": 8,
        "cpus": 1,
        "memory": "1G",
        "simulate": "always",
        "python": str(SERVICE / "venv" / "bin" / "python"),
    }
    (tmp_path / "hpcsweep.yaml").write_text(json.dumps({"default": "far", "clusters": {"far": profile}}))
    made = Cli(tmp_path)
    made.env["HPCSWEEP_CONFIG"] = str(tmp_path / "hpcsweep.yaml")
    made.env["SLURM_CONF"] = "/nowhere"  # only the far side may know the scheduler
    return made


def test_the_main_job_over_ssh(cli: Cli) -> None:
    done = cli.run("submit", "exp_runner", "--set", "eager=yes", "--set", "len=8k", "--wait")
    assert "2 completed" in done.stdout
    runs = cli.runs()
    assert {run["outcome"] for run in runs.values()} == {"completed"}
    assert all(run["node"].startswith("hopper") for run in runs.values())
    far = cli.folder / "far" / "sweeps" / "exp_runner-0001"
    for label in runs:
        events = f"runs/{label}/attempt-1/events.jsonl"
        assert (cli.home / "sweeps" / "exp_runner-0001" / events).read_bytes() == (far / events).read_bytes()
    assert "SIMULATED" in cli.run("report", "--format", "markdown").stdout


def test_a_name_that_is_taken_over_there_is_left_alone(cli: Cli) -> None:
    (cli.folder / "far" / "sweeps" / "exp_runner-0001").mkdir(parents=True)
    cli.run("submit", "exp_runner", "--set", "eager=no", "--set", "ep=on", "--set", "len=8k")
    assert list(cli.runs("exp_runner-0002")) == ["ep-on_eager-no_len-8k"]
    cli.run("cancel")
    deadline = time.monotonic() + 60
    while cli.runs()["ep-on_eager-no_len-8k"]["state"] != "finished" and time.monotonic() < deadline:
        time.sleep(1)
    assert cli.runs()["ep-on_eager-no_len-8k"]["outcome"] == "cancelled"


def test_a_refused_job_leaves_nothing_on_either_side(cli: Cli) -> None:
    done = cli.run("submit", "exp_runner", "--set", "eager=yes", "--set", "len=8k", code=0)
    cli.run("cancel")
    text = (cli.folder / "hpcsweep.yaml").read_text().replace('"h200", "gpu_type"', '"nosuch", "gpu_type"')
    (cli.folder / "hpcsweep.yaml").write_text(text)
    done = cli.run("submit", "exp_runner", code=1)
    assert "nosuch" in done.stderr or "partition" in done.stderr
    assert not (cli.folder / "far" / "sweeps" / "exp_runner-0002").exists()
    assert not (cli.home / "sweeps" / "exp_runner-0002").exists()

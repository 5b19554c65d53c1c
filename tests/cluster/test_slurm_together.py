"""Commands from two machines on one sweep at the same moment, in all pairs: no run is measured twice or forgotten."""

import itertools
import json
import os
import re
import subprocess
import sys

import pytest
from slurm_sweeps import SWEEP, Sweep, slurm, wait_for

# Waiting for the other workers of xdist counts too.
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="gives a command a host name of its own: needs root"),
]

COMMANDS = {
    "submit": ("submit", "study.yaml", "--cluster", "slurm"),
    "retry": ("retry", SWEEP),
    "cancel": ("cancel", SWEEP),
    "status": ("status", SWEEP),
}
TRIPLES = sorted({(first, second, "status") for first, second in itertools.combinations_with_replacement(COMMANDS, 2)})


def on_machine(sweep: Sweep, name: str, *args: str) -> "subprocess.Popen[str]":
    """A command on a machine of its own: another host name, and processes that the other machines cannot see."""
    inside = 'hostname "$0" && mount -t proc proc /proc && exec "$@"'
    command = [sys.executable, "-m", "hpcsweep.cli.main", "--home", str(sweep.home), *args]
    return subprocess.Popen(
        ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount", "bash", "-c", inside, name, *command],
        cwd=sweep.folder,
        env={
            **os.environ,
            "HPCSWEEP_CONFIG": str(sweep.folder / "hpcsweep.yaml"),
            "PATH": f"{sweep.folder / 'fakes'}:{os.environ['PATH']}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def jobs_in_queue(sweep: Sweep) -> list[str]:
    """Ids of all jobs that Slurm was given from the folders of this project, ended ones too."""
    lines = slurm("squeue", "-h", "--states=all", "-O", "ArrayJobID:|,Comment:|").splitlines()
    return sorted({line.split("|")[0].strip() for line in lines if f"hpcsweep:{sweep.home}/" in line})


def run_together(sweep: Sweep, commands: tuple[str, ...]) -> list[str]:
    """What the commands printed, each run on a machine of its own at the same moment."""
    # Submissions take long enough to meet each other.
    sweep.fake("sbatch", 'sleep 0.5\nexec "$REAL" "$@"')
    started = [on_machine(sweep, f"login{n}", *COMMANDS[name]) for n, name in enumerate(commands)]
    told = [process.communicate(timeout=200)[0] for process in started]
    for name, process, text in zip(commands, started, told, strict=True):
        assert "Traceback" not in text, f"{name}: {text}"
        assert process.returncode in (0, 1), f"{name}: {text}"
    sweep.fake("sbatch", "")
    return told


def check_nothing_is_doubled_or_lost(sweep: Sweep) -> None:
    """Each job of Slurm is known to exactly one submission, and no run has two that are alive."""
    known = []
    for path in sweep.home.glob("sweeps/*/jobs/*/submission.json"):
        known.append(json.loads(path.read_text())["job_id"])
    assert None not in known and len(known) == len(set(known))
    assert set(jobs_in_queue(sweep)) <= set(known)  # one that has ended is forgotten after MinJobAge
    for folder in sweep.home.glob("sweeps/*"):
        alive: dict[str, int] = {}
        for path in folder.glob("jobs/*/job.json"):
            job_id = json.loads((path.parent / "submission.json").read_text())["job_id"]
            states = dict(
                re.findall(
                    r"_(\d+)\|(PENDING|RUNNING|CONFIGURING)",
                    slurm("squeue", "-h", "-r", "-j", job_id, "-o", "%i|%T", check=False),
                )
            )
            for task in json.loads(path.read_text())["array_tasks"]:
                for run in task["runs"]:
                    alive[run["label"]] = alive.get(run["label"], 0) + (str(task["index"]) in states)
        assert max(alive.values()) <= 1, alive
    assert not list(sweep.home.glob("sweeps/*/.lock*"))


@pytest.mark.parametrize("commands", TRIPLES, ids="-".join)
def test_three_commands_at_once(sweep: Sweep, commands: tuple[str, ...]) -> None:
    """On a sweep with one run that was cancelled: `retry` has something to submit, `cancel` something to end."""
    sweep.write(slow=True, lengths=("1k", "2k"))
    sweep.submit()
    sweep.wait_until_measuring("len-1k", "len-2k")
    sweep.cli("cancel", SWEEP, "len-2k")
    sweep.wait(lambda runs: runs["len-2k"]["state"] == "finished")
    told = run_together(sweep, commands)
    check_nothing_is_doubled_or_lost(sweep)
    retries = [text for name, text in zip(commands, told, strict=True) if name == "retry"]
    jobs = len(list(sweep.sweep_dir.glob("jobs/*/submission.json")))
    assert jobs == 1 + sum("again in 1 submission" in text for text in retries)
    if retries and "cancel" not in commands:
        assert jobs == 2, told  # one of them submitted, and only one
    assert len(list(sweep.home.glob("sweeps/*"))) == 1 + commands.count("submit")
    if "cancel" in commands:  # whatever came first: a second cancel finds nothing that was forgotten
        sweep.cli("cancel", SWEEP)
        runs = sweep.wait_until_ended()
        assert {run["outcome"] for run in runs.values()} == {"cancelled"}


def test_a_machine_that_died_with_the_lock_holds_nobody_up_for_long(sweep: Sweep) -> None:
    """Killed in the middle of a retry, on another machine: after a minute the next command goes on."""
    sweep.write(slow=True, lengths=("1k",))
    sweep.submit()
    sweep.wait_until_measuring("len-1k")
    sweep.cli("cancel", SWEEP)
    sweep.wait_until_ended()
    sweep.fake("sbatch", "sleep 300")
    dying = on_machine(sweep, "login9", *COMMANDS["retry"])
    lock = sweep.sweep_dir / ".lock"
    wait_for(lock.exists, 30, "the retry holds the lock")
    wait_for(lambda: len(list(sweep.sweep_dir.glob("jobs/*/submission.json"))) == 2, 30, "it submits")
    dying.kill()
    dying.communicate()
    sweep.fake("sbatch", "")
    told = sweep.cli("cancel", SWEEP, timeout_s=150)
    assert "waiting for process" in told and "on login9 (hpcsweep retry)" in told
    assert not lock.exists()
    assert set(jobs_in_queue(sweep)) <= set(sweep.job_ids())  # the retry that died had submitted nothing

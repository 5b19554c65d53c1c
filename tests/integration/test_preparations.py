"""Preparations of a sweep, by the command line: on this machine, and on the fake PBS."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from cli import Cli
from pbs_fixture import FakePbs, wait_until
from pbs_sweeps import SWEEP, PbsSweep

import hpcsweep

pytestmark = pytest.mark.timeout(300)


class Project:
    """An experiment with preparations, on `local` or on the fake PBS."""

    def __init__(self, cli: Cli, folder: Path, cluster: str) -> None:
        self.cli, self.folder, self.cluster = cli, folder, cluster
        self.sweep_dir = cli.home / "sweeps" / SWEEP

    def prepare(self, *steps: dict[str, Any], **changed: Any) -> None:
        path = self.folder / "study.yaml"
        path.write_text(json.dumps({**json.loads(path.read_text()), "prepare": list(steps), **changed}))

    def submit(self, *args: str) -> Any:
        return self.cli.json("submit", "study.yaml", "--cluster", self.cluster, *args)

    def status(self, sweep: str = SWEEP) -> tuple[dict[str, Any], dict[str, Any]]:
        """Preparations and runs of a sweep, by name, as `status --json` has them."""
        (document,) = self.cli.json("status", sweep)["sweeps"]
        return {s["name"]: s for s in document["preparations"]}, {r["run"]: r for r in document["runs"]}

    def wait(self, sweep: str = SWEEP, within_s: float = 120) -> tuple[dict[str, Any], dict[str, Any]]:
        """Preparations and runs when all runs have ended."""
        deadline = time.monotonic() + within_s
        while True:
            steps, runs = self.status(sweep)
            if all(run["state"] == "finished" for run in runs.values()):
                return steps, runs
            assert time.monotonic() < deadline, (steps, runs)
            time.sleep(0.3)

    def job_dir(self, number: int, sweep: str = SWEEP) -> Path:
        return self.cli.home / "sweeps" / sweep / "jobs" / str(number)

    def end_record(self, number: int, attempt: int = 1, sweep: str = SWEEP) -> dict[str, Any]:
        return json.loads((self.job_dir(number, sweep) / f"attempt-{attempt}" / "exit.json").read_text())

    def agent_of(self, number: int) -> psutil.Process:
        """The agent of a preparation whose commands have started."""
        owner = self.job_dir(number) / "attempt-1" / "owner.json"
        wait_until(lambda: owner.exists() and json.loads(owner.read_text())["server"])
        return psutil.Process(json.loads(owner.read_text())["pid"])

    def commands(self) -> list[psutil.Process]:
        """Processes of the commands of preparations: `sleep` with a marked argument."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cmdline() == SLEEP.split():
                    found.append(process)
            except psutil.Error:
                continue
        return found


SLEEP = f"sleep 86399.{os.getpid()}"  # tests of other workers of xdist run beside this one


@pytest.fixture
def local(pbs: FakePbs, tmp_path: Path) -> Project:
    """A project whose runs are started by the local dispatcher."""
    made = PbsSweep(pbs, tmp_path)
    made.write(lengths=("1k", "3k"))
    return Project(made.cli, tmp_path, "local")


@pytest.fixture
def on_pbs(pbs: FakePbs, tmp_path: Path) -> Project:
    pbs.admin("set server kill_delay=5.0")
    made = PbsSweep(pbs, tmp_path)
    made.write(lengths=("1k", "3k"))
    yield Project(made.cli, tmp_path, "pbs-test")
    pbs.admin("stop-all")
    for process in made.processes():
        process.kill()


def outcomes(runs: dict[str, Any]) -> dict[str, str]:
    return {label: run["outcome"] for label, run in runs.items()}


def by_two_steps(folder: Path) -> list[dict[str, Any]]:
    """`weights` creates a path; `image`, which only the run of 3k needs, fails until a file `fixed` exists."""
    return [
        {
            "name": "weights",
            "creates": str(folder / "models" / "it's here"),
            "commands": [
                f"echo once >> {folder}/count",
                'mkdir -p "$HPCSWEEP_CREATES"',
                'date > "$HPCSWEEP_CREATES/w"',
            ],
        },
        {
            "name": "image",
            "needed_by": {"len": "3k"},
            "commands": f"echo pulling; test -e {folder}/fixed || {{ echo 'no such image' >&2; exit 3; }}",
        },
    ]


def test_a_failed_preparation_fails_only_the_runs_that_need_it_and_is_repeated_alone(local: Project) -> None:
    local.prepare(*by_two_steps(local.folder))
    plan = local.cli.run("submit", "study.yaml", "--cluster", "local", "--dry-run").stdout
    assert "preparation weights: jobs/0, 0 GPUs, 1h00m, before 2 runs" in plan
    assert "--- jobs/1/prepare.sh" in plan and "Starts after the preparations image (jobs/1), weights (jobs/0)" in plan
    document = local.submit()
    assert [job["preparation"] for job in document["jobs"]] == ["weights", "image", None, None]
    steps, runs = local.wait()
    assert outcomes(runs) == {"len-1k": "completed", "len-3k": "not_run"}
    assert runs["len-3k"]["reason"] == "preparation image failed: exit code 3: no such image"
    assert (steps["weights"]["outcome"], steps["image"]["outcome"]) == ("completed", "failed")
    assert not list((local.sweep_dir / "runs" / "len-3k").iterdir()), "no server was started for it"
    assert local.end_record(1)["evidence"] == ["pulling", "no such image"]
    assert "preparation image: failed" in local.cli.run("status", SWEEP).stdout
    logs = local.cli.run("logs", "--preparation", "image")
    assert [line.split()[-1] for line in logs.stdout.splitlines()] == ["pulling", "image"]
    assert "running prepare.sh" in local.cli.run("logs", "--preparation", "weights", SWEEP, "--job").stdout
    info = hpcsweep.status(SWEEP, home=local.cli.home)
    assert [(step.name, step.outcome) for step in info.preparations] == [("weights", "completed"), ("image", "failed")]
    assert info.preparations[1].evidence == ("pulling", "no such image")
    missing = local.cli.run("logs", "--preparation", "imag", code=None)
    assert missing.returncode == 1 and "no preparation 'imag'" in missing.stderr and "image" in missing.stderr

    (local.folder / "fixed").touch()
    again = local.cli.json("retry", SWEEP)
    assert [job["preparation"] for job in again["jobs"]] == ["image", None]
    steps, runs = local.wait()
    assert set(outcomes(runs).values()) == {"completed"} and steps["image"]["outcome"] == "completed"
    assert (local.folder / "count").read_text() == "once\n"
    report = local.cli.run("report", SWEEP, "--full").stdout
    assert "Preparations (in addition)" in report

    local.submit()  # another sweep: the weights exist
    steps, runs = local.wait("study-0002")
    assert set(outcomes(runs).values()) == {"completed"}
    assert (local.folder / "count").read_text() == "once\n"
    assert "the commands were not run" in steps["weights"]["evidence"][0]


def test_two_sweeps_create_the_same_path_once(local: Project) -> None:
    step = by_two_steps(local.folder)[0]
    step["commands"].insert(1, "sleep 3")
    local.prepare(step)
    local.submit()
    local.submit()
    assert set(outcomes(local.wait()[1]).values()) == {"completed"}
    assert set(outcomes(local.wait("study-0002")[1]).values()) == {"completed"}
    assert (local.folder / "count").read_text() == "once\n"
    records = [local.end_record(0, sweep=name) for name in (SWEEP, "study-0002")]
    assert sorted("not run" in record["evidence"][0] for record in records) == [False, True]
    left = [path.name for path in (local.folder / "models").iterdir()]
    assert left == ["it's here"], "neither the lock nor the mark of an unfinished creation is left"


def test_what_an_earlier_preparation_did_not_finish_is_not_taken_for_complete(local: Project) -> None:
    step = by_two_steps(local.folder)[0]
    step["commands"] += [f"test -e {local.folder}/fixed"]
    local.prepare(step)
    local.submit()
    _, runs = local.wait()
    assert set(outcomes(runs).values()) == {"not_run"}
    assert (local.folder / "models" / "it's here" / "w").exists()
    (local.folder / "fixed").touch()
    local.cli.run("retry", SWEEP)
    _steps, runs = local.wait()
    assert set(outcomes(runs).values()) == {"completed"}
    assert (local.folder / "count").read_text() == "once\nonce\n"


def test_cancel_ends_the_commands(local: Project) -> None:
    local.prepare({"name": "slow", "commands": [f"{SLEEP} & {SLEEP}"]})
    local.submit()
    wait_until(lambda: len(local.commands()) == 2)
    steps, runs = local.status()
    assert steps["slow"]["state"] == "running" and steps["slow"]["walltime_s"] == 3600
    assert {run["reason"] for run in runs.values()} == {"waiting for preparation slow, which is running"}
    assert "preparing slow: " in local.cli.run("status", SWEEP).stdout
    local.cli.run("cancel", SWEEP)
    steps, runs = local.wait()
    assert set(outcomes(runs).values()) == {"cancelled"}
    wait_until(lambda: not local.commands())
    wait_until(lambda: local.status()[0]["slow"]["outcome"] == "cancelled")
    assert local.end_record(0)["code"] == "cancelled_by_us"


def test_cancelling_one_run_keeps_the_preparation_of_the_others(local: Project) -> None:
    local.prepare({"name": "slow", "commands": [SLEEP]})
    local.submit()
    wait_until(lambda: len(local.commands()) == 1)
    local.cli.run("cancel", SWEEP, "len-1k")
    steps, runs = local.status()
    assert runs["len-1k"]["outcome"] == "cancelled"
    assert runs["len-3k"]["state"] == "queued" and steps["slow"]["state"] == "running"
    local.cli.run("cancel", SWEEP)
    local.wait()
    wait_until(lambda: not local.commands())


def test_a_killed_agent_is_a_lost_preparation_and_leaves_no_process(local: Project) -> None:
    local.prepare({"name": "slow", "commands": [SLEEP]})
    local.submit()
    local.agent_of(0).send_signal(signal.SIGKILL)
    steps, runs = local.wait()
    assert {run["outcome"] for run in runs.values()} == {"not_run"}
    assert steps["slow"]["outcome"] == "lost"
    assert all(run["reason"].startswith("preparation slow was lost: ") for run in runs.values())
    wait_until(lambda: not local.commands())


def test_the_walltime_of_a_preparation_is_its_own(local: Project) -> None:
    local.prepare({"name": "slow", "commands": [SLEEP], "resources": {"walltime": "4s"}})
    local.submit()
    steps, runs = local.wait()
    assert steps["slow"]["outcome"] == "walltime" and not local.commands()
    assert runs["len-1k"]["reason"] == "preparation slow failed: not done within its walltime of 4.0s"


def test_a_warm_up_starts_each_variant_once_after_the_other_preparations(local: Project) -> None:
    """The variant that cannot start is not started again; the others run."""
    weights = by_two_steps(local.folder)[0]
    warm = {"name": "cache", "warm_compile_cache": True}
    profile = local.folder / "engine.yaml"
    profile.write_text(
        profile.read_text() + 'rules: [{when: {len: 3k}, faults: [{kind: crash, message: "no luck"}]}]\n'
    )
    local.prepare(weights, warm, repeats=2)
    local.submit()
    steps, runs = local.wait(within_s=150)
    assert steps["cache"]["outcome"] == "completed"
    started = list((local.job_dir(1) / "attempt-1").glob("*/attempt-1/exit.json"))
    assert len(started) == 2, "one variant of each length, whatever the repeats"
    assert [label for label, run in runs.items() if run["outcome"] != "completed"] == ["len-3k", "len-3k_rep-2"]
    assert "preparation cache: the server of this variant did not start: " in runs["len-3k"]["reason"]
    assert not list((local.sweep_dir / "runs" / "len-3k").glob("attempt-*"))
    assert "compile_cache_at_start" in (local.sweep_dir / "runs/len-1k/attempt-1/events.jsonl").read_text()


def test_secrets_reach_the_commands_and_not_their_log(local: Project) -> None:
    secrets = local.folder / "secrets"
    secrets.write_text("HF_TOKEN=hf_abcdefghijklmnopqrstuvwx\n")
    secrets.chmod(0o600)
    local.prepare(
        {"name": "weights", "commands": ['test -n "$HF_TOKEN"', 'echo "token: $HF_TOKEN"', "false"]},
        env_from=["HF_TOKEN"],
        secrets_file=str(secrets),
    )
    local.submit()
    _, runs = local.wait()
    assert "token: ***" in runs["len-1k"]["reason"]
    for path in local.sweep_dir.rglob("*"):
        assert not path.is_file() or b"hf_abcdef" not in path.read_bytes(), path


def test_pbs_deletes_the_jobs_whose_preparation_failed(on_pbs: Project, pbs: FakePbs) -> None:
    on_pbs.prepare(*by_two_steps(on_pbs.folder))
    on_pbs.submit()
    _steps, runs = on_pbs.wait()
    assert outcomes(runs) == {"len-1k": "completed", "len-3k": "not_run"}
    assert runs["len-3k"]["reason"] == "preparation image failed: exit code 3: no such image"
    jobs = pbs.state()["jobs"]
    assert len(jobs) == 4
    assert jobs["2"]["a"]["Submit_arguments"].startswith("-W depend=afterok:0.pbshost ")
    assert jobs["3"]["a"]["depend"].startswith("afterok:0.pbshost@pbshost:1.pbshost@pbshost")
    (on_pbs.folder / "fixed").touch()
    assert [job["preparation"] for job in on_pbs.cli.json("retry", SWEEP)["jobs"]] == ["image", None]
    _, runs = on_pbs.wait()
    assert set(outcomes(runs).values()) == {"completed"}


def test_a_quick_preparation_waits_for_the_submissions_that_depend_on_it(on_pbs: Project, pbs: FakePbs) -> None:
    """PBS without job history would delete a job that depends on one that has ended."""
    pbs.admin("set server job_history_enable=False")
    real = on_pbs.folder / "bin"
    real.mkdir()
    qsub = pbs.out("command -v qsub")
    (real / "qsub").write_text(f'#!/bin/bash\ncase "$*" in *depend=*) sleep 5;; esac\nexec {qsub} "$@"\n')
    (real / "qsub").chmod(0o755)
    on_pbs.cli.env["PATH"] = f"{real}:{os.environ['PATH']}"
    on_pbs.prepare({"name": "quick", "commands": ["true"]})
    on_pbs.submit()
    steps, runs = on_pbs.wait(within_s=200)
    assert set(outcomes(runs).values()) == {"completed"}
    assert steps["quick"]["outcome"] == "completed"


def test_a_submission_that_is_killed_after_the_preparation_is_continued(on_pbs: Project, pbs: FakePbs) -> None:
    real = on_pbs.folder / "bin"
    real.mkdir()
    qsub = pbs.out("command -v qsub")
    (real / "qsub").write_text(f'#!/bin/bash\ncase "$*" in *depend=*) kill -9 $PPID; exit 1;; esac\nexec {qsub} "$@"\n')
    (real / "qsub").chmod(0o755)
    path = on_pbs.cli.environment()["PATH"]
    on_pbs.cli.env["PATH"] = f"{real}:{path}"
    on_pbs.prepare({"name": "weights", "commands": [f"echo once >> {on_pbs.folder}/count"]})
    on_pbs.cli.run("submit", "study.yaml", "--cluster", "pbs-test", code=None)
    on_pbs.cli.env["PATH"] = path
    _, runs = on_pbs.status()
    assert {run["state"] for run in runs.values()} == {"unknown"}, "the submission of the array was not confirmed"
    again = on_pbs.cli.json("retry", SWEEP, "len-1k", "len-3k")
    assert [job["preparation"] for job in again["jobs"]] == [None]
    _, runs = on_pbs.wait(within_s=200)
    assert set(outcomes(runs).values()) == {"completed"}
    assert (on_pbs.folder / "count").read_text() == "once\n"

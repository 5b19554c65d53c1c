"""What is said when a hand-over is interrupted or the disk is full after a job was accepted, by the command line."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from cli import Cli
from pbs_sweeps import SWEEP, PbsSweep
from sweep_folders import make_sweep

from hpcsweep.errors import SchedulerError
from hpcsweep.submit.local import dispatcher


@pytest.fixture
def sweep(pbs, tmp_path: Path) -> PbsSweep:
    made = PbsSweep(pbs, tmp_path)
    yield made
    for process in made.processes():
        process.kill()


def qsub_that(folder: Path, pbs, then: str) -> dict[str, str]:
    """PATH with a qsub before the fake one that submits, and then does something."""
    real = subprocess.run(["bash", "-c", "command -v qsub"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "bin").mkdir()
    (folder / "bin" / "qsub").write_text(f'#!/bin/bash\n{real} "$@" || exit\n{then}\n')
    (folder / "bin" / "qsub").chmod(0o755)
    return {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}


def test_ctrl_c_during_the_hand_over_says_how_far_it_came(sweep, pbs, tmp_path):
    sweep.cli.env |= qsub_that(tmp_path, pbs, f"touch {tmp_path}/there; sleep 60")
    process = sweep.cli.start("submit", "study.yaml", "--cluster", "pbs-test")
    while not (tmp_path / "there").exists():
        time.sleep(0.1)
        assert process.poll() is None
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted while job 0 of study-0001 was being submitted" in err
    assert "hpcsweep status study-0001" in err and "Traceback" not in err
    sweep.wait_until_ended()
    assert len(pbs.state()["jobs"]) == 1


def test_a_disk_that_fills_up_after_the_job_was_accepted_names_its_id(sweep, pbs, tmp_path):
    job_dir = sweep.sweep_dir / "jobs" / "0"
    blocked = f"rm {job_dir}/submission.json; mkdir -p {job_dir}/submission.json/x"
    sweep.cli.env |= qsub_that(tmp_path, pbs, blocked)
    done = sweep.cli.run("submit", "study.yaml", "--cluster", "pbs-test", code=1)
    assert "job 0 of study-0001 was accepted as 0[]" in done.stderr and "do not submit again" in done.stderr
    assert "Traceback" not in done.stderr
    assert sweep.sweep_dir.exists(), "the folder of an accepted job stays"
    (job_dir / "submission.json" / "x").rmdir()
    (job_dir / "submission.json").rmdir()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(dispatcher.fcntl, "flock", no_locks)  # no file system here lacks them
    with pytest.raises(SchedulerError, match="cannot be locked: No locks available"):
        dispatcher.lock(tmp_path)


def test_a_store_that_is_locked_for_long_is_an_error_in_words(tmp_path):
    cli = Cli(tmp_path)
    made = make_sweep(cli.home, scheduler="local", axes={"ep": ["on"]})
    cli.run("status")
    made.write("ep-on", made.lines("ep-on").started().startup())
    holder = sqlite3.connect(cli.home / "hpcsweep.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        done = cli.run("status", code=None)
    finally:
        holder.close()
    assert "locked" in done.stderr and "Traceback" not in done.stderr
    assert SWEEP not in done.stdout


ESCAPES = "\x1b]0;owned\x07\x1b[31mred\x1b[0m \u202eesrever"


def test_escape_sequences_do_not_reach_the_terminal(tmp_path):
    cli = Cli(tmp_path)
    made = make_sweep(cli.home, scheduler="local", axes={"ep": ["on"]})
    lines = made.lines("ep-on").started(host=f"node{ESCAPES}").startup()
    lines.ended("failed", reason=f"it said {ESCAPES}", evidence=[ESCAPES], hint=ESCAPES)
    folder = made.write("ep-on", lines)
    (folder / "server.log").write_text(f"{ESCAPES}\nsecond line\n")
    path = made.folder.path / "sweep.json"
    document = json.loads(path.read_text())
    document["title"] = document["not_run"] = ESCAPES
    document["not_run"] = [{"title": ESCAPES, "reason": ESCAPES, "axes": {}}]
    path.write_text(json.dumps(document))
    commands = [("status",), ("status", "--json"), ("report",), ("report", "--format", "markdown"), ("logs", "ep-on"),
                ("report", "--format", "csv"), ("report", "--format", "csv-runs"), ("show", "ep-on"),
                ("show", "ep-on", "--json")]  # fmt: skip
    for words in commands:
        text = cli.run(*words).stdout
        assert not set("\x1b\x07\u202e") & set(text), words
    assert "second line" in cli.run("logs", "ep-on").stdout
    assert cli.run("logs", "ep-on", "--raw").stdout == f"{ESCAPES}\nsecond line\n"
    assert "owned" not in cli.run("logs", "ep-on").stdout


def test_data_is_fetched_into_the_folder_under_one_plain_name(tmp_path):
    cli = Cli(tmp_path)
    (tmp_path / "x").write_text("hi")
    (tmp_path / "to").mkdir()
    url = f"file://{tmp_path}"
    cli.run("data", "fetch", f"{url}%2Fto%2F..%2Fx", "--to", "to")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["x"]
    os.mkfifo(tmp_path / "fifo")
    bad_name = "does not end in a valid file name"
    for source, told in [
        (f"{url}/to/%2e%2e", bad_name), (f"{url}/.bashrc", bad_name),
        (f"{url}/a%0Ab", bad_name), ("http://h:99999/x", "Port out of range"),
        ("http://h:abc/x", "not a URL"), ("http://[::1/x", "not a URL"), ("file:///dev/zero", "not a regular file"),
        (f"{url}/fifo", "not a regular file"),
    ]:  # fmt: skip
        done = cli.run("data", "fetch", source, "--to", "to", code=1, timeout=30)
        assert told in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["x"]
    for words in (("data", "check", "fifo"), ("import", "fifo"), ("check", "/dev/zero")):
        assert "not a regular file" in cli.run(*words, code=1, timeout=30).stderr


@pytest.mark.parametrize(
    ("home", "told"),
    [
        ("/tmp/x%a", "has a % in its path"),
        ("/proc/x", "HPCSWEEP_HOME /proc/x cannot be created"),
        (b"/tmp/x\xff", "has a character"),
    ],
)
def test_a_home_that_cannot_be_used_is_said_before_anything_is_written(tmp_path, home, told):
    cli = Cli(tmp_path)
    rows = [{"id": "s", "prompt": "a", "prompt_tokens": 1}]
    (tmp_path / "s.json").write_text(json.dumps(rows))
    experiment = {
        "model": "some/model", "axes": {"len": ["1k"]}, "resources": {"gpus": 0},
        "workloads": {"w": {"dataset": {"kind": "samples", "path": "s.json"}, "max_tokens": 4}},
    }  # fmt: skip
    (tmp_path / "small.yaml").write_text(json.dumps(experiment))
    done = cli.run("--home", os.fsdecode(home), "submit", "small.yaml", "--cluster", "local", code=1)
    assert told in done.stderr and "Traceback" not in done.stderr
    bad = {"env": {"A B": "x"}, "engine_args": {"seed": "x" * 200_000}}
    for key, value in bad.items():
        (tmp_path / "bad.yaml").write_text(json.dumps(experiment | {key: value}))
        done = cli.run("submit", "bad.yaml", "--cluster", "local", code=1)
        assert ("env.A B" if key == "env" else "the limit of Linux is 131071") in done.stderr
    assert not cli.home.exists()

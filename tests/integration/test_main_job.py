"""The main job on one machine, by the command line: submit, status, show, report; and what must not go wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from cli import Cli

EXPERIMENT = """\
model: some/model
engine: vllm
axes:
  eager: [yes, no]
  len: [1k, 8k]
baseline: {eager: yes, len: 8k}
workloads:
  short: {dataset: {kind: samples, path: short.json}, max_tokens: 16}
  long: {dataset: {kind: samples, path: long.json}, max_tokens: 16}
resources: {gpus: 0, walltime: 1h}
budgets: {startup: 30m, stall: 3m, request: 5m, walltime_margin: 10s}
simulated: {profile: rehearsal.yaml, time_scale: 100}
"""

REHEARSAL = """\
startup: {launch: 1, engine_init: 2, load_weights: 60, profile: 1, kv_cache: 1, warmup: 1}
speed: {decode_tps: 50}
rules:
  - when: {eager: no}
    startup: {compile: 600}
    faults:
      - {kind: stall, phase: compile}
"""


@pytest.fixture
def cli(tmp_path):
    words = "the quick brown fox jumps over the lazy dog " * 400
    short = [{"id": f"s{i}", "prompt": words[: 40 * (i + 1)], "prompt_tokens": 8 * (i + 1)} for i in range(2)]
    (tmp_path / "short.json").write_text(json.dumps(short))
    (tmp_path / "long.json").write_text(json.dumps([{"id": "l1", "prompt": words, "prompt_tokens": 3600}]))
    (tmp_path / "small.yaml").write_text(EXPERIMENT)
    (tmp_path / "rehearsal.yaml").write_text(REHEARSAL)
    yield Cli(tmp_path)
    for process in psutil.process_iter(["cwd", "cmdline"]):
        if str(tmp_path) in " ".join(process.info["cmdline"] or []):
            process.kill()


def left_over(folder: Path) -> list[str]:
    """Processes that still have to do with a folder, by command line or environment."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            words = " ".join(process.info["cmdline"] or [])
            if str(folder) in words or str(folder) in process.environ().get("HPCSWEEP_JOB_DIR", ""):
                found.append(words)
        except psutil.Error:
            continue
    return found


def until(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError("it did not happen in time")


def test_submit_wait_status_report(cli):
    done = cli.run("submit", "small.yaml", "--cluster", "local", "--wait")
    assert "SIMULATED" in done.stdout and "2 completed" in done.stdout
    runs = cli.runs()
    assert {label: run["outcome"] for label, run in runs.items()} == {
        "eager-yes_len-1k": "completed",
        "eager-yes_len-8k": "completed",
        "eager-no_len-1k": "stalled",
        "eager-no_len-8k": "stalled",
    }
    assert all(run["simulated"] for run in runs.values())
    assert runs["eager-yes_len-8k"]["samples_done"] == runs["eager-yes_len-8k"]["samples_total"] == 3
    assert runs["eager-no_len-8k"]["phase"] == "compile"
    report = cli.run("report", "--format", "markdown").stdout
    assert "SIMULATED" in report and "n/a: does not fit" in report and "stalled" in report
    shown = cli.run("show", "eager-no_len-8k").stdout
    assert "compile" in shown and "stall" in shown
    assert not left_over(cli.folder)


def test_a_run_can_be_repeated_by_hand(cli):
    cli.run("submit", "small.yaml", "--set", "eager=yes", "--set", "len=1k", "--wait")
    job_dir = cli.home / "sweeps" / "small-0001" / "jobs" / "0"
    subprocess.run(["bash", "job.sh"], cwd=job_dir, check=True, capture_output=True, timeout=60)
    attempts = sorted(p.name for p in (cli.home / "sweeps/small-0001/runs/eager-yes_len-1k").glob("attempt-*"))
    assert attempts == ["attempt-1", "attempt-2"]


def test_dry_run_writes_nothing(cli):
    done = cli.run("submit", "small.yaml", "--dry-run")
    assert "#!/bin/bash" in done.stdout and "does not fit" in done.stdout and "GPU-hours" in done.stdout
    plan = cli.json("submit", "small.yaml", "--dry-run")
    assert len(plan["runs"]) == 4
    assert not (cli.home / "sweeps").exists()


BAD = [  # (arguments, exit code, what is said)
    pytest.param(("submit", "smal"), 1, "unknown experiment 'smal'", id="experiment"),
    pytest.param(("submit", "nosuch.yaml"), 1, "experiment file not found: nosuch.yaml", id="file"),
    pytest.param(("submit", "small.yaml", "--cluster", "h200"), 1, "unknown cluster 'h200'", id="cluster"),
    pytest.param(("submit", "small.yaml", "--grid", "eagre"), 1, "did you mean 'eager'", id="axis"),
    pytest.param(("submit", "small.yaml", "--levels", "len=8q"), 1, "'8q'", id="level"),
    pytest.param(("submit", "small.yaml", "--levels", "len"), 2, "expected AXIS=LEVEL", id="no equals sign"),
    pytest.param(("submit", "small.yaml", "--repeats", "0"), 2, "0 is not in the range", id="repeats"),
    pytest.param(("submit", "small.yaml", "--grid", ","), 2, "no axis given", id="empty grid"),
    pytest.param(
        ("submit", "small.yaml", "--template-dir", "nosuch"),
        1,
        "--template-dir nosuch: folder not found",
        id="templates",
    ),
    pytest.param(("stats",), 2, "did you mean 'status'", id="command"),
    pytest.param(("status", "nosuch-0001"), 1, "no sweep", id="sweep"),
    pytest.param(("report",), 1, "no sweep", id="nothing to report"),
    pytest.param(("cancel",), 1, "no sweep", id="nothing to cancel"),
]


@pytest.mark.parametrize(("args", "code", "said"), BAD)
def test_bad_input_is_a_short_error_and_leaves_nothing(cli, args, code, said):
    done = cli.run(*args, code=code)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 6
    assert not list((cli.home / "sweeps").glob("*")) if (cli.home / "sweeps").exists() else True


def test_a_damaged_data_file_is_found_before_anything_is_made(cli):
    (cli.folder / "short.json").write_text('[{"id": "s0", "prompt": ')
    done = cli.run("submit", "small.yaml", code=1)
    assert "short.json" in done.stderr
    assert not (cli.home / "sweeps").exists() or not list((cli.home / "sweeps").iterdir())


def test_two_submitters_get_two_sweeps(cli):
    both = [cli.start("submit", "small.yaml", "--set", "eager=yes", "--set", "len=1k") for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    for process in both:
        process.communicate()
    sweeps = until(
        lambda: (
            [s for s in cli.json("status")["sweeps"] if all(run["state"] == "finished" for run in s["runs"])].__len__()
            == 2
            and cli.json("status")["sweeps"]
        )
    )
    assert sorted(sweep["name"] for sweep in sweeps) == ["small-0001", "small-0002"]
    assert {run["outcome"] for sweep in sweeps for run in sweep["runs"]} == {"completed"}


def test_cancel_ends_everything_and_retry_finishes_it(cli):
    slow = REHEARSAL.replace("load_weights: 60", "load_weights: 200")  # a busy machine takes seconds to say `cancel`
    (cli.folder / "rehearsal.yaml").write_text(slow)
    cli.run("submit", "small.yaml", "--max-parallel", "1")
    until(lambda: any(run["state"] == "running" for run in cli.runs().values()))
    cli.run("cancel")
    runs = until(lambda: (r := cli.runs()) and all(run["state"] == "finished" for run in r.values()) and r)
    assert {run["outcome"] for run in runs.values()} <= {"cancelled", "completed", "stalled"}
    assert any(run["outcome"] == "cancelled" for run in runs.values())
    until(lambda: not left_over(cli.folder))
    cli.run("retry", "--wait", "--outcome", "cancelled")
    assert {run["outcome"] for run in cli.runs().values()} == {"completed", "stalled"}


def test_retry_with_more_walltime_and_a_mended_profile(cli):
    """What a retry asks for is that of one run, whatever was packed; the profile counts as it is when it is named."""
    profiles = cli.folder / "hpcsweep.yaml"
    profiles.write_text("clusters:\n  mine: {simulate: always, setup: [exit 3]}\n")
    cli.run("submit", "small.yaml", "--set", "eager=yes", "--cluster", "mine", "--runs-per-job", "2")
    until(lambda: all(run["state"] == "finished" for run in cli.runs().values()))
    assert {run["outcome"] for run in cli.runs().values()} == {"not_run"}
    profiles.write_text("clusters:\n  mine: {simulate: always, setup: [echo hello]}\n  other: {scheduler: slurm}\n")
    for wrong, code, words in (
        (("--walltime", "soon"), 2, "is not a duration"),
        (("--walltime", "0"), 2, "duration must be positive"),
        (("--cluster", "mien"), 1, "unknown cluster 'mien'"),
        (("--cluster", "other"), 1, "submitted to local on this machine; the cluster profile other is for slurm"),
    ):
        assert words in cli.run("retry", *wrong, code=code).stderr
    assert len(list((cli.home / "sweeps/small-0001/jobs").iterdir())) == 1
    cli.run("retry", "--wait", "--cluster", "mine")
    assert {run["outcome"] for run in cli.runs().values()} == {"completed"}
    cli.run("retry", "--wait", "--cluster", "mine", "--walltime", "2h", "--outcome", "completed")
    jobs = [json.loads((cli.home / f"sweeps/small-0001/jobs/{n}/job.json").read_text()) for n in (0, 1, 2)]
    assert [job["resources"]["walltime_s"] for job in jobs] == [2 * 3600, 3600, 2 * 3600]


def test_a_submitter_that_was_killed_in_time_leaves_a_sweep_that_is_shown_and_cancelled(cli):
    slow = REHEARSAL.replace("load_weights: 60", "load_weights: 200")
    (cli.folder / "rehearsal.yaml").write_text(slow)
    cli.run("submit", "small.yaml", "--max-parallel", "1")
    (path,) = cli.folder.rglob("submission.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"job_id": None}))  # as it stands before the answer
    runs = cli.runs()
    assert all(run["job"] and run["state"] not in ("planned", "unknown") for run in runs.values()), runs
    cli.run("cancel")
    runs = until(lambda: (r := cli.runs()) and all(run["state"] == "finished" for run in r.values()) and r)
    assert "cancelled" in {run["outcome"] for run in runs.values()}


def test_one_run_can_be_cancelled_while_it_waits(cli):
    cli.run("submit", "small.yaml", "--max-parallel", "1")
    cli.run("cancel", "eager-no_len-8k")
    runs = until(lambda: (r := cli.runs()) and r["eager-no_len-8k"]["state"] == "finished" and r)
    assert runs["eager-no_len-8k"]["outcome"] == "cancelled"
    cli.run("cancel")


def test_a_killed_agent_is_told_and_leaves_no_server(cli):
    cli.run("submit", "small.yaml", "--set", "eager=no", "--set", "len=1k")
    sweep = cli.home / "sweeps" / "small-0001"
    until(lambda: (sweep / "runs/eager-no_len-1k/attempt-1/server.log").exists())
    state = json.loads((sweep / "dispatcher/state.json").read_text())
    os.kill(state["tasks"]["0_0"]["pid"], signal.SIGKILL)
    runs = until(lambda: (r := cli.runs()) and r["eager-no_len-1k"]["state"] == "finished" and r)
    assert runs["eager-no_len-1k"]["outcome"] == "lost"
    until(lambda: not left_over(cli.folder))


def test_a_killed_dispatcher_is_told_and_retry_goes_on(cli):
    slower = (cli.folder / "small.yaml").read_text().replace("time_scale: 100", "time_scale: 10")
    (cli.folder / "small.yaml").write_text(slower)  # else the first element may have ended before it is looked at
    cli.run("submit", "small.yaml", "--set", "eager=yes", "--max-parallel", "1")
    sweep = cli.home / "sweeps" / "small-0001"
    until(lambda: json.loads((sweep / "dispatcher/state.json").read_text())["tasks"]["0_0"]["state"] == "running")
    os.kill(json.loads((sweep / "dispatcher/state.json").read_text())["pid"], signal.SIGKILL)
    runs = until(lambda: (r := cli.runs()) and all(run["state"] == "finished" for run in r.values()) and r)
    assert runs["eager-yes_len-1k"]["outcome"] == "completed"  # the element goes on without its dispatcher
    assert runs["eager-yes_len-8k"]["outcome"] == "not_run"
    cli.run("retry", "--wait")
    assert {run["outcome"] for run in cli.runs().values()} == {"completed"}


def test_ctrl_c_during_wait_leaves_the_sweep_running(cli):
    slower = (cli.folder / "small.yaml").read_text().replace("time_scale: 100", "time_scale: 10")
    (cli.folder / "small.yaml").write_text(slower)  # else all may have ended before the signal comes
    process = cli.start("submit", "small.yaml", "--set", "eager=yes", "--wait", start_new_session=True)
    while "running" not in (line := process.stdout.readline()):  # from then on it watches
        assert line, process.stderr.read()
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stdout + stderr
    assert "small-0001 continues" in stdout and "Traceback" not in stderr
    runs = until(lambda: (r := cli.runs()) and all(run["state"] == "finished" for run in r.values()) and r)
    assert {run["outcome"] for run in runs.values()} == {"completed"}


def test_a_refused_variant_stands_in_the_report_and_is_not_submitted(cli):
    text = (cli.folder / "small.yaml").read_text().replace("gpus: 0", "gpus: 2").replace("axes:", "axes:\n  tp: [2, 4]")
    (cli.folder / "small.yaml").write_text(text)
    cli.run("submit", "small.yaml", "--set", "eager=yes", "--set", "len=1k", "--wait")
    runs = cli.runs()
    assert runs["tp-4_eager-yes_len-1k"]["outcome"] == "unsupported"
    assert runs["tp-2_eager-yes_len-1k"]["outcome"] == "completed"
    assert "4" in cli.run("report", "--format", "markdown").stdout


def test_a_script_of_your_own_is_submitted_once_per_run(cli):
    script = cli.folder / "exp_runner.sh"
    script.write_text(
        "#!/bin/bash\n"
        'source "$HPCSWEEP_JOB_DIR/tasks/$HPCSWEEP_ARRAY_INDEX.env"\n'
        'echo "mine: $EXP_NAME eager=$ENFORCE_EAGER len=$MAX_MODEL_LEN"\n'
        f"exec {sys.executable} -m hpcsweep.node.agent\n"
    )
    done = cli.run("submit", "small.yaml", "--set", "eager=yes", "--script", "exp_runner.sh", "--wait")
    assert "2 array tasks in 2 submissions" in done.stdout and "2 completed" in done.stdout
    folder = cli.home / "sweeps" / "small-0001" / "jobs"
    assert (folder / "1" / "job.sh").read_text() == script.read_text()  # it reads the values itself
    assert "mine: eager-yes_len-8k eager=yes len=8192" in (folder / "1" / "logs" / "0.log").read_text()
    script.write_text("#!/bin/bash\necho nothing\n")
    assert "hpcsweep-node" in cli.run("submit", "small.yaml", "--script", "exp_runner.sh", code=1).stderr

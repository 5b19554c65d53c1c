"""status, show and logs as a user runs them, over folders as submit and the agents leave them."""

import io
import json
import os
import resource
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from rich.console import Console
from sweep_folders import finish, make_sweep

from hpcsweep.cli.main import main
from hpcsweep.node.records import write_json
from hpcsweep.report.status.live import status_table
from hpcsweep.schedulers.base import JobState, JobStatus
from hpcsweep.schedulers.registry import log_index
from hpcsweep.store.ingest.sweeps import ingest_home
from hpcsweep.store.open import open_store
from hpcsweep.track.runs import read_runs
from hpcsweep.track.status import record_status

NAME = "exp_runner-0001"
STABLE_RUN_KEYS = {
    *("run", "axes", "repeat", "attempt", "job", "node", "state", "phase", "outcome", "simulated"),
    *("samples_done", "samples_total"),
}


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def sweep(home):
    made = make_sweep(home, scheduler="local")
    finish(made, samples=3)
    return made


@pytest.fixture
def run(home):
    def invoke(*args, code=0):
        result = CliRunner().invoke(main, ["--home", str(home), *args], env={"COLUMNS": "200", "HPCSWEEP_STORE": ""})
        assert result.exit_code == code, result.output
        return result

    return invoke


def _fail(sweep, label):
    lines = sweep.lines(label).started(simulated=True, time_scale=100.0)
    lines.add("phase_entered", 0.0, phase="launch")
    lines.add("phase_entered", 5.0, phase="compile", budget_s=1200.0, evidence="[bold]Start[/] compiling")
    lines.add("warning", 6.0, message="odd", detail="[red]very[/]")
    lines.ended(
        "stalled",
        700.0,
        phase="compile",
        reason="no sign of life for 10m",
        cause="rank_stuck",
        decided_by="budget stall",
        evidence=["last [line]", "with \x1b[31mcolour"],
        hint="look into diagnostics/",
        killed=["vllm (4712)"],
    )
    sweep.write(label, lines, end="stalled")


def test_status_json_has_the_promised_keys(run, sweep):
    _fail(sweep, sweep.labels[1])
    (told,) = json.loads(run("status", "--json").stdout)["sweeps"]
    assert (told["name"], told["experiment"]) == (NAME, "exp_runner")
    assert [r["run"] for r in told["runs"]] == list(sweep.labels)
    assert all(r.keys() >= STABLE_RUN_KEYS for r in told["runs"])
    first, second = told["runs"][:2]
    assert first["axes"] == {"ep": "on", "eager": "yes"}
    assert (first["state"], first["outcome"], first["simulated"]) == ("finished", "completed", False)
    assert (first["attempt"], first["job"], first["node"]) == (1, "12_0", "gpu01")
    assert (first["samples_done"], first["samples_total"]) == (3, 3)
    assert (second["outcome"], second["phase"], second["simulated"]) == ("stalled", "compile", True)
    assert (first["cause"], second["cause"]) == (None, "rank_stuck")
    assert told["not_run"] == [{"title": "FP8 on one node", "axes": {}, "reason": "no FP8 checkpoint at hand"}]


def test_status_json_is_json_whatever_stands_on_the_error_stream(run, home, sweep):
    (home / "sweeps" / "broken-0001").mkdir()
    (home / "sweeps" / "broken-0001" / "sweep.json").write_text("{")
    result = run("status", "--json")
    assert [s["name"] for s in json.loads(result.stdout)["sweeps"]] == [NAME]
    assert "broken-0001" in result.stderr


def test_status_of_an_empty_home(run, home):
    assert json.loads(run("status", "--json").stdout) == {"sweeps": []}
    assert "no sweeps in" in run("status").stdout
    assert not home.exists()


def test_status_of_an_unknown_sweep_names_the_known_ones(run, sweep):
    assert f"did you mean '{NAME}'" in run("status", "exp_runner-001", code=1).stderr
    assert "cannot be combined" in run("status", "--json", "--watch", code=2).stderr


def test_the_table_shows_every_run_and_marks_the_simulated_ones(run, sweep):
    _fail(sweep, sweep.labels[1])
    text = run("status").stdout
    for label in sweep.labels:
        assert label in text
    (stalled,) = [line for line in text.splitlines() if "stalled" in line and "│" in line]
    assert "SIMULATED" in stalled
    assert text.count("SIMULATED") == 1
    assert "4 runs: 3 completed, 1 stalled; plus 1 variant documented as not run" in text
    assert "\x1b" not in text


def test_older_sweeps_that_ended_stand_in_a_line_each(run, home, sweep):
    later = make_sweep(home, "later-0001", submitted_at=1_800_000_000.0, scheduler="local")
    finish(later, samples=1)
    text = run("status").stdout
    assert f"{NAME} on h200: 4 runs: 4 completed" in text
    assert text.index(NAME) < text.index("later-0001")


def test_watching_ends_when_all_runs_have(run, sweep):
    lines = run("status", "--watch").stdout.splitlines()
    assert lines == [f"{label}  completed  3/3 samples" for label in sweep.labels]


def test_a_running_phase_shows_elapsed_and_budget(home):
    made = make_sweep(home)
    label = made.labels[0]
    lines = made.lines(label).started(time_scale=10.0)
    lines.add("phase_entered", 5.0, phase="compile", budget_s=1200.0).add("progress", 65.0, signs=["cpu"])
    made.write(label, lines)
    store = open_store(home / "x.db")
    ingest_home(store, home)
    with store.writing() as connection:
        record_status(connection, NAME, 0, 0, JobStatus("12", 0, JobState.RUNNING, "RUNNING"), 1.0)
        record_status(
            connection, NAME, 0, 1, JobStatus("12", 1, JobState.HELD, "JobHeldUser", reason="held by [user]"), 1.0
        )
    with store.reading() as connection:
        (status,) = read_runs(connection)
    last_at = status.runs[0].progress.last_at
    console = Console(width=200, file=io.StringIO())
    console.print(status_table(status, last_at + 6.0))
    text = console.file.getvalue()
    assert "compile 2m00s/20m00s" in text  # 65 - 5 s, and 6 s on a clock that runs 10 times faster
    assert "held: held by [user]" in text
    store.close()


def test_a_table_that_does_not_fit_shows_where_something_happens(home):
    made = make_sweep(home, axes={"seqs": [str(n) for n in range(40)]}, scheduler="local")
    for label in made.labels[:30]:
        lines = made.lines(label).started().startup().workload("8k", 1).ended()
        made.write(label, lines, end="completed")
    store = open_store(home / "x.db")
    ingest_home(store, home)
    with store.writing() as connection:
        record_status(
            connection, NAME, 0, 33, JobStatus("12", 33, JobState.PENDING, "PENDING", reason="[x] " * 60), 1.0
        )
    with store.reading() as connection:
        (status,) = read_runs(connection)
    console = Console(width=120, file=io.StringIO())
    console.print(status_table(status, rows=12))
    text = console.file.getvalue()
    assert len(text.splitlines()) <= 12 + 7
    assert "seqs-33 " in text
    assert "seqs-0 " in text
    assert "[x]" not in text
    assert "... and 29 more runs" in text
    assert "40 runs: 30 completed, 1 queued, 9 unknown" in text
    store.close()


def test_show_draws_the_timeline_and_tells_the_rest(run, sweep):
    text = run("show", "ep-on_eager-yes").stdout
    assert "Startup: ready after 4m10s" in text
    bars = [line for line in text.splitlines() if "█" in line or "#" in line]
    assert [line.split()[0] for line in bars] == [
        *("launch", "engine_init", "load_weights", "compile", "kv_cache", "warmup")
    ]
    assert "weights_bytes_per_gpu  82.6 GiB" in text
    assert "vllm serve zai-org/GLM-4.6 --port 8000" in text
    assert "VLLM_CACHE_ROOT='/cache/it'\"'\"'s here'" in text
    assert "Workload 8k: 3 of 3 samples" in text
    assert "first_of_server" in text
    assert "Workload 64k: n/a: does not fit" in text


def test_show_tells_why_a_run_failed(run, sweep):
    label = sweep.labels[1]
    _fail(sweep, label)
    text = run("show", f"{NAME}/{label}").stdout
    assert f"{NAME}/{label} SIMULATED" in text
    assert "not ready, on a clock 100 times faster" in text
    assert "stalled in compile: no sign of life for 10m" in text
    assert "decided by: budget stall" in text and "cause: rank_stuck" in text
    assert "last [line]" in text
    assert "[bold]Start[/] compiling" in text
    assert "warning: odd: [red]very[/]" in text
    assert "killed during teardown: vllm (4712)" in text
    assert "hint: look into diagnostics/" in text
    assert "\x1b" not in text


def test_show_limits_the_samples(run, sweep):
    text = run("show", sweep.labels[0], "--samples", "1").stdout
    assert "8k-0" in text
    assert "8k-1" not in text
    assert "2 more" in text


def test_show_json_has_all_samples_with_their_gaps(run, sweep):
    told = json.loads(run("show", sweep.labels[0], "--json").stdout)
    (attempt,) = told["attempts"]
    assert (told["outcome"], attempt["startup_s"]) == ("completed", 250.0)
    small, large = attempt["workloads"]
    assert [s["index"] for s in small["samples"]] == [0, 1, 2]
    assert small["samples"][0]["cached_tokens"] is None
    assert len(small["samples"][0]["itl_s"]) == 15
    assert (large["left_out"], large["samples"]) == ("does not fit", [])


def test_show_of_a_run_that_never_began_says_why(run, home):
    made = make_sweep(home, scheduler="local")
    write_json(made.folder.path / "runs" / made.labels[0] / "not_run.json", {"reason": "walltime: no time left"})
    text = run("show", made.labels[0]).stdout
    assert "not run: walltime: no time left" in text


BAD_NAMES = [
    pytest.param("ep-on", "prefix of 2 runs", id="two begin like this"),
    pytest.param("ep-on_eager-yess", "did you mean 'ep-on_eager-yes'", id="a slip"),
    pytest.param(f"{NAME}/nope", "has no run 'nope'", id="no such run"),
    pytest.param(NAME, "is a sweep; name one of its runs", id="a sweep"),
    pytest.param("", "prefix of 4 runs", id="nothing"),
]


@pytest.mark.parametrize("command", ["show", "logs"])
@pytest.mark.parametrize(("name", "says"), BAD_NAMES)
def test_a_name_that_means_no_single_run(run, sweep, command, name, says):
    assert says in run(command, name, code=1).stderr


def test_a_unique_beginning_is_enough(run, sweep):
    assert f"{NAME}/ep-off_eager-no" in run("show", "ep-off_eager-n").stdout


def test_logs_come_byte_for_byte_when_asked(run, sweep):
    folder = sweep.attempt_dir(sweep.labels[0])
    server = b"first\n\x1b[31mred\x1b[0m \xff\n" + b"third, without an end"
    (folder / "server.log").write_bytes(server)
    (folder / "client.log").write_bytes(b"the client\n")
    assert run("logs", "--raw", sweep.labels[0]).stdout_bytes == server
    assert run("logs", "--raw", sweep.labels[0], "--client").stdout_bytes == b"the client\n"
    assert run("logs", "--raw", sweep.labels[0], "-n", "1").stdout_bytes == b"third, without an end"
    assert run("logs", "--raw", sweep.labels[0], "-n", "2").stdout_bytes == server[len(b"first\n") :]
    assert run("logs", "--raw", sweep.labels[0], "-n", "0").stdout_bytes == b""
    assert run("logs", "--raw", sweep.labels[0], "-n", "99", "-f").stdout_bytes == server
    shown = run("logs", sweep.labels[0]).stdout_bytes
    assert shown == "first\nred \ufffd\nthird, without an end".encode(), "without what would steer a terminal"


def test_logs_that_are_not_there_say_what_is(run, sweep):
    label = sweep.labels[0]
    (sweep.attempt_dir(label) / "server.log").write_bytes(b"x\n")
    assert "attempt 1 has server.log" in run("logs", label, "--client", code=1).stderr
    assert "has no attempt 7" in run("logs", label, "--attempt", "7", code=1).stderr
    assert "left no log" in run("logs", sweep.labels[1], code=1).stderr


def test_logs_of_the_job_are_those_of_the_element(run, sweep):
    logs = sweep.folder.job_dir(0) / "logs"
    logs.mkdir()
    for index in range(4):
        (logs / f"{index}.log").write_text(f"element {index}\n")
    assert run("logs", sweep.labels[2], "--job").stdout == "element 2\n"


@pytest.mark.parametrize(
    ("name", "index"),
    [("3.log", 3), ("12[7].pbs01.OU", 7), ("12.pbs01.OU", None), ("notes.txt", None), ("12[].x", None)],
)
def test_the_index_in_the_name_of_a_job_output(name, index):
    assert log_index(name) == index


def test_following_a_log_waits_for_it_and_ends_with_the_attempt(home):
    made = make_sweep(home, scheduler="local")
    label = made.labels[0]
    argv = [sys.executable, "-m", "hpcsweep.cli.main", "--home", str(home), "logs", label, "-f"]
    follower = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert follower.stderr is not None and follower.stdout is not None
    while b"waiting for the server log" not in (line := follower.stderr.readline()):
        assert line, "it ended before it waited"
    folder = made.write(label, made.lines(label).started())
    log = folder / "server.log"
    log.write_bytes(b"one\n")
    assert follower.stdout.readline() == b"one\n"
    with log.open("ab") as file:
        file.write(b"two\n")
        file.flush()
    assert follower.stdout.readline() == b"two\n"
    assert follower.poll() is None
    with log.open("ab") as file:
        file.write(b"the end")
    write_json(folder / "exit.json", {"outcome": "completed"})
    rest, _ = follower.communicate(timeout=30)
    assert rest == b"the end"
    assert follower.returncode == 0


def test_following_stops_at_ctrl_c(home, sweep):
    label = sweep.labels[0]
    (sweep.attempt_dir(label) / "exit.json").unlink()
    (sweep.attempt_dir(label) / "server.log").write_bytes(b"one\n")
    argv = [sys.executable, "-m", "hpcsweep.cli.main", "--home", str(home), "logs", label, "-f"]
    follower = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert follower.stdout is not None
    assert follower.stdout.readline() == b"one\n"
    time.sleep(0.2)
    follower.send_signal(2)
    _, errors = follower.communicate(timeout=30)
    assert (follower.returncode, b"Traceback" in errors) == (130, False)


def test_a_store_that_cannot_be_written_still_tells_the_status(home, sweep, run, monkeypatch):
    run("status")
    monkeypatch.setattr(os, "access", lambda *_: False)
    result = run("status")
    assert "hpcsweep.db is not writable: showing the data that it has" in result.stderr
    assert "4 runs: 4 completed" in result.stdout


@pytest.mark.parametrize("there", ["no store", "an old store", "a store that knows this sweep"])
def test_on_a_full_disk_the_status_tells_what_the_run_folders_say(home, sweep, run, there):
    if there != "no store":
        run("status")
    if there == "an old store":
        finish(make_sweep(home, name="later-0001", scheduler="local"), samples=3)

    def write_nothing_large():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    argv = [sys.executable, "-m", "hpcsweep.cli.main", "--home", str(home), "status", "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, preexec_fn=write_nothing_large)
    assert done.returncode == 0, done.stderr
    sweeps = json.loads(done.stdout)["sweeps"]
    assert len(sweeps) == (2 if there == "an old store" else 1)
    assert all(one["outcome"] == "completed" and one["samples_done"] == 3 for s in sweeps for one in s["runs"])
    if there != "a store that knows this sweep":
        assert "into memory only" in done.stderr
    assert json.loads(run("status", "--json").stdout)["sweeps"][0]["runs"]  # once there is room again


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"runs": 3, "profile": {}}', '{"runs": [3], "profile": {}}', '{"runs": []}']
)
def test_a_damaged_sweep_is_told_in_a_line_and_the_others_are_shown(run, home, sweep, text):
    finish(make_sweep(home, name="later-0001", scheduler="local"), samples=3)
    (sweep.folder.path / "sweep.json").write_text(text)
    status = run("status")
    assert "later-0001" in status.stdout and status.stderr.count("warning: ") == 1
    assert str(sweep.folder.path / "sweep.json") in status.stderr
    for command in (("show",), ("logs",), ("cancel",), ("retry",)):
        told = run(*command, f"{NAME}/ep-on_eager-yes", code=1)
        assert f"{sweep.folder.path / 'sweep.json'} " in told.stderr and told.exception.__class__ is SystemExit

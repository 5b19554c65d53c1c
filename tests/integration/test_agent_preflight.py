"""What the agent finds out before it starts a real engine: a stand-in executable with vLLM's command line."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from agent_job import Job

from hpcsweep.spec.job import ArrayTask
from hpcsweep.spec.server import EngineSettings, ServerConfig

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
STAND_IN = """#!{python}
import os, sys
with open({calls!r}, "a") as calls:
    print(" ".join(sys.argv[1:]), file=calls)
if sys.argv[1:] == ["--version"]:
    print("INFO 11-21 01:19:00 [importing.py:68] Triton is not installed")
    print("0.32.0")
elif sys.argv[1:] == ["serve", "--help=all"]:
    print("--uds PATH --served-model-name NAME --max-model-len N --enforce-eager, --no-enforce-eager")
    print("--revision R --enable-expert-parallel, --no-enable-expert-parallel")
else:
    given = sys.argv[3:]
    wanted = [sys.executable, "-m", "hpcsweep.simulator", "--model", sys.argv[2], "--profile", {profile!r}]
    for flag in ("--uds", "--served-model-name"):
        wanted += [flag, given[given.index(flag) + 1]]
    os.execv(sys.executable, wanted)
"""


class Engine:
    """A `vllm` on PATH that plays the simulated engine as if it were a real one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bin" / "vllm"
        self.path.parent.mkdir()
        self._calls = folder / "calls"
        profile = folder / "quick.yaml"
        short = ["launch", "engine_init", "load_weights", "profile", "kv_cache", "warmup"]
        profile.write_text(json.dumps({"startup": dict.fromkeys(short, 0.05)}))
        self.path.write_text(STAND_IN.format(python=sys.executable, calls=str(self._calls), profile=str(profile)))
        self.path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []

    def on_path(self) -> dict[str, str]:
        return {"PATH": f"{self.path.parent}:{os.environ['PATH']}"}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


def _server(**more: object) -> ServerConfig:
    return ServerConfig(**{"engine": "vllm", "model": "some/model", **more})


def test_a_real_engine_is_not_called_simulated(job: Job, engine: Engine):
    job.write(job.run_spec(server=_server(settings=EngineSettings(enforce_eager=True)), simulation=None))
    code, err = job.execute(engine.on_path())
    assert (code, job.ended()["outcome"]) == (0, "completed"), err
    (started,) = job.of_kind("attempt_started")
    assert (started.simulated, started.time_scale) == (False, 1.0)
    assert started.versions["vllm"] == "0.32.0"
    assert not any("key" in word.lower() for word in started.argv)
    assert started.argv[:3] == [str(engine.path), "serve", "some/model"]


def test_version_and_help_are_asked_once(job: Job, engine: Engine):
    bad = _server(flags={"--no-such-flag": 1})
    job.write(job.run_spec("one", server=bad, simulation=None), job.run_spec("two", server=bad, simulation=None))
    job.execute(engine.on_path())
    assert sorted(engine.calls) == ["--version", "serve --help=all"]


REFUSED = {
    "unknown flag": (
        _server(flags={"--max-model-length": 8}),
        "bad_arguments",
        "unknown_flag",
        "--max-model-length",
        "--max-model-len",
    ),
    "removed flag": (_server(flags={"--swap-space": 4}), "bad_arguments", "unknown_flag", "--swap-space", ""),
    "another version": (_server(engine_version=">=0.11,<0.12"), "unsupported", "engine_version", "0.32.0", "engines:"),
    "model path": (_server(model="/nowhere/model"), "model_not_found", "model_path", "/nowhere/model", "mount"),
    "a flag that is ours": (_server(flags={"--port": 80}), "unsupported", "", "--port", ""),
}


@pytest.mark.parametrize(("server", "outcome", "kind", "reason", "hint"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_before_the_start(
    job: Job, engine: Engine, server: ServerConfig, outcome: str, kind: str, reason: str, hint: str
):
    job.write(job.run_spec(server=server, simulation=None))
    code, err = job.execute(engine.on_path())
    ended = job.ended()
    assert (code, ended["outcome"]) == (0, outcome), err
    assert kind in ("", ended["code"])
    assert reason in ended["reason"]
    assert hint in ended["hint"]
    assert not any(call.startswith(("serve some", "serve /")) for call in engine.calls)
    assert job.events()[0].kind == "attempt_started"


def test_the_check_of_flags_can_be_switched_off(job: Job, engine: Engine):
    """A flag that an engine knows and hides from its help must not be in the way."""
    job.write(job.run_spec(server=_server(flags={"--hidden-flag": 1}), simulation=None))
    job.execute({**engine.on_path(), "HPCSWEEP_FLAG_CHECK": "off"})
    assert job.ended()["outcome"] == "completed"
    assert "flags_not_checked" in [event.code for event in job.of_kind("warning")]


def test_a_model_folder_without_config_is_reported(job: Job, engine: Engine, tmp_path: Path):
    (tmp_path / "model").mkdir()
    job.write(job.run_spec(server=_server(model=str(tmp_path / "model")), simulation=None))
    job.execute(engine.on_path())
    assert job.ended()["code"] == "model_path" and "config.json" in job.ended()["reason"]


def test_no_engine_on_this_node(job: Job):
    job.write(job.run_spec(simulation=None), engines={"vllm": "/opt/nothing/bin/vllm"})
    job.execute()
    ended = job.ended()
    assert (ended["outcome"], "/opt/nothing/bin/vllm" in ended["reason"]) == ("failed", True)
    assert ended["code"] == "engine_not_installed"
    assert job.events()[-1].kind == "attempt_ended"


@pytest.fixture
def sglang(tmp_path: Path) -> Path:
    """A program that takes SGLang's arguments and never listens: it only notes the port that it was given."""
    path = tmp_path / "sglang"
    path.write_text(
        f"#!{sys.executable}\nimport subprocess, sys, time\n"
        "if sys.argv[1:] == ['version']:\n    print('sglang version: 0.5.23')\n"
        "elif '--help' in sys.argv:\n    sys.exit(1)\n"
        f"else:\n    open({str(tmp_path / 'port')!r}, 'w').write(sys.argv[sys.argv.index('--port') + 1])\n"
        "    time.sleep(600)\n"
    )
    path.chmod(0o755)
    return path


def test_the_port_asked_for_is_taken(job: Job, sglang: Path):
    """Of an engine that cannot listen on a Unix socket."""
    job.write(job.run_spec(server=_server(engine="sglang"), simulation=None), engines={"sglang": str(sglang)})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        job.execute({"HPCSWEEP_SERVER_PORT": str(taken.getsockname()[1])})
    assert job.ended()["outcome"] == "port_in_use"


def test_a_server_that_cannot_bind_its_port_and_hangs_is_ended_at_once(job: Job, tmp_path: Path):
    """As SGLang does: it has started completely, cannot listen, and waits for up to a minute before it exits."""
    recorded = TRANSCRIPTS / "engines" / "sglang-0.5.23-cpu" / "fail-port-taken-2.log"
    path = tmp_path / "sglang"
    path.write_text(
        f"#!{sys.executable}\nimport sys, time\n"
        "if sys.argv[1:] == ['version']:\n    print('sglang version: 0.5.23')\n"
        "elif '--help' in sys.argv:\n    sys.exit(1)\n"
        f"else:\n    for line in open({str(recorded)!r}):\n        print(line, end='', flush=True)\n"
        "        if 'Waiting for application shutdown' in line:\n            time.sleep(600)\n"
    )
    path.chmod(0o755)
    run = job.run_spec(server=_server(engine="sglang"), simulation=None, budgets={"startup": 300, "stall": 2})
    job.write(run, engines={"sglang": str(path)})
    begun_s = time.monotonic()
    job.execute()
    ended = job.ended()
    assert (ended["outcome"], ended["code"]) == ("port_in_use", "port-taken-while-serving"), ended
    assert "[Errno 98] error while attempting to bind" in ended["reason"] and "does not exit" in ended["reason"]
    assert time.monotonic() - begun_s < 60, "long before the startup budget"


def test_another_server_on_the_port_is_never_taken_for_ours(job: Job, engine: Engine, sglang: Path, tmp_path: Path):
    """The trap of a readiness probe that only asks /health: ours sleeps, a stranger answers."""
    run = job.run_spec(server=_server(engine="sglang"), simulation=None, budgets={"startup": 6, "stall": 300})
    job.write(run, engines={"sglang": str(sglang)})
    agent = job.start(engine.on_path())
    deadline_s = time.monotonic() + 30
    while not (tmp_path / "port").exists() or not (tmp_path / "port").read_text():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    profile, port = str(tmp_path / "quick.yaml"), (tmp_path / "port").read_text()
    stranger = subprocess.Popen(
        [sys.executable, "-m", "hpcsweep.simulator", "--model", "some/model", "--profile", profile, "--port", port]
    )
    try:
        agent.communicate(timeout=60)
    finally:
        stranger.kill()
        stranger.wait()
    assert job.ended()["outcome"] == "startup_timeout"
    assert any("not ours" in line for line in job.ended()["evidence"])


def test_a_healthy_server_that_ignores_the_key_is_not_called_stalled(job: Job, engine: Engine):
    """A container that drops VLLM_API_KEY: /health answers 200, and every key is accepted."""
    text = engine.path.read_text()
    engine.path.write_text(text.replace("import os, sys\n", "import os, sys\nos.environ.pop('VLLM_API_KEY', None)\n"))
    job.write(job.run_spec(simulation=None, budgets={"startup": 9, "stall": 3}))
    job.execute(engine.on_path())
    ended = job.ended()
    assert ended["outcome"] == "startup_timeout"
    assert "/v1/models returned 200 for a wrong key" in ended["reason"]
    assert "container" in ended["hint"]
    (fact,) = [event for event in job.of_kind("fact") if event.name == "readiness_problem"]
    assert "wrong key" in fact.value
    assert any("answer" in event.signs for event in job.of_kind("progress"))


def test_a_server_that_takes_a_request_and_never_answers_is_stalled(job: Job, engine: Engine, tmp_path: Path):
    """Its front end is healthy, its engine is stuck: the token of the readiness check never comes."""
    profile = json.loads((tmp_path / "quick.yaml").read_text())
    profile["faults"] = [{"kind": "hang", "probes": True, "after_tokens": 0}]
    (tmp_path / "quick.yaml").write_text(json.dumps(profile))
    job.write(job.run_spec(simulation=None, budgets={"startup": 40, "stall": 4, "request": 30}))
    job.execute(engine.on_path())
    assert job.ended()["outcome"] == "stalled", job.ended()


@pytest.mark.parametrize("guarded", [True, False], ids=["agent killed", "agent and guardian killed"])
def test_workers_without_any_mark_are_gone_too(job: Job, engine: Engine, tmp_path: Path, guarded: bool):
    """As vLLM's: titles in place of their environment, deaf to the parent's death, in the parent's session."""
    text = engine.path.read_text()
    worker = "    pid = os.spawnve(os.P_NOWAIT, '/bin/sleep', ['w', '500'], {})\n"
    worker += f"    open({str(tmp_path / 'worker')!r}, 'w').write(str(pid))\n"
    engine.path.write_text(text.replace("else:\n", "else:\n" + worker))
    job.write(job.run_spec(simulation=None, workloads=[job.workload(requests=5000)]))
    agent = job.start(engine.on_path())
    job.wait_for_event("sample")
    (pid,) = [int((tmp_path / "worker").read_text())]
    assert Path(f"/proc/{pid}").exists()
    if not guarded:
        rows = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(agent.pid)], capture_output=True, text=True)
        guardian = next(row.split()[0] for row in rows.stdout.splitlines() if "hpcsweep.node.guardian" in row)
        os.kill(int(guardian), 9)
    agent.kill()
    agent.communicate()
    if not guarded:
        assert Path(f"/proc/{pid}").exists()
        job.write(job.run_spec())
        assert job.execute()[0] == 0
        assert job.ended()["outcome"] == "lost"
    deadline_s = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_the_job_that_cannot_be_read(tmp_path: Path):
    answer = subprocess.run(
        [sys.executable, "-m", "hpcsweep.node.agent", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 1
    assert "job.json cannot be read" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_element_that_does_not_exist(job: Job):
    job.write(elements=[ArrayTask(index=4, runs=[job.run_spec()]), ArrayTask(index=7, runs=[])])
    code, err = job.execute({"SLURM_ARRAY_TASK_ID": "5"})
    assert (code, "4, 7" in err) == (1, True)
    code, err = job.execute()
    assert (code, "no index was given" in err) == (1, True)


def test_a_run_folder_that_cannot_be_written(job: Job):
    job.write(job.run_spec())
    (job.sweep_dir / "runs").write_text("a file where the folder of the runs should be")
    code, err = job.execute()
    assert (code, "is not writable" in err, "Traceback" in err) == (1, True, False)
    assert json.loads((job.job_dir / "tasks/0.exit.json").read_text())["exit_code"] == 1


def test_the_agent_imports_nothing_of_the_login_side():
    heavy = ["sqlalchemy", "alembic", "paramiko", "submitit", "jinja2", "click", "rich", "numpy"]
    layers = ["hpcsweep.store", "hpcsweep.submit", "hpcsweep.report", "hpcsweep.cli", "hpcsweep.hosts"]
    code = (
        "import sys\n"
        f"for name in {heavy}: sys.modules[name] = None\n"
        "import hpcsweep.node.agent, hpcsweep.node.guardian, hpcsweep.load.worker\n"
        f"assert not [m for m in sys.modules for l in {layers} if m == l or m.startswith(l + '.')]\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr


def test_engine_setup_makes_the_engine_known(job: Job, engine: Engine):
    setup = ["echo noise", f"export PATH={engine.path.parent}:$PATH"]
    job.write(job.run_spec(server=_server(), simulation=None), engine_setup=setup)
    code, err = job.execute()
    assert (code, job.ended()["outcome"]) == (0, "completed"), err
    assert job.of_kind("attempt_started")[0].versions["vllm"] == "0.32.0"


def test_engine_setup_that_fails_is_the_reason(job: Job, engine: Engine):
    job.write(job.run_spec(server=_server(), simulation=None), engine_setup=["module-of-nowhere load vllm"])
    job.execute(engine.on_path())
    ended = job.ended()
    assert (ended["outcome"], ended["code"]) == ("failed", "engine_setup_failed")
    assert "module-of-nowhere" in ended["reason"]


def test_cache_folders_of_the_profile_are_used_and_noted(job: Job, engine: Engine, tmp_path: Path):
    mine = tmp_path / "mine"
    (mine / "torch_compile_cache").mkdir(parents=True)
    (mine / "torch_compile_cache" / "a.so").touch()
    job.write(job.run_spec(server=_server(), simulation=None), profile_variables=["VLLM_CACHE_ROOT"])
    variables = {"VLLM_CACHE_ROOT": str(mine), "TRITON_CACHE_DIR": "/of/the/login/shell"}
    code, err = job.execute(engine.on_path() | variables)
    assert (code, job.ended()["outcome"]) == (0, "completed"), err
    (started,) = job.of_kind("attempt_started")
    assert "VLLM_CACHE_ROOT" not in started.env
    assert started.env["TRITON_CACHE_DIR"].startswith(str(job.cache_dir))
    (warning,) = [event for event in job.of_kind("warning") if event.code == "cache_folder_kept"]
    assert f"VLLM_CACHE_ROOT={mine}" in warning.message
    facts = {event.name: event.value for event in job.of_kind("fact")}
    assert facts["compile_cache_at_start"] == "warm"

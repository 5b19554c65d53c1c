"""Ray's part in a server on several nodes, with a stand-in for `ray`: the commands of each node, and their ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from agent_job import QUICK_START, Job

from hpcsweep.engines.base import LaunchContext, Placement
from hpcsweep.engines.registry import get_engine
from hpcsweep.spec.server import EngineSettings, ServerConfig

SERVER = ServerConfig(engine="vllm", model="some/model", settings=EngineSettings(tensor_parallel_size=2))
RAY = """#!/bin/sh
cd "$(dirname "$0")"
printf '%s\\n' "$*" >>calls
case $1 in
    status) [ -e up ] ;;
    start) [ ! -e broken ] || exit 3; touch "started-$$"; exec sleep 60 ;;
esac
"""
VLLM = '#!/bin/sh\ncd "$(dirname "$0")"\nprintf "%s\\n" "$RAY_ADDRESS" "$@" >served\nexec sleep 60\n'


class Part:
    """The command of one node, run as the agent does: in a session of its own."""

    def __init__(self, folder: Path, rank: int) -> None:
        self.folder = folder
        placement = Placement(2, rank, "10.0.0.1", 6379, f"10.0.0.{rank + 1}")
        socket_path = str(folder / "private" / "server")
        context = LaunchContext(str(folder / "vllm"), 0, "0.11.0", socket_path=socket_path, placement=placement)
        launch = get_engine("vllm").launch(SERVER, context)
        self.process = subprocess.Popen(
            launch.whole_argv, env={"PATH": os.environ["PATH"], **launch.env}, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def end(self) -> str:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        return self.process.communicate(timeout=60)[0]


def until(true: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("ray", RAY), ("vllm", VLLM)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[int], Part]]:
    parts: list[Part] = []

    def start_part(rank: int) -> Part:
        parts.append(Part(folder, rank))
        return parts[-1]

    yield start_part
    for part in parts:
        part.end()


def test_the_first_node_starts_ray_and_then_the_engine(start, folder):
    part = start(0)
    until(lambda: len(part.calls()) > 1)
    assert not (folder / "served").exists(), "the cluster cannot be reached yet"
    (folder / "up").touch()
    until((folder / "served").exists)
    starts = [call for call in part.calls() if call.startswith("start")]
    assert starts == [
        f"start --head --block --node-ip-address=10.0.0.1 --port=6379 --temp-dir={folder}/private/ray "
        "--include-dashboard=false --disable-usage-stats"
    ]
    address, *arguments = (folder / "served").read_text().splitlines()
    assert address == "10.0.0.1:6379" and arguments[:2] == ["serve", "some/model"]
    assert "--nnodes" not in arguments and arguments[-2:] == ["--distributed-executor-backend", "ray"]
    (started,) = folder.glob("started-*")
    ray = psutil.Process(int(started.name.partition("-")[2]))
    assert ray.ppid() == part.process.pid, "Ray is a child of the engine, whose part ends it"
    part.end()
    until(lambda: not ray.is_running() or ray.status() == psutil.STATUS_ZOMBIE)


def test_another_node_waits_for_the_first(start, folder):
    part = start(1)
    until(part.calls)
    assert part.calls()[0] == "status --address=10.0.0.1:6379"
    (folder / "up").touch()
    until(lambda: any(call.startswith("start") for call in part.calls()))
    assert part.calls()[-1] == "start --block --node-ip-address=10.0.0.2 --address=10.0.0.1:6379 --disable-usage-stats"
    assert not (folder / "served").exists()


def test_ray_that_ends_ends_the_first_node(start, folder):
    (folder / "broken").touch()
    part = start(0)
    assert part.process.wait(timeout=60) == 1
    assert "ray start --head ended before its cluster could be reached at 10.0.0.1:6379" in part.end()


def test_ray_that_is_not_installed_is_named(start, folder, monkeypatch):
    (folder / "ray").unlink()
    (folder / "bin").mkdir()
    monkeypatch.setenv("PATH", str(folder / "bin"))
    part = start(1)
    assert part.process.wait(timeout=60) == 127
    assert f"ray is not installed: it is neither next to {folder}/vllm nor on PATH" in part.end()


OLD_VLLM = """#!{python}
import os, sys
from pathlib import Path
from hpcsweep.simulator import __main__
SERVED = ("--served-model-name", "--uds")
OTHERS = ("--tensor-parallel-size", "--distributed-executor-backend")
words = sys.argv[1:]
if words == ["--version"]:
    sys.exit(print("0.11.0"))
if words[1].startswith("--help"):
    sys.exit(print("".join(f"  {{flag}} VALUE\\n" for flag in (*SERVED, *OTHERS))))
Path(__file__).with_name("served").write_text(" ".join([os.environ["RAY_ADDRESS"], *words]))
passed = [word for flag in SERVED for word in (flag, words[words.index(flag) + 1])]
sys.argv = ["vllm serve", "--model", words[1], "--profile", "{profile}", "--time-scale", "50", *passed]
sys.exit(__main__.main())
"""
WORKING_RAY = """#!/bin/sh
cd "$(dirname "$0")"
case $1 in
    status) [ -e up ] ;;
    start) printf '%s\\n' "$*" >>calls; [ "$2" != --head ] || touch up; exec sleep 300 ;;
esac
"""


@pytest.fixture
def old_vllm(folder: Path) -> Path:
    (folder / "profile.yaml").write_text(json.dumps({"startup": QUICK_START}))
    (folder / "ray").write_text(WORKING_RAY)
    (folder / "vllm").write_text(OLD_VLLM.format(python=sys.executable, profile=folder / "profile.yaml"))
    return folder / "vllm"


def test_a_sweep_of_an_old_vllm_on_two_nodes(tmp_path, old_vllm):
    job = Job(tmp_path)
    run = job.run_spec(server=SERVER, nodes=2, simulation=None)
    job.write(run, unprotected_server_allowed=True, engines={"vllm": str(old_vllm)})
    try:
        code, err = job.execute()
        assert code == 0 and job.ended()["outcome"] == "completed", err
        assert len(job.of_kind("sample")) == 3
        head, other = (tmp_path / "calls").read_text().splitlines()
        assert head.startswith("start --head --block --node-ip-address=127.0.0.1 --port=")
        assert other.startswith("start --block --node-ip-address=127.0.0.1 --address=127.0.0.1:")
        address, *words = (tmp_path / "served").read_text().split()
        assert other.split()[3] == f"--address={address}" and "--nnodes" not in words
        started = job.of_kind("attempt_started")[0]
        assert started.argv[:2] == [str(old_vllm), "serve"], "the engine's own command is recorded"
        assert "ray" in (job.attempt_dir() / "command.txt").read_text()
    finally:
        job.wait_until_nothing_is_left()


def test_ray_of_an_old_vllm_is_refused_where_others_could_use_it(tmp_path, old_vllm):
    """Only the version on the node shows that Ray is needed, so `submit` could not refuse it."""
    job = Job(tmp_path)
    job.write(job.run_spec(server=SERVER, nodes=2, simulation=None), engines={"vllm": str(old_vllm)})
    code, err = job.execute()
    ended = job.ended()
    assert (code, ended["outcome"], ended["code"]) == (0, "unsupported", "server_unprotected"), err
    assert "Ray" in ended["reason"] and "exclusive: true" in ended["hint"]
    assert not (tmp_path / "calls").exists() and not (tmp_path / "served").exists(), "Ray or the engine was started"
    assert not job.of_kind("phase_entered") and not list(job.attempt_dir().rglob("server.log"))
    job.wait_until_nothing_is_left()

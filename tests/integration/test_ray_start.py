"""Ray's part in a server on several nodes, with a stand-in for `ray`: the commands of each node, and their ends."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

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
        return self.process.communicate(timeout=10)[0]


def until(true: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 20
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
    assert part.process.wait(timeout=20) == 1
    assert "ray start --head ended before its cluster could be reached at 10.0.0.1:6379" in part.end()


def test_ray_that_is_not_installed_is_named(start, folder, monkeypatch):
    (folder / "ray").unlink()
    (folder / "bin").mkdir()
    monkeypatch.setenv("PATH", str(folder / "bin"))
    part = start(1)
    assert part.process.wait(timeout=20) == 127
    assert f"ray is not installed: it is neither next to {folder}/vllm nor on PATH" in part.end()

"""TensorRT-LLM on two nodes as one MPI job, with stand-ins: for `mpiexec`, for a daemon of the second node that starts
ranks there, and for TensorRT-LLM's commands. They show what the agents do; nothing of MPI or TensorRT-LLM is run.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from agent_job import QUICK_START
from two_nodes import TwoNodes

from hpcsweep.spec.server import EngineSettings, ServerConfig

SERVER = ServerConfig(engine="trtllm", model="some/model", settings=EngineSettings(tensor_parallel_size=2))

CHECK_S = 1.0
"""Seconds between two checks of an agent, in which it finds processes whose end it then notes at once."""

NODE_DAEMON = """
import contextlib, json, os, signal, socket, subprocess, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
def run(connection):
    with connection, connection.makefile("r") as lines:
        order = json.loads(lines.readline())
        rank = subprocess.Popen(
            order["argv"], env=order["env"], cwd=order["cwd"], stdin=subprocess.DEVNULL, stdout=connection.fileno(),
            stderr=connection.fileno(), start_new_session=True,
        )
        def end_with_the_launcher():
            lines.read()
            if rank.poll() is None:
                os.killpg(rank.pid, signal.SIGTERM)
        threading.Thread(target=end_with_the_launcher, daemon=True).start()
        code = rank.wait()
        with contextlib.suppress(OSError):
            connection.sendall(f"exit {code}\\n".encode())
            connection.shutdown(socket.SHUT_RDWR)
def accept():
    while True:
        threading.Thread(target=run, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""
"""Starts processes for `mpiexec` until its standard input is closed, as the daemon of a scheduler on its node does."""

MPIEXEC = """#!{python}
import json, os, signal, socket, subprocess, sys, threading, time
words = sys.argv[1:]
if words == ["--version"]:
    sys.exit(print("mpiexec (OpenRTE) 4.1.6"))
at = words.index("/bin/sh")
options, command = words[:at], words[at:]
assert options[:6] == ["-n", "2", "--host", "localhost:2", "--bind-to", "none"], options
names = [word for flag, word in zip(options[6::2], options[7::2]) if flag == "-x"]
def of_rank(rank):
    return {{"OMPI_COMM_WORLD_RANK": str(rank), "OMPI_COMM_WORLD_SIZE": "2"}}
codes = {{}}
here = subprocess.Popen(command, env={{**os.environ, **of_rank(0)}})
there = socket.create_connection(("127.0.0.1", {port}))
env = {{name: os.environ[name] for name in names}} | of_rank(1)
there.sendall(json.dumps(dict(argv=command, env=env, cwd=os.getcwd())).encode() + b"\\n")
def listen():
    for line in there.makefile("r"):
        if line.startswith("exit "):
            codes[1] = int(line.split()[1])
        else:
            print(line, end="", flush=True)
threading.Thread(target=listen, daemon=True).start()
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(143))
while not codes and not stopped:
    if here.poll() is not None:
        codes[0] = here.returncode
    time.sleep(0.02)
time.sleep(0.3)
there.shutdown(socket.SHUT_WR)
for child in [here.pid, *map(int, open(f"/proc/{{here.pid}}/task/{{here.pid}}/children").read().split())]:
    os.kill(child, signal.SIGTERM)
here.wait()
code = (stopped or list(codes.values()))[0]
sys.exit(code if code >= 0 else 128 - code)
"""

LAUNCH = """#!/bin/sh
task=$*
if [ "$OMPI_COMM_WORLD_RANK" -eq 0 ]; then
    $task &
    {python} {folder}/mgmn_leader_node.py
else
    {python} {folder}/mgmn_worker_node.py
fi
"""
"""It splits the command at blanks, as the launch script of TensorRT-LLM 1.0 does."""

RANK = """
import os, signal
rank = os.environ["OMPI_COMM_WORLD_RANK"]
print(f"[11/28/2026-10:00:00] [TRT-LLM] [RANK {rank}] [I] Loading weights", flush=True)
print(f"[11/28/2026-10:00:01] [TRT-LLM] [RANK {rank}] [I] Model init total -- 1.50s", flush=True)
print(f"rank {rank} has {os.environ.get('NODE_SECRET')} in {os.environ['TLLM_CACHE_DIR']}", flush=True)
signal.pause()
"""

SERVE = """#!{python}
import sys
from hpcsweep.simulator import __main__
words = sys.argv[1:]
if words == ["--version"]:
    sys.exit(print("[TensorRT-LLM] TensorRT-LLM version: 1.2.1"))
if words == ["serve", "--help"]:
    sys.exit(print("  --host TEXT\\n  --port INTEGER\\n  --extra_llm_api_options TEXT\\n"))
sys.argv = ["trtllm-serve", "--model", words[0], *words[1:5], "--profile", "{profile}", "--time-scale", "50"]
sys.exit(__main__.main())
"""


class MpiJob(TwoNodes):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.sweep_dir = root / "sweep"  # TensorRT-LLM's launch script splits a path with blanks
        self.job_dir = self.sweep_dir / "jobs" / "0"
        self.job_dir.mkdir(parents=True)

    def prepare(self, more: dict[str, Any] | None = None, **profile: Any) -> None:
        run = self.run_spec(
            server=SERVER, nodes=2, simulation=None, budgets={"stall": 20 * CHECK_S},
            workloads=[self.workload(max_tokens=2000 if profile else 32)],
        )  # fmt: skip
        path = self.sweep_dir.parent / "profile.yaml"
        path.write_text(str({"startup": QUICK_START, **profile}))
        engines = {"trtllm": str(self.bin / "trtllm-serve")}
        self.write(run, unprotected_server_allowed=True, engines=engines, **(more or {}))

    @property
    def bin(self) -> Path:
        return self.sweep_dir.parent / "bin"

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.bin}:/usr/bin:/bin", "NODE_SECRET": "not-to-be-shown"}

    def mpi_rank(self, rank: int) -> psutil.Process:
        wanted = "mgmn_worker_node" if rank else "mgmn_leader_node"
        return next(p for p in self.of_rank(rank) if wanted in " ".join(p.cmdline()) and "sh" not in p.name())


@pytest.fixture
def job(tmp_path: Path) -> Iterator[MpiJob]:
    made = MpiJob(tmp_path)
    made.bin.mkdir()
    daemon = subprocess.Popen(
        [sys.executable, "-c", NODE_DAEMON], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    values = {
        "python": sys.executable, "folder": made.bin, "profile": tmp_path / "profile.yaml",
        "port": daemon.stdout.readline().strip(),
    }  # fmt: skip
    for name, text in (("mpiexec", MPIEXEC), ("trtllm-llmapi-launch", LAUNCH), ("trtllm-serve", SERVE)):
        (made.bin / name).write_text(text.format(**values))
        (made.bin / name).chmod(0o755)
    for name in ("mgmn_leader_node.py", "mgmn_worker_node.py"):
        (made.bin / name).write_text(RANK)
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()
    try:
        made.wait_until_nothing_is_left()
    finally:
        daemon.communicate("")


def test_a_server_that_is_one_mpi_job_on_two_nodes(job):
    job.prepare({"env_from": ["NODE_SECRET"]})
    code, err = job.execute(job.environment)
    assert code == 0 and job.ended()["outcome"] == "completed", err
    assert len(job.of_kind("sample")) == 3
    started = job.of_kind("attempt_started")[0]
    assert started.argv[:2] == [str(job.bin / "trtllm-serve"), "some/model"], "the engine's own command is recorded"
    figures = {(event.node, event.name): event.value for event in job.of_kind("rank_fact")}
    assert figures[started.nodes[1], "load_s"] == 1.5, "from the log of the first node, by the rank in its lines"
    command = (job.attempt_dir() / "command.txt").read_text()
    assert "mpiexec -n 2 --host localhost:2" in command
    log = (job.attempt_dir() / "server.log").read_text()
    assert "rank 1 has" in log and "rank 1 has None" not in log, "variables are passed on by name, secrets too"
    assert not any("not-to-be-shown" in path.read_text(errors="replace")
                   for path in job.sweep_dir.rglob("*") if path.is_file())  # fmt: skip
    assert not list(job.sweep_dir.rglob("node.sh")), "the token of the other node is removed"


def test_a_killed_rank_of_the_second_node_is_named(job):
    job.prepare(speed={"decode_tps": 1.0})
    agent = job.start(job.environment)
    job.wait_for_event("workload_started")
    time.sleep(2 * CHECK_S)
    job.mpi_rank(1).send_signal(signal.SIGKILL)
    _, err = agent.communicate(timeout=60)
    end, nodes = job.ended(), job.of_kind("attempt_started")[0].nodes
    assert (end["outcome"], end["node"]) == ("crashed", nodes[1]), err
    assert end["reason"].startswith("rank 1 (pid ") and f"node {nodes[1]}) ended first" in end["reason"]
    job.wait_until_nothing_is_left()


def test_the_ranks_end_on_both_nodes_when_the_head_agent_is_killed(job):
    job.prepare(speed={"decode_tps": 1.0})
    agent = job.start(job.environment)
    job.wait_for_event("workload_started")
    assert job.mpi_rank(0) and job.mpi_rank(1)
    agent.kill()
    agent.communicate()
    job.wait_until_nothing_is_left()


def test_an_mpi_launcher_that_is_missing_is_named(job):
    (job.bin / "mpiexec").unlink()
    job.prepare()
    job.execute({"PATH": str(job.bin)})
    end = job.ended()
    assert (end["outcome"], end["code"]) == ("failed", "mpi_launcher_not_found"), end

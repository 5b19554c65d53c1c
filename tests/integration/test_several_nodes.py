"""A simulated server on several nodes, with the local launcher: what is recorded, and who is blamed when a part fails."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from agent_job import Job

from hpcsweep.node.process.processes import TOKEN_VARIABLE
from hpcsweep.spec.job import RunSpec
from hpcsweep.spec.server import EngineSettings, ServerConfig

LABEL = "eager-yes"
SERVER = ServerConfig(engine="vllm", model="some/model", settings=EngineSettings(tensor_parallel_size=2))


class TwoNodes(Job):
    """A job whose server has a part on each of two nodes, which are this machine twice."""

    def two(self, **more: Any) -> RunSpec:
        return self.run_spec(**{"server": SERVER, "nodes": 2, **more})

    def of_rank(self, rank: int) -> list[psutil.Process]:
        """The processes of a rank's part, by its token."""
        suffix = f".rank{rank}" if rank else ""
        wanted = {f"{token}{suffix}" for token in self.tokens()}
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(TOKEN_VARIABLE) in wanted:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def worker(self, rank: int) -> psutil.Process:
        return next(p for p in self.of_rank(rank) if p.cmdline()[0].startswith("VLLM::Worker"))

    def engine(self, rank: int) -> psutil.Process:
        return next(p for p in self.of_rank(rank) if "hpcsweep.simulator" in p.cmdline())

    def rank_agent(self) -> psutil.Process:
        head = psutil.Process(self.processes[0].pid)
        return next(p for p in head.children() if "hpcsweep.node.rank_agent" in p.cmdline())

    def left_processes(self) -> list[str]:
        return [str(process.pid) for rank in (0, 1) for process in self.of_rank(rank)]


@pytest.fixture
def job(tmp_path: Path) -> TwoNodes:
    made = TwoNodes(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()
    made.wait_until_nothing_is_left()


def test_two_nodes(job):
    job.write(job.two())
    code, err = job.execute()
    assert code == 0 and job.ended()["outcome"] == "completed", err
    started = job.of_kind("attempt_started")[0]
    assert len(started.nodes) == 2 and started.nodes[1] == f"{started.nodes[0]}#1"
    phases = [event.phase.value for event in job.of_kind("rank_phase") if event.node == started.nodes[1]]
    assert phases[:1] == ["load_weights"] and "profile" in phases
    figures = {event.name: event.value for event in job.of_kind("rank_fact")}
    assert figures["weights_bytes_per_gpu"] > 0 and figures["load_s"] > 0
    assert len(job.of_kind("sample")) == 3
    log = (job.attempt_dir() / "ranks" / "1" / "server.log").read_text()
    assert "Worker" in log and "Application startup" not in log
    left = sorted(path.name for path in (job.attempt_dir() / "ranks").iterdir())
    assert left == ["1"], "the token and the environment are removed"

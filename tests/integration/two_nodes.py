"""A job whose server has a part on each of two nodes, which are this machine twice."""

from typing import Any

import psutil
from agent_job import Job

from hpcsweep.node.process.processes import TOKEN_VARIABLE
from hpcsweep.spec.job import RunSpec
from hpcsweep.spec.server import EngineSettings, ServerConfig

SERVER = ServerConfig(engine="vllm", model="some/model", settings=EngineSettings(tensor_parallel_size=2))


class TwoNodes(Job):
    """A job of one server on two nodes, and the processes of each."""

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

"""A job of the node agent with a real engine on CPUs, and what is needed to break it on purpose."""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from integration.agent_job import Job

from hpcsweep.spec.job import RunSpec
from hpcsweep.spec.server import EngineSettings, ServerConfig

LABEL = "real"
# A start takes 45 s on an idle machine with two cores, and many times that on a busy one.
BUDGETS = {"startup": 1500, "stall": 400, "request": 400, "token": 400, "teardown": 60, "walltime_margin": 5}


@dataclass(frozen=True)
class Declared:
    """How an attempt was judged. `after_s`: seconds from the fault to the moment at which it was declared.

    `idle_s`: how old the last progress was then; None: it was not declared for want of progress. `signs`: what the
    agent saw after the fault, and when. `ranks`: those that it named.
    """

    outcome: str
    phase: str | None
    reason: str
    decided_by: str
    evidence: str
    after_s: float  # without the time in which the agent was held up
    idle_s: float | None = None
    signs: tuple[str, ...] = ()
    cause: str | None = None
    ranks: str = ""


@dataclass
class Refused:
    """A configuration that cannot work. `run`: what is set in it. `started`: the engine itself had to report it."""

    outcome: str
    run: dict[str, Any] = field(default_factory=dict)
    started: bool = True
    phase: str | None = None
    evidence: str = ""
    decided_by: str = ""
    env: dict[str, str] = field(default_factory=dict)

    def check(self, told: Declared, job: "EngineJob") -> None:
        """Compare the verdict on it."""
        assert told.outcome == self.outcome, told
        assert self.decided_by in told.decided_by, told
        assert self.evidence in told.evidence or self.evidence in told.reason, told
        assert (job.attempt_dir(LABEL) / "server.log").exists() == self.started
        assert self.phase in (None, told.phase), told


class EngineJob(Job):
    """One job with one run of a real engine. `engine_cache`: shared, so that an engine is asked for its help once."""

    engine = ""

    def __init__(self, root: Path, engine_cache: Path) -> None:
        super().__init__(root)
        self.cache_dir = engine_cache

    def engine_run(
        self,
        settings: dict[str, Any],
        flags: dict[str, Any],
        model: str | None,
        budgets: dict[str, Any] | None,
        env: dict[str, str],
        **more: Any,
    ) -> RunSpec:
        """A run of this job's engine. `model` None: the tiny one."""
        server = ServerConfig(
            engine=self.engine,
            model=model or os.environ["HPCSWEEP_TINY_MODEL"],
            served_model_name="tiny",
            settings=EngineSettings(**settings),
            flags=flags,
            env=env,
        )
        values = {"simulation": None, "server": server, "budgets": {**BUDGETS, **(budgets or {})}, **more}
        return self.run_spec(LABEL, **values)

    def begin(self, run: RunSpec, env: dict[str, str] | None = None, **more: Any) -> "subprocess.Popen[str]":
        """Write the job and start its agent."""
        self.write(run, **more)
        executable = f"HPCSWEEP_{self.engine.upper()}"
        return self.start({executable: os.environ[executable], **(env or {})})

    def phases(self) -> list[str]:
        """The phases that the run has entered, in their order."""
        return [event.phase.value for event in self.of_kind("phase_entered", LABEL)]

    def facts(self) -> dict[str, Any]:
        """Name -> value of the facts of the run so far, the last of each."""
        return {event.name: event.value for event in self.of_kind("fact", LABEL)}

    def server_log(self) -> str:
        return (self.attempt_dir(LABEL) / "server.log").read_text(errors="replace")

    def engine_processes(self, name: str = "") -> list[psutil.Process]:
        """Processes below this job's agents whose name starts so, such as `VLLM::Worker`; all of them by default."""
        found = []
        for agent in self.processes:
            for process in psutil.Process(agent.pid).children(recursive=True):
                try:
                    if process.cmdline()[:1] and process.cmdline()[0].startswith(name):
                        found.append(process)
                except psutil.NoSuchProcess:
                    continue
        return found

    def hit(self, name: str, signum: signal.Signals) -> float:
        """Send a signal to the engine's processes of this name. When that was, Unix seconds."""
        processes = self.engine_processes(name)
        assert processes, (
            f"no process {name} in {[' '.join(other.cmdline())[:80] for other in self.engine_processes()]}"
        )
        at = time.time()
        for process in processes:
            process.send_signal(signum)
        return at

    def stop_compilers(self, name: str) -> None:
        """Stop what these processes have started. A compiler may start another before it is hit: until none is new."""
        stopped: set[int] = set()
        while True:
            children = [child for parent in self.engine_processes(name) for child in parent.children(recursive=True)]
            new = [child for child in children if child.pid not in stopped]
            if not new:
                return
            for child in new:
                stopped.add(child.pid)
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.send_signal(signal.SIGSTOP)

    def declared(self, agent: "subprocess.Popen[str]", since: float, within_s: float) -> Declared:
        """The verdict, when the agent has ended; nothing of the engine is left then."""
        agent.communicate(timeout=within_s)
        end = self.of_kind("attempt_ended", LABEL)[0]
        stall = next((e for e in self.of_kind("fact", LABEL) if e.name == "stall_declared_after_s"), None)
        teardown = next((e for e in self.of_kind("phase_entered", LABEL) if e.phase.value == "teardown"), None)
        assert self.left_behind() == []
        return Declared(
            end.outcome.value,
            end.phase.value if end.phase else None,
            end.reason,
            end.decided_by,
            end.evidence[0] if end.evidence else "",
            round((stall or teardown or end).at - since - self.held_up_s(since), 1),
            stall.value if stall else None,
            tuple(
                f"{e.at - since:.0f}s {'+'.join(e.signs) or '-'} [{'+'.join(e.activity)}] (held up {e.held_up_s:.1f}s)"
                for e in self.of_kind("progress", LABEL)
                if e.at > since
            ),
            end.cause.value if end.cause else None,
            next((str(e.value) for e in self.of_kind("fact", LABEL) if e.name == "stuck_ranks"), ""),
        )

    def held_up_s(self, since: float) -> float:
        """Seconds after `since` in which the agent could not look, by its own account (vLLM that spins starves it)."""
        return sum(e.held_up_s for e in self.of_kind("progress", LABEL) if e.at > since)

    def left_behind(self) -> list[str]:
        """Processes that still work in a folder of this sweep: vLLM's rename themselves, but stay where they are."""
        left = []
        for process in psutil.process_iter(["cwd", "name"]):
            if str(process.info["cwd"] or "").startswith(str(self.sweep_dir / "runs")):
                left.append(f"{process.pid} {process.info['name']}")
        return left

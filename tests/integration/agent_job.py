"""A job for the node agent with the simulated engine: written to a folder, executed as a real process, read back."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hpcsweep.events.log import read_events
from hpcsweep.node.process.processes import TOKEN_VARIABLE
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.job import ArrayTask, JobSpec, PlannedWorkload, Resources, RunSpec, Simulation
from hpcsweep.spec.server import ServerConfig
from hpcsweep.spec.workload import DatasetFacts, DatasetSpec, Workload

QUICK_START = {"launch": 2, "engine_init": 5, "load_weights": 20, "profile": 3, "kv_cache": 1, "warmup": 1}
QUICK_BUDGETS = {"startup": 400, "stall": 150, "request": 200, "token": 100, "teardown": 60, "walltime_margin": 2}
SCALE = 50.0


class Job:
    """One job folder of its own sweep."""

    def __init__(self, root: Path) -> None:
        self.sweep_dir = root / "it's a sweep"
        self.job_dir = self.sweep_dir / "jobs" / "0"
        self.job_dir.mkdir(parents=True)
        self.cache_dir = root / "cache"
        self._samples = root / "samples.jsonl"
        self.processes: list[subprocess.Popen[str]] = []

    def run_spec(
        self,
        label: str = "eager-yes",
        profile: dict[str, Any] | None = None,
        budgets: dict[str, Any] | None = None,
        workloads: list[PlannedWorkload] | None = None,
        **more: Any,
    ) -> RunSpec:
        path = self.sweep_dir / f"{label}.profile.yaml"
        overlay = profile or {}
        path.write_text(json.dumps({**overlay, "startup": {**QUICK_START, **overlay.get("startup", {})}}))
        return RunSpec(
            **{
                "run_id": f"sweep/{label}",
                "label": label,
                "variant_id": "0123456789ab",
                "axes": {"eager": "yes"},
                "server": ServerConfig(engine="vllm", model="some/model"),
                "workloads": [self.workload()] if workloads is None else workloads,
                "budgets": Budgets(**{**QUICK_BUDGETS, **(budgets or {})}),
                "run_dir": str(self.sweep_dir / "runs" / label),
                "exports": {"HPCSWEEP_AXIS_EAGER": "yes"},
                "simulation": Simulation(profile=str(path), time_scale=SCALE),
                **more,
            }
        )

    def workload(
        self,
        name: str = "short",
        requests: int = 3,
        max_tokens: int = 32,
        left_out: str | None = None,
        words: int = 20,
        **more: Any,
    ) -> PlannedWorkload:
        prompts = [f"{i}: " + "word " * words for i in range(requests)]
        return self.prompts(name, prompts, max_tokens, left_out, **more)

    def prompts(
        self, name: str, prompts: list[str], max_tokens: int = 32, left_out: str | None = None, **more: Any
    ) -> PlannedWorkload:
        requests = len(prompts)
        rows = [{"id": f"s{i}", "prompt": prompt, "max_tokens": max_tokens} for i, prompt in enumerate(prompts)]
        path = self._samples.with_name(f"{name}.jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return PlannedWorkload(
            workload=Workload(
                name=name, dataset=DatasetSpec(kind="samples", path=str(path)), endpoint="completions", **more
            ),
            facts=DatasetFacts(requests=requests, files={str(path): hashlib.sha256(path.read_bytes()).hexdigest()}),
            left_out=left_out,
        )

    def write(self, *runs: RunSpec, **more: Any) -> None:
        elements = more.pop("elements", None) or [ArrayTask(index=0, runs=list(runs))]
        resources = more.pop("resources", Resources(walltime_s=3600))
        job = JobSpec(
            **{
                "sweep": "sweep",
                "job": 0,
                "sweep_dir": str(self.sweep_dir),
                "name": "sweep-0",
                "scheduler": "local",
                "resources": resources,
                "array_tasks": elements,
                "cache_dir": str(self.cache_dir),
                **more,
            }
        )
        (self.job_dir / "job.json").write_text(job.model_dump_json())

    def start(self, env: dict[str, str] | None = None, setup: str = "", **options: Any) -> "subprocess.Popen[str]":
        """`setup`: lines of bash before the agent, which then takes the shell's place, as in job.sh."""
        agent = [sys.executable, "-m", "hpcsweep.node.agent", str(self.job_dir)]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "PBS_", "HPCSWEEP_"))}
        self.processes.append(
            subprocess.Popen(
                ["bash", "-c", f'{setup}\nexec "$@"', "job.sh", *agent] if setup else agent,
                env={**clean, **(env or {})},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                **options,
            )
        )
        return self.processes[-1]

    def execute(self, env: dict[str, str] | None = None, **options: Any) -> tuple[int, str]:
        """Exit code and standard error of an agent that has run to its end."""
        agent = self.start(env, **options)
        out, err = agent.communicate(timeout=100)
        assert out == ""
        return agent.returncode, err

    def attempt_dir(self, label: str = "eager-yes", number: int = 1) -> Path:
        return self.sweep_dir / "runs" / label / f"attempt-{number}"

    def ended(self, label: str = "eager-yes", number: int = 1) -> dict[str, Any]:
        return json.loads((self.attempt_dir(label, number) / "exit.json").read_text())

    def events(self, label: str = "eager-yes", number: int = 1) -> list[Any]:
        return list(read_events(self.attempt_dir(label, number) / "events.jsonl"))

    def of_kind(self, kind: str, label: str = "eager-yes", number: int = 1) -> list[Any]:
        return [event for event in self.events(label, number) if event.kind == kind]

    def wait_for_event(self, kind: str, label: str = "eager-yes", number: int = 1, within_s: float = 60) -> Any:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = self.of_kind(kind, label, number)
            if found:
                return found[-1]
            time.sleep(0.05)
        raise AssertionError(f"no {kind} within {within_s} s")

    def wait_for_phase(self, phase: str, label: str = "eager-yes", number: int = 1, within_s: float = 60) -> None:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if any(event.phase.value == phase for event in self.of_kind("phase_entered", label, number)):
                return
            for end in self.of_kind("attempt_ended", label, number):
                raise AssertionError(f"phase {phase} was not entered: {end.outcome.value}, {end.reason}")
            time.sleep(0.05)
        raise AssertionError(f"phase {phase} was not entered within {within_s} s")

    def tokens(self) -> set[str]:
        return {json.loads(path.read_text())["token"] for path in self.sweep_dir.glob("runs/*/attempt-*/owner.json")}

    def left_processes(self) -> list[str]:
        """Processes that carry the token of any attempt of this job."""
        wanted = [f"{TOKEN_VARIABLE}={token}".encode() for token in self.tokens()]
        left = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                environment = path.read_bytes()
            except OSError:
                continue
            if any(token in environment for token in wanted):
                left.append(path.parent.name)
        return left

    def wait_until_nothing_is_left(self, within_s: float = 20) -> None:
        deadline = time.monotonic() + within_s
        while (left := self.left_processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == []

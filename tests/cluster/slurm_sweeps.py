"""A small sweep on the real Slurm: written, submitted by the real command, watched, broken and ended."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

SERVICE = Path(os.environ.get("HPCSWEEP_SLURM_DIR", "/nowhere"))
SWEEP = "study-0001"
LABELS = ["len-1k", "len-2k", "len-3k"]

PROFILE = """\
jitter: 0
startup: {launch: 0.1, engine_init: 0.1, load_weights: 0.3, profile: 0.1, kv_cache: 0.1, warmup: 0.1}
speed: {decode_tps: 200, prefill_tps: 100000, first_request_extra_s: 0}
"""
FAST, SLOW = "decode_tps: 200", "decode_tps: 0.2"

Run = dict[str, Any]


class Sweep:
    """One project: an experiment file, a profile of the simulated engine, cluster profiles, HPCSWEEP_HOME."""

    def __init__(self, folder: Path, user: str | None = None) -> None:
        self.folder, self.user = folder, user
        self.home = folder / "home"
        self.sweep_dir = self.home / "sweeps" / SWEEP
        self.write()

    def write(
        self, *, lengths: tuple[str, ...] = ("1k", "2k", "3k"), slow: bool = False, rules: str = "", **profile: Any
    ) -> None:
        """`slow`: an answer takes the better part of an hour. `profile`: of the cluster."""
        rows = [{"id": f"s{i}", "prompt": "word " * 20, "max_tokens": 500 if slow else 20} for i in range(2)]
        (self.folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (self.folder / "engine.yaml").write_text((PROFILE.replace(FAST, SLOW) if slow else PROFILE) + rules)
        experiment = {
            "name": "study",
            "model": "some/model",
            "engine": "vllm",
            "serve": {"tensor-parallel-size": 1},
            "axes": {"len": list(lengths)},
            "baseline": {"len": lengths[0]},
            "workloads": {"w": {"dataset": {"kind": "samples", "path": "samples.jsonl"}, "endpoint": "completions"}},
            "resources": {"gpus": 1, "nodes": profile.pop("nodes", 1), "walltime": profile.pop("walltime", "10m")},
            "budgets": {
                "startup": "5m",
                "stall": "4m",
                "walltime_margin": profile.pop("margin", "5s"),
                "teardown": "5s",
            },
            "simulated": {"profile": "engine.yaml", "time_scale": 1},
        }
        (self.folder / "study.yaml").write_text(json.dumps(experiment))
        cluster = {
            "scheduler": "slurm",
            "partition": "h200",
            "gpu_type": "h200",
            "gpus_per_node": 8,
            "cpus": 1,
            "memory": "1G",
            "exclude": "hopper-[03-04]",  # kept for tests that take nodes away
            "simulate": "always",
            "python": str(SERVICE / "venv" / "bin" / "python"),
            **profile,
        }
        (self.folder / "hpcsweep.yaml").write_text(json.dumps({"clusters": {"slurm": cluster}}))

    def fake(self, command: str, script: str) -> None:
        """From now on `command` is this bash script; the real one is $REAL in it. An empty one: the real one again."""
        path = self.folder / "fakes" / command
        path.parent.mkdir(exist_ok=True)
        if not script:
            path.unlink()
            return
        path.write_text(f"#!/bin/bash\nREAL={shutil.which(command)}\n{script}\n")
        path.chmod(0o755)

    def cli(self, *args: str, code: int | None = 0, timeout_s: float = 90, **variables: str) -> str:
        """Output of the real `hpcsweep`, which must end with `code` (None: any)."""
        python = sys.executable
        prefix: list[str] = []
        if self.user is not None:
            python = str(SERVICE / "venv" / "bin" / "python")
            prefix = ["runuser", "-u", self.user, "--"]
        done = subprocess.run(
            [*prefix, python, "-m", "hpcsweep.cli.main", "--home", str(self.home), *args],
            cwd=self.folder,
            env={
                **os.environ,
                "HPCSWEEP_CONFIG": str(self.folder / "hpcsweep.yaml"),
                "COLUMNS": "300",
                "PATH": f"{self.folder / 'fakes'}:{os.environ['PATH']}",
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert code is None or done.returncode == code, f"hpcsweep {' '.join(args)}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def submit(self, *args: str) -> str:
        """Submit; the job's id."""
        told = self.cli("submit", "study.yaml", "--cluster", "slurm", "--json", *args)
        document = json.loads(told[told.index("{") :])  # a warning may come before it
        return str(document["jobs"][0]["job_id"])

    def runs(self) -> dict[str, Run]:
        """Label -> what `hpcsweep status --json` says of the run."""
        told = self.cli("status", SWEEP, "--json")
        document = json.loads(told[told.index("{") :])  # a warning may come before it
        return {run["run"]: run for run in document["sweeps"][0]["runs"]}

    def wait(self, condition: Callable[[dict[str, Run]], bool], within_s: float = 60) -> dict[str, Run]:
        """The runs once `condition` holds of them."""
        deadline = time.monotonic() + within_s
        while not condition(runs := self.runs()):
            if time.monotonic() > deadline:
                told = "\n".join(f"{label}: {run}" for label, run in runs.items())
                logs = "\n".join(path.read_text()[-2000:] for path in self.home.glob("sweeps/*/jobs/*/logs/*"))
                pytest.fail(f"not within {within_s} s:\n{told}\n{logs}\n{slurm('squeue', '--states=all')}")
            time.sleep(0.5)
        return runs

    def wait_until_ended(self, within_s: float = 60) -> dict[str, Run]:
        return self.wait(lambda runs: all(run["state"] == "finished" for run in runs.values()), within_s)

    def wait_until_measuring(self, *labels: str, within_s: float = 60) -> dict[str, Run]:
        return self.wait(lambda runs: all(runs[label]["phase"] == "measure" for label in labels), within_s)

    def retry_completes(self, *args: str) -> dict[str, Run]:
        """Retry with short answers; every run must complete then."""
        self.shorten()
        self.cli("retry", SWEEP, *args)
        runs = self.wait_until_ended(90)
        assert {run["outcome"] for run in runs.values()} == {"completed"}, runs
        return runs

    def shorten(self) -> None:
        """From now on the engine answers at once, however long the answer."""
        for path in (self.sweep_dir / "data").glob("simulated-*"):
            path.write_text(path.read_text().replace(SLOW, "decode_tps: 10000"))

    def set_profile(self, **profile: Any) -> None:
        """Change the cluster profile that the sweep keeps for a retry."""
        path = self.sweep_dir / "sweep.json"
        document = json.loads(path.read_text())
        document["profile"].update(profile)
        path.write_text(json.dumps(document))

    def attempt_dir(self, label: str, number: int = 1) -> Path:
        return self.sweep_dir / "runs" / label / f"attempt-{number}"

    def processes(self) -> list[psutil.Process]:
        """Every process of a job of this sweep, wherever it went: its environment names the job's folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("HPCSWEEP_JOB_DIR", "").startswith(str(self.home)):
                    found.append(process)
            except psutil.Error:
                continue
        return [process for process in found if process.pid != os.getpid()]

    def agent(self, label: str) -> psutil.Process:
        """The agent of a running attempt."""
        owner = json.loads((self.attempt_dir(label) / "owner.json").read_text())
        return psutil.Process(owner["pid"])

    def server(self, label: str) -> psutil.Process:
        """The simulated server of a running attempt: the oldest process that carries its run's folder name."""
        agent = self.agent(label)
        servers = [p for p in agent.children(recursive=True) if "simulator" in " ".join(p.cmdline())]
        return min(servers, key=lambda p: p.create_time())

    def wait_until_nothing_runs(self, within_s: float = 45) -> None:
        """No process of any job may be left, on any node."""
        deadline = time.monotonic() + within_s
        while left := self.processes():
            if time.monotonic() > deadline:
                told = [(p.pid, p.cmdline()) for p in left if p.is_running()]
                for process in left:
                    process.send_signal(signal.SIGKILL)
                pytest.fail(f"still there: {told}")
            time.sleep(0.2)

    def job_ids(self) -> list[str]:
        found = [json.loads(path.read_text())["job_id"] for path in self.home.glob("sweeps/*/jobs/*/submission.json")]
        return [job_id for job_id in found if job_id]

    def end(self) -> None:
        """Cancel what is left, and see to it that it is gone."""
        if ids := self.job_ids():
            subprocess.run(["scancel", *ids], check=False, capture_output=True, timeout=60)
        self.wait_until_nothing_runs()


def slurm(*argv: str, check: bool = True) -> str:
    """Output of a command of Slurm."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout.strip()


def node_of(job_id: str, index: int) -> str:
    """The node on which an element of an array runs."""
    for line in slurm("squeue", "-h", "-j", job_id, "-o", "%i %N").splitlines():
        if line.startswith(f"{job_id}_{index} "):
            return line.split()[1]
    raise AssertionError(f"{job_id}_{index} runs nowhere")


def accounting() -> bool:
    """Whether this Slurm keeps accounting."""
    return (
        re.search(r"AccountingStorageType\s*= accounting_storage/slurmdbd", slurm("scontrol", "show", "config"))
        is not None
    )


def wait_for(condition: Callable[[], bool], within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.2)


def daemon(name: str) -> psutil.Process:
    """A daemon of the test Slurm, by its pid file."""
    return psutil.Process(int((SERVICE / "run" / f"{name}.pid").read_text()))


def start_daemon(name: str, *argv: str) -> None:
    """Start a daemon again; it goes into the background by itself."""
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: _alive(name), 20, f"{name} is up")


def _alive(name: str) -> bool:
    try:
        return daemon(name).is_running()
    except (psutil.Error, OSError, ValueError):
        return False

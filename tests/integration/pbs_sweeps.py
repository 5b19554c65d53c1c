"""A small sweep on the fake PBS, by the command line: written, submitted, watched, broken and ended."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from cli import Cli
from pbs_fixture import FakePbs

SWEEP = "study-0001"
LABELS = ["len-1k", "len-2k", "len-3k"]
PROFILE = """\
jitter: 0
startup: {launch: 0.1, engine_init: 0.1, load_weights: 0.2, profile: 0.1, kv_cache: 0.1, warmup: 0.1}
speed: {decode_tps: 200, prefill_tps: 100000, first_request_extra_s: 0}
"""
FAST, SLOW = "decode_tps: 200", "decode_tps: 0.2"

Run = dict[str, Any]


class PbsSweep:
    """One project: an experiment, a profile of the simulated engine, the cluster profile `pbs-test`."""

    def __init__(self, pbs: FakePbs, folder: Path) -> None:
        self.pbs, self.folder = pbs, folder
        fakes = {name: value for name, value in os.environ.items() if name.startswith("FAKE_PBS_")}
        self.cli = Cli(folder, {**fakes, "HPCSWEEP_CONFIG": str(folder / "hpcsweep.yaml"), "COLUMNS": "200"})
        self.sweep_dir = self.cli.home / "sweeps" / SWEEP
        self.write()

    def write(self, *, lengths: tuple[str, ...] = ("1k", "2k", "3k"), slow: bool = False, **profile: Any) -> None:
        """`slow`: an answer takes the better part of an hour. `profile`: of the cluster."""
        rows = [{"id": f"s{i}", "prompt": "word " * 20, "max_tokens": 500 if slow else 20} for i in range(2)]
        (self.folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (self.folder / "engine.yaml").write_text(PROFILE.replace(FAST, SLOW) if slow else PROFILE)
        experiment = {
            "name": "study",
            "model": "some/model",
            "engine": "vllm",
            "axes": {"len": list(lengths)},
            "baseline": {"len": lengths[0]},
            "workloads": {"w": {"dataset": {"kind": "samples", "path": "samples.jsonl"}, "endpoint": "completions"}},
            "resources": {"gpus": profile.pop("gpus", 8), "walltime": profile.pop("walltime", "10m")},
            "budgets": {
                "startup": "5m",
                "stall": "4m",
                "walltime_margin": profile.pop("margin", "5s"),
                "teardown": "3s",
            },
            "simulated": {"profile": "engine.yaml", "time_scale": 1},
        }
        (self.folder / "study.yaml").write_text(json.dumps(experiment))
        default = {"scheduler": "pbs", "queue": "gpuq", "simulate": "always", "gpu_resource": "queue"}
        cluster = {**default, **profile}
        (self.folder / "hpcsweep.yaml").write_text(json.dumps({"clusters": {"pbs-test": cluster}}))

    def submit(self, *args: str) -> str:
        """Submit; number of the PBS job."""
        document = self.cli.json("submit", "study.yaml", "--cluster", "pbs-test", *args)
        return str(document["jobs"][0]["job_id"]).partition(".")[0].rstrip("[]")

    def runs(self) -> dict[str, Run]:
        return self.cli.runs(SWEEP)

    def wait(self, condition: Callable[[dict[str, Run]], Any], within_s: float = 60) -> dict[str, Run]:
        """The runs once `condition` holds of them."""
        deadline = time.monotonic() + within_s
        while not condition(runs := self.runs()):
            if time.monotonic() > deadline:
                told = "\n".join(f"{label}: {run}" for label, run in runs.items())
                logs = "\n".join(path.read_text()[-2000:] for path in self.cli.home.glob("sweeps/*/jobs/*/logs/*"))
                raise AssertionError(f"not within {within_s} s:\n{told}\n{logs}\n{self.pbs.run('qstat -x -t').stdout}")
            time.sleep(0.3)
        return runs

    def wait_until_ended(self, within_s: float = 60) -> dict[str, Run]:
        return self.wait(lambda runs: all(run["state"] == "finished" for run in runs.values()), within_s)

    def wait_until_measuring(self, *labels: str) -> dict[str, Run]:
        return self.wait(lambda runs: all(runs[label]["phase"] == "measure" for label in labels))

    def retry_completes(self, *args: str) -> dict[str, Run]:
        """Retry with short answers; every run must complete then."""
        for path in (self.sweep_dir / "data").glob("simulated-*"):
            path.write_text(path.read_text().replace(SLOW, "decode_tps: 10000"))
        self.cli.run("retry", SWEEP, *args)
        runs = self.wait_until_ended()
        assert {run["outcome"] for run in runs.values()} == {"completed"}, runs
        return runs

    def agent(self, label: str, attempt: int = 1) -> psutil.Process:
        owner = json.loads((self.sweep_dir / "runs" / label / f"attempt-{attempt}" / "owner.json").read_text())
        return psutil.Process(owner["pid"])

    def processes(self) -> list[psutil.Process]:
        """Every process of a job of this sweep, wherever it went: its environment names the job's folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("HPCSWEEP_JOB_DIR", "").startswith(str(self.cli.home)):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def wait_until_nothing_runs(self, within_s: float = 30) -> None:
        deadline = time.monotonic() + within_s
        while left := self.processes():
            told = [process.cmdline() for process in left if process.is_running()]
            assert time.monotonic() < deadline, f"still there: {told}"
            time.sleep(0.2)

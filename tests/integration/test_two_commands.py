"""Two commands on one sweep at the same moment: what they do, they do one after the other."""

import json
from pathlib import Path

import pytest
from cli import Cli

EXPERIMENT = """\
name: study
model: some/model
engine: vllm
axes: {len: [1k, 2k]}
baseline: {len: 1k}
workloads: {w: {dataset: {kind: samples, path: samples.json}, endpoint: completions, max_tokens: 500}}
resources: {gpus: 0, walltime: 1h}
budgets: {startup: 5m, stall: 4m, teardown: 3s}
simulated: {profile: engine.yaml, time_scale: 1}
"""
SLOW = """\
startup: {launch: 0.1, engine_init: 0.1, load_weights: 0.1, profile: 0.1, kv_cache: 0.1, warmup: 0.1}
speed: {decode_tps: 0.2}
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    (tmp_path / "samples.json").write_text(json.dumps([{"id": "s1", "prompt": "word " * 20, "max_tokens": 500}]))
    (tmp_path / "study.yaml").write_text(EXPERIMENT)
    (tmp_path / "engine.yaml").write_text(SLOW)
    return Cli(tmp_path)


def test_of_two_retries_one_submits(cli: Cli) -> None:
    cli.run("submit", "study.yaml", "--cluster", "local")
    cli.run("cancel")
    try:
        for _ in range(60):
            if {run["state"] for run in cli.runs().values()} == {"finished"}:
                break
        both = [cli.start("retry") for _ in range(2)]
        told = sorted(process.communicate(timeout=100) for process in both)
        assert sorted(process.returncode for process in both) == [0, 1], told
        assert "nothing to retry" in told[0][1] and "2 runs again" in told[1][0], told
        assert len(list(cli.home.glob("sweeps/study-0001/jobs/*/submission.json"))) == 2
    finally:
        cli.run("cancel", code=None)
        cli.run("cancel", code=None)

"""Two commands on one sweep at the same moment: what they do, they do one after the other."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli import Cli

from hpcsweep.submit.sweep_lock import changing
from hpcsweep.sweep.layout import SweepFolder

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


@pytest.fixture
def sweep(cli: Cli) -> Iterator[SweepFolder]:
    """A sweep whose runs were cancelled, so that there is something to retry."""
    cli.run("submit", "study.yaml", "--cluster", "local")
    cli.run("cancel")
    deadline = time.monotonic() + 60
    while {run["state"] for run in cli.runs().values()} != {"finished"}:
        assert time.monotonic() < deadline
    yield SweepFolder(cli.home / "sweeps" / "study-0001")
    cli.run("cancel", code=None)


def submissions(sweep: SweepFolder) -> int:
    return len(list(sweep.path.glob("jobs/*/submission.json")))


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_a_command_waits_for_the_one_that_is_changing_the_sweep(cli: Cli, sweep: SweepFolder, command: str) -> None:
    with changing([sweep], "retry", print):
        second = cli.start(command, sweep.name)
        assert second.stderr is not None
        said = second.stderr.readline()
        assert f"waiting for process {os.getpid()}" in said and "(hpcsweep retry)" in said
        assert submissions(sweep) == 1
        assert cli.run("status", sweep.name).returncode == 0  # which changes nothing, and waits for nothing
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert submissions(sweep) == (2 if command == "retry" else 1)


def test_of_two_retries_one_submits(cli: Cli, sweep: SweepFolder) -> None:
    both = [cli.start("retry") for _ in range(2)]
    told = sorted(process.communicate(timeout=100) for process in both)
    assert sorted(process.returncode for process in both) == [0, 1], told
    assert "nothing to retry" in told[0][1] and "2 runs again in 1 submission" in told[1][0], told
    assert submissions(sweep) == 2

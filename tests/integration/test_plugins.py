"""The example plugins of docs/plugins.md, installed and used together in a sweep on the simulated engine."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli import Cli

PLUGINS = Path(__file__).parents[1] / "plugins"
NAMES = ["llamacpp", "lines", "curl", "latex"]
EXPERIMENT = """\
name: study
model: some/model.gguf
engine: llamacpp
axes: {len: [1k, 2k]}
baseline: {len: 1k}
workloads:
  w:
    dataset: {kind: lines, path: prompts.txt, skip: 1}
    endpoint: completions
    client: curl
    max_tokens: 8
    num_requests: 3
resources: {gpus: 0, walltime: 1h}
simulated: {profile: engine.yaml, time_scale: 10}
"""
ENGINE = """\
startup: {launch: 1, engine_init: 1, load_weights: 1, profile: 1, kv_cache: 1, warmup: 1}
speed: {decode_tps: 50}
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line in an environment in which the plugins are installed."""
    site = tmp_path / "site"
    for name in NAMES:
        project = (PLUGINS / name / "pyproject.toml").read_text()
        group, entry = re.findall(r'entry-points\."(.+)"\]\n(.+)', project)[0]
        info = site / f"hpcsweep_{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hpcsweep-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{entry.replace(chr(34), '')}\n")
    (tmp_path / "study.yaml").write_text(EXPERIMENT)
    (tmp_path / "engine.yaml").write_text(ENGINE)
    (tmp_path / "prompts.txt").write_text("a heading\nthe first prompt\nthe second prompt\n")
    return Cli(tmp_path, {"PYTHONPATH": os.pathsep.join(map(str, [site, *(PLUGINS / name for name in NAMES)]))})


def test_a_sweep_with_an_engine_a_dataset_a_client_and_a_format_of_plugins(cli: Cli) -> None:
    cli.run("submit", "study.yaml", "--cluster", "local", "--wait")
    assert {run["outcome"] for run in cli.runs().values()} == {"completed"}
    cli.run("report", "-o", "table.tex")
    table = (cli.folder / "table.tex").read_text()
    assert table.startswith("% SIMULATED") and re.search(r"len-1k & w & 3 & \d+\.\d\d \\\\", table)
    log = json.loads(cli.run("report", "--format", "json").stdout)
    cell = log["runs"][0]["workloads"]["w"]
    assert [sample["sample"] for sample in cell["samples"]] == ["line-0", "line-1", "line-2"]
    assert {sample["completion_tokens"] for sample in cell["samples"]} == {8} and cell["client"] == "curl"


def test_the_engine_plugin_gives_the_command_and_refuses_what_it_cannot_express(cli: Cli) -> None:
    code = (
        "from hpcsweep.engines.base import LaunchContext\n"
        "from hpcsweep.engines.registry import get_engine\n"
        "from hpcsweep.spec.server import EngineSettings, ServerConfig\n"
        "settings = EngineSettings(max_model_len=2048, max_num_seqs=4, kv_cache_dtype='fp8')\n"
        "config = ServerConfig(engine='llamacpp', model='a/b', settings=settings, flags={'--mlock': True})\n"
        "print(*get_engine('llamacpp').launch(config, LaunchContext('/bin/llama-server', 8000)).argv)\n"
        "print(*get_engine('llamacpp').unsupported(config))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=cli.environment(), capture_output=True, text=True)
    argv, refusal = done.stdout.splitlines()
    assert argv == (
        "/bin/llama-server --host 127.0.0.1 --port 8000 --metrics --hf-repo a/b --alias a/b --parallel 4 "
        "--ctx-size 8192 --mlock"
    )
    assert refusal == "llama.cpp has no flag for kv_cache_dtype=fp8"


def test_an_option_of_the_dataset_plugin_is_checked(cli: Cli) -> None:
    (cli.folder / "study.yaml").write_text(EXPERIMENT.replace("skip: 1", "skipp: 1"))
    assert "did you mean 'skip'" in cli.run("submit", "study.yaml", "--dry-run", code=1).stderr


def test_the_page_shows_the_plugins_as_they_are() -> None:
    script = Path(__file__).parents[2] / "scripts" / "make-plugin-docs"
    assert subprocess.run([sys.executable, script, "--check"]).returncode == 0, "run scripts/make-plugin-docs"

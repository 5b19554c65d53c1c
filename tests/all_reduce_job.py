"""A job on two nodes with the all-reduce check, whose engine is a stand-in for vLLM with the Python of a test."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from hpcsweep.spec.server import EngineSettings, ServerConfig

SERVER = ServerConfig(engine="vllm", model="some/model", settings=EngineSettings(tensor_parallel_size=2))
_STAND_IN = """#!{python}
import os, sys
words = sys.argv[1:]
if words == ["--version"]:
    print("0.32.0")
elif words == ["serve", "--help=all"]:
    print("--uds --served-model-name --tensor-parallel-size --distributed-executor-backend --enforce-eager "
          "--nnodes --node-rank --master-addr --master-port --headless")
else:
    flags = ["--uds", "--served-model-name", "--nnodes", "--node-rank", "--master-addr", "--master-port"]
    passed = [word for flag in flags if flag in words for word in (flag, words[words.index(flag) + 1])]
    variant = '{{"tp": "2", "engine": "vllm", "model": "some/model"}}'
    wanted = ["-m", "hpcsweep.simulator", "--model", words[1], "--profile", {profile!r}, "--variant", variant, *passed]
    os.environ.pop("PYTHONPATH", None)
    os.execv({ours!r}, [{ours!r}, *wanted])
"""


def stand_in(folder: Path, python: str) -> dict[str, str]:
    """The environment with such a `vllm` first on PATH; its environment has `python`."""
    profile = folder / "stand-in.yaml"
    short = ["launch", "engine_init", "load_weights", "profile", "kv_cache", "warmup"]
    profile.write_text(json.dumps({"startup": dict.fromkeys(short, 0.05)}))
    path = folder / "bin" / "vllm"
    path.parent.mkdir()
    path.write_text(_STAND_IN.format(python=python, ours=sys.executable, profile=str(profile)))
    path.chmod(0o755)
    return {"PATH": f"{path.parent}:{os.environ['PATH']}"}


def write_checked(job: Any, budget_s: float) -> None:
    """Write a job on two nodes with the check."""
    run = job.run_spec(server=SERVER, nodes=2, simulation=None, budgets={"startup": 60, "stall": 60, "teardown": 2})
    job.write(run, preflight={"all_reduce": True, "all_reduce_budget": budget_s}, unprotected_server_allowed=True)

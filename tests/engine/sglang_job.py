"""A job of the node agent with a real SGLang on CPUs, started as the shipped experiment `sglang_smoke` starts it."""

import time
from pathlib import Path
from typing import Any

import psutil
from engine_job import LABEL, EngineJob
from ruamel.yaml import YAML

from hpcsweep.spec.job import RunSpec

SMOKE = YAML(typ="safe").load(Path(__file__).parents[2] / "experiments" / "sglang_smoke.yaml")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # for this model two threads are slower, and beside other tests by far
SCHEDULER, DETOKENIZER = "sglang::scheduler", "sglang::detokenizer"


class SglangJob(EngineJob):
    """One job with one run of SGLang."""

    engine = "sglang"

    def sglang_run(
        self,
        settings: dict[str, Any] | None = None,
        flags: dict[str, Any] | None = None,
        model: str | None = None,
        budgets: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
        **more: Any,
    ) -> RunSpec:
        given = {"max_model_len": 512, **(settings or {})}
        all_flags = {f"--{name}": value for name, value in SMOKE["engine_args"].items()} | (flags or {})
        return self.engine_run(given, all_flags, model, budgets, {**SMOKE["env"], **ONE_THREAD, **(env or {})}, **more)

    def wait_for_process(self, name: str, within_s: float = 600) -> psutil.Process:
        """The process that has this title. SGLang sets it when the imports of the process are done."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            for process in self.engine_processes(name):
                return process
            assert not self.of_kind("attempt_ended", LABEL), self.of_kind("attempt_ended", LABEL)[0].reason
            time.sleep(0.1)
        raise AssertionError(f"no process {name} within {within_s} s")

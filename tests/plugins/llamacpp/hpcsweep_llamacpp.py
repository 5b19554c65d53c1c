"""An engine plugin: `llama-server` of llama.cpp."""

import re

from hpcsweep.engines.base import Endpoints, Engine, Launch, LaunchContext
from hpcsweep.spec.server import EngineSettings, ServerConfig

SUPPORTED = {"max_model_len", "max_num_seqs"}


class LlamaCpp(Engine):
    """Serve a GGUF file or a repository of the Hugging Face Hub."""

    name = "llamacpp"
    title = "llama.cpp"
    executable = "llama-server"
    endpoints = Endpoints()  # /health, /v1/completions, /v1/chat/completions, /metrics
    api_key_env = "LLAMA_API_KEY"

    def settings(self, config: ServerConfig) -> EngineSettings:
        return config.settings

    def unsupported(self, config: ServerConfig) -> list[str]:
        given = config.settings.model_dump(exclude_none=True)
        return [f"llama.cpp has no flag for {name}={given[name]}" for name in sorted(given.keys() - SUPPORTED)]

    def launch(self, config: ServerConfig, context: LaunchContext) -> Launch:
        slots = config.settings.max_num_seqs or 1
        argv = [context.executable, "--host", context.host, "--port", str(context.port), "--metrics"]
        argv += ["--model" if config.model.endswith(".gguf") else "--hf-repo", config.model]
        argv += ["--alias", config.served_name, "--parallel", str(slots)]
        if config.settings.max_model_len:  # llama.cpp divides the context among its slots
            argv += ["--ctx-size", str(config.settings.max_model_len * slots)]
        for flag, value in config.flags.items():
            argv += [flag] if value is True else [flag, str(value)]
        return Launch(tuple(argv), env=config.env)

    def parse_version(self, text: str) -> str | None:
        match = re.search(r"^version: (\d+)", text, re.MULTILINE)
        return match[1] if match else None

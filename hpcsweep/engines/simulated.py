"""The simulated engine, `python -m hpcsweep.simulator`, which replaces a real engine that is not installed.

It writes vLLM's log lines and serves vLLM's endpoints, whichever engine it replaces.
"""

import json
import re
from collections.abc import Mapping

from hpcsweep.engines.base import Endpoints, Engine, Launch, LaunchContext
from hpcsweep.engines.logs.vllm_log import FACTS, NOISE, PHASES
from hpcsweep.spec.axes import BUILTIN_AXES, builtin_level
from hpcsweep.spec.server import EngineSettings, ServerConfig

_VERSION = re.compile(r"hpcsweep\.simulator (\S+)")


class SimulatedEngine(Engine):
    """Adapter of one run on the simulated engine; unlike the other adapters it is created for each run.

    `real`: the engine that it replaces. `profile`: path of the profile on the node. `axes`: axis -> label of every
    axis of the experiment. `repeat`: number of the repeat, which seeds the profile's jitter.
    `LaunchContext.executable` is the Python interpreter.
    """

    name = "simulated"
    executable = "python3"
    modules = ("hpcsweep.simulator",)
    endpoints = Endpoints(cache_salt="cache_salt")
    phase_patterns = PHASES
    fact_patterns = FACTS
    noise = NOISE
    distributions = ("hpcsweep",)
    api_key_env = "VLLM_API_KEY"
    unix_socket = True

    def __init__(self, real: Engine, profile: str, time_scale: float, axes: Mapping[str, str], repeat: int = 1) -> None:
        self._real, self._profile, self._time_scale = real, profile, time_scale
        self._axes, self._repeat = dict(axes), repeat

    def settings(self, config: ServerConfig) -> EngineSettings:
        """Return the neutral settings as the real engine reads them."""
        return self._real.settings(config)

    def unsupported(self, config: ServerConfig) -> list[str]:
        """Return nothing: what the real engine cannot express was rejected before the submission."""
        return []

    def unsupported_across(self, config: ServerConfig, nodes: int) -> list[str]:
        """Return nothing: the real engine was asked before the submission."""
        return []

    def variant(self, config: ServerConfig) -> dict[str, str]:
        """Return what the rules of a profile match: every built-in axis that is set, flags, and the run's own axes."""
        settings = self.settings(config)
        variant = {"model": config.model, "engine": config.engine}
        for axis in BUILTIN_AXES.values():
            value = getattr(settings, axis.setting, None)
            if value is not None:
                variant[axis.name] = builtin_level(axis.name, value).label
        for flag, setting in config.flags.items():
            variant[flag] = setting if isinstance(setting, str) else json.dumps(setting)
        return variant | self._axes

    def launch(self, config: ServerConfig, context: LaunchContext) -> Launch:
        """Return the command; see `Engine.launch`."""
        settings = self.settings(config)
        argv = [context.executable, "-m", "hpcsweep.simulator", "--model", config.model]
        argv += (
            ["--uds", context.socket_path]
            if context.socket_path
            else ["--host", context.host, "--port", str(context.port)]
        )
        argv += ["--served-model-name", config.served_name]
        argv += ["--profile", self._profile, "--time-scale", f"{self._time_scale:g}", "--repeat", str(self._repeat)]
        argv += ["--variant", json.dumps(self.variant(config), sort_keys=True)]
        numbers = {
            "--max-model-len": settings.max_model_len,
            "--max-num-seqs": settings.max_num_seqs,
            "--max-num-batched-tokens": settings.max_num_batched_tokens,
        }
        for flag, number in numbers.items():
            if number is not None:
                argv += [flag, str(number)]
        if settings.prefix_caching is False:
            argv.append("--no-enable-prefix-caching")
        if context.placement is not None:
            placement = context.placement
            argv += ["--nnodes", str(placement.nodes), "--node-rank", str(placement.rank)]
            argv += ["--master-addr", placement.address, "--master-port", str(placement.port)]
        return Launch(tuple(argv), dict(config.env))

    def version_argv(self, executable: str) -> tuple[str, ...]:
        """Return the arguments that print the version of the simulator."""
        return ("-m", self.modules[0], "--version")

    def help_argv(self, executable: str) -> tuple[str, ...]:
        """Return the arguments that print the flags of the simulator."""
        return ("-m", self.modules[0], "--help")

    def parse_version(self, text: str) -> str | None:
        """Return the version; see `Engine.parse_version`."""
        match = _VERSION.search(text)
        return match[1] if match else None

"""The simulated engine, `python -m hpcsweep.simulator`: stands in for a real one where that is not installed.

It writes vLLM's log lines and serves vLLM's endpoints, whichever engine it stands in for.
"""

import json
import re
from collections.abc import Mapping, Sequence

from hpcsweep.engines.base import Endpoints, Engine, FactPattern, FailurePattern, Launch, LaunchContext, PhasePattern
from hpcsweep.engines.logs.vllm_log import FACTS, NOISE, PHASES
from hpcsweep.spec.axes import BUILTIN_AXES, builtin_level
from hpcsweep.spec.server import EngineSettings, ServerConfig

_VERSION = re.compile(r"hpcsweep\.simulator (\S+)")


class SimulatedEngine:
    """One variant on the simulated engine. Unlike the other adapters it is made for one run.

    `real`: the engine that it stands in for. `profile`: path of the profile on the node. `axes`: axis -> label of
    every axis of the experiment. `repeat`: of the run; the profile's jitter differs from one to the next.
    `LaunchContext.executable` is the Python interpreter.
    """

    name: str = "simulated"
    endpoints: Endpoints = Endpoints(cache_salt="cache_salt")
    phase_patterns: Sequence[PhasePattern] = PHASES
    fact_patterns: Sequence[FactPattern] = FACTS
    failure_patterns: Sequence[FailurePattern] = ()
    noise: Sequence[re.Pattern[str]] = NOISE
    version_argv: tuple[str, ...] = ("-m", "hpcsweep.simulator", "--version")
    help_argv: tuple[str, ...] = ("-m", "hpcsweep.simulator", "--help")
    distributions: tuple[str, ...] = ("hpcsweep",)
    api_key_env: str | None = "VLLM_API_KEY"
    unix_socket: bool = True

    def __init__(self, real: Engine, profile: str, time_scale: float, axes: Mapping[str, str], repeat: int = 1) -> None:
        self._real, self._profile, self._time_scale = real, profile, time_scale
        self._axes, self._repeat = dict(axes), repeat

    def settings(self, config: ServerConfig) -> EngineSettings:
        """See `Engine.settings`: as the real engine understands them."""
        return self._real.settings(config)

    def unsupported(self, config: ServerConfig) -> list[str]:
        """Nothing: what the real engine cannot express was refused before the run was submitted."""
        return []

    def variant(self, config: ServerConfig) -> dict[str, str]:
        """What rules of a profile are matched on: every built-in axis that is set, flags, and the run's own axes."""
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
        """See `Engine.launch`."""
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
        return Launch(tuple(argv), dict(config.env))

    def parse_version(self, text: str) -> str | None:
        """See `Engine.parse_version`."""
        match = _VERSION.search(text)
        return match[1] if match else None

"""The registry of engines: the built-in ones, and those of plugins (entry points of the group `hpcsweep.engines`)."""

from collections.abc import Mapping
from types import MappingProxyType

from hpcsweep.engines.base import Engine
from hpcsweep.errors import EngineError
from hpcsweep.registry import Registry

GROUP = "hpcsweep.engines"

ENGINES: Registry[Engine] = Registry(
    GROUP,
    "engine",
    {
        "vllm": "hpcsweep.engines.vllm:Vllm",
        "sglang": "hpcsweep.engines.sglang:Sglang",
        "trtllm": "hpcsweep.engines.trtllm:TensorRtLlm",
    },
    EngineError,
)


def engines() -> Mapping[str, Engine]:
    """Return every engine by its name. A plugin that cannot be loaded is left out with a warning."""
    return MappingProxyType(ENGINES.all())


def get_engine(name: str) -> Engine:
    """Return the engine of this name. Raises EngineError, with the nearest name, for an unknown one."""
    return ENGINES.get(name)

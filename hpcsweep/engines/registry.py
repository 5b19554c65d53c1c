"""The engines: the built-in ones, and those of plugins (entry points of the group `hpcsweep.engines`)."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from hpcsweep.engines.base import Engine
from hpcsweep.engines.sglang import Sglang
from hpcsweep.engines.trtllm import TensorRtLlm
from hpcsweep.engines.vllm import Vllm
from hpcsweep.errors import EngineError
from hpcsweep.plugins import plugins
from hpcsweep.spec.base import nearest

GROUP = "hpcsweep.engines"

BUILTIN_ENGINES: Mapping[str, Engine] = MappingProxyType(
    {engine.name: engine for engine in (Vllm(), Sglang(), TensorRtLlm())}
)


@cache
def engines() -> Mapping[str, Engine]:
    """Every engine by its name. A plugin that cannot be loaded, or takes a built-in name, is warned of and left out."""
    own = plugins(GROUP, "engine", BUILTIN_ENGINES, lambda made: made(), lambda engine: engine.name)
    return MappingProxyType({**BUILTIN_ENGINES, **own})


def get_engine(name: str) -> Engine:
    """The engine of this name. Raises EngineError, with the nearest known name, when there is none."""
    try:
        return engines()[name]
    except KeyError:
        raise EngineError(f"unknown engine {name!r}", hint=nearest(name, engines())) from None

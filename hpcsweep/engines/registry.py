"""The engines: the built-in ones, and those of plugins (entry points of the group `hpcsweep.engines`)."""

import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

from hpcsweep.engines.base import Engine
from hpcsweep.engines.sglang import Sglang
from hpcsweep.engines.trtllm import TensorRtLlm
from hpcsweep.engines.vllm import Vllm
from hpcsweep.errors import EngineError
from hpcsweep.spec.base import nearest

GROUP = "hpcsweep.engines"

BUILTIN_ENGINES: Mapping[str, Engine] = MappingProxyType(
    {engine.name: engine for engine in (Vllm(), Sglang(), TensorRtLlm())}
)


@cache
def engines() -> Mapping[str, Engine]:
    """Every engine by its name. A plugin that cannot be loaded, or takes a built-in name, is warned of and left out."""
    found = dict(BUILTIN_ENGINES)
    for point in entry_points(group=GROUP):
        try:
            engine = point.load()()
            name = engine.name
        except Exception as exc:  # noqa: BLE001 - a plugin may fail in any way; it is named and left out
            warnings.warn(f"engine plugin {point.name} ({point.value}) is left out: {exc!r}", stacklevel=2)
            continue
        if name in found:
            warnings.warn(f"engine plugin {point.name} ({point.value}) is left out: {name!r} is taken", stacklevel=2)
            continue
        found[name] = engine
    return MappingProxyType(found)


def get_engine(name: str) -> Engine:
    """The engine of this name. Raises EngineError, with the nearest known name, when there is none."""
    try:
        return engines()[name]
    except KeyError:
        raise EngineError(f"unknown engine {name!r}", hint=nearest(name, engines())) from None

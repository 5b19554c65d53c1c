"""what installed plugins add to a registry. A plugin that fails is a warning that names it, never an error."""

import warnings
from collections.abc import Callable, Container
from importlib.metadata import entry_points
from typing import Any, TypeVar

Plugin = TypeVar("Plugin")


def plugins(
    group: str, what: str, taken: Container[str], make: Callable[[Any], Plugin], name_of: Callable[[Plugin], str]
) -> dict[str, Plugin]:
    """Name -> plugin of the entry points of `group`; `make` turns what an entry point names into the plugin.

    One that cannot be loaded, or whose name is in `taken`, is warned of as a plugin of this `what` and left out.
    """
    found: dict[str, Plugin] = {}
    for point in entry_points(group=group):
        try:
            plugin = make(point.load())
            name = name_of(plugin)
        except Exception as exc:  # noqa: BLE001 - a plugin may fail in any way; it is named and left out
            warnings.warn(f"{what} plugin {point.name} ({point.value}) is left out: {exc!r}", stacklevel=3)
            continue
        if name in taken or name in found:
            warnings.warn(f"{what} plugin {point.name} ({point.value}) is left out: {name!r} is taken", stacklevel=3)
            continue
        found[name] = plugin
    return found

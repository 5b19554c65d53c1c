"""One registry for every seam: engines, schedulers, datasets, load clients and report formats."""

import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from hpcsweep.errors import HpcsweepError, nearest

Plugin = TypeVar("Plugin")


class Registry(Generic[Plugin]):
    """The built-in and the installed implementations of one kind of thing, loaded when first needed.

    Contract of an implementation: a class that is called without arguments, whose `name` equals the name of its entry
    point in `group`. A plugin that breaks the contract, or cannot be imported, is a warning that names it, never an
    error; it cannot replace a built-in implementation.
    """

    def __init__(self, group: str, what: str, builtin: Mapping[str, str], error: type[HpcsweepError]) -> None:
        """Describe the registry.

        `group`: of the entry points. `what`: the thing in messages ("engine"). `builtin`: name -> `module:Class`.
        `error`: raised by `get` for an unknown name.
        """
        self.group, self.what, self.builtin = group, what, dict(builtin)
        self._error = error
        self._loaded: dict[str, Plugin] = {}
        self._points: dict[str, EntryPoint] | None = None
        self._broken: dict[str, str] = {}

    def names(self) -> list[str]:
        """Return all names, sorted, without importing any plugin; those that proved broken are left out."""
        return sorted((self.builtin.keys() | self._plugins().keys()) - self._broken.keys())

    def get(self, name: str) -> Plugin:
        """Return the implementation of this name. Raises the registry's error, with the nearest known name."""
        if name not in self._loaded and name in self.builtin:
            module, _, attribute = self.builtin[name].partition(":")
            self._loaded[name] = getattr(import_module(module), attribute)()
        elif name not in self._loaded and name in self._plugins() and name not in self._broken:
            self._load(name, self._plugins()[name])
        if name not in self._loaded:
            reason = self._broken.get(name)
            raise self._error(
                f"{self.what} plugin {name!r} cannot be used" if reason else f"unknown {self.what} {name!r}",
                code="plugin_broken" if reason else f"unknown_{self.what.replace(' ', '_')}",
                detail=reason or "",
                hint=nearest(name, self.names()),
            )
        return self._loaded[name]

    def all(self) -> dict[str, Plugin]:
        """Return name -> implementation of every one that can be used."""
        usable: dict[str, Plugin] = {}
        for name in self.names():
            try:
                usable[name] = self.get(name)
            except HpcsweepError:  # already warned about
                continue
        return usable

    def _plugins(self) -> dict[str, EntryPoint]:
        if self._points is None:
            self._points = {}
            for point in entry_points(group=self.group):
                if point.name in self.builtin or point.name in self._points:
                    self._warn(point, f"the name {point.name!r} is taken")
                else:
                    self._points[point.name] = point
        return self._points

    def _load(self, name: str, point: EntryPoint) -> None:
        try:
            plugin: Any = point.load()()
            if plugin.name != name:
                raise ValueError(f"its name is {plugin.name!r}, its entry point {name!r}")
        except Exception as exc:  # noqa: BLE001 - a plugin may fail in any way; it is named and left out
            self._broken[name] = repr(exc)
            self._warn(point, repr(exc))
        else:
            self._loaded[name] = plugin

    def _warn(self, point: EntryPoint, reason: str) -> None:
        warnings.warn(f"{self.what} plugin {point.name} ({point.value}) is ignored: {reason}", stacklevel=4)

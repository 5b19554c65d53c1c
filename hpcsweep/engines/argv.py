"""From neutral settings and a user's own flags to arguments, and back, by an engine's table of flags."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcsweep.spec.server import FlagValue, ServerConfig, Settings

_HUMAN = re.compile(r"(\d+(?:\.\d+)?)([kKmMgG]?)")
_FACTORS = {"": 1, "k": 10**3, "K": 2**10, "m": 10**6, "M": 2**20, "g": 10**9, "G": 2**30}


@dataclass(frozen=True)
class SettingFlag:
    """How an engine says one neutral setting.

    `flag` takes a value. A switch has `on` and `off` instead; None: that is the engine's default and needs no flag.
    `aliases`: other long names of `flag` or `on`.
    """

    setting: str
    flag: str | None = None
    on: str | None = None
    off: str | None = None
    aliases: tuple[str, ...] = ()


def canonical(flag: str) -> str:
    """`--max_model_len` as `--max-model-len`: the engines read both."""
    return "--" + flag.lstrip("-").replace("_", "-")


def settings_argv(table: Sequence[SettingFlag], settings: Settings) -> list[str]:
    """The arguments that say `settings`, in the order of the table. What is None is left to the engine."""
    argv: list[str] = []
    for entry in table:
        value = getattr(settings, entry.setting)
        if value is None:
            continue
        if entry.flag is not None:
            argv += [entry.flag, _text(value)]
            continue
        switch = entry.on if value else entry.off
        if switch is not None:
            argv.append(switch)
    return argv


def flags_argv(flags: Mapping[str, FlagValue], *, negatable: bool) -> list[str]:
    """A user's own flags as arguments, untouched. `negatable`: False is the flag's `--no-` form; else it is left out.

    A value that starts with a dash is joined by `=`, so that no parser takes it for a flag.
    """
    argv: list[str] = []
    for flag, value in flags.items():
        if value is None or (value is False and not negatable):
            continue
        if value is True:
            argv.append(flag)
        elif value is False:
            argv.append("--no-" + flag.removeprefix("--"))
        elif isinstance(value, list):
            argv += [flag, *value]
        else:
            text = _text(value)
            argv += [f"{flag}={text}"] if text.startswith("-") else [flag, text]
    return argv


def merged_settings(table: Sequence[SettingFlag], config: ServerConfig) -> Settings:
    """The neutral settings of `config`, completed by its flags that say the same in the engine's own names."""
    said = _said_by_flags(table, config.flags)
    own = {name: value for name, value in config.settings.model_dump().items() if value is not None}
    return Settings.model_validate(said | own)


def conflicts(table: Sequence[SettingFlag], config: ServerConfig) -> list[str]:
    """A sentence for each setting that an axis and a flag give different values."""
    sentences = []
    for setting, value in _said_by_flags(table, config.flags).items():
        own = getattr(config.settings, setting)
        if own is not None and own != value:
            sentences.append(f"{setting} is {own} by its axis, but {value} by a flag of `serve`: take one of them out")
    return sentences


def _said_by_flags(table: Sequence[SettingFlag], flags: Mapping[str, FlagValue]) -> dict[str, Any]:
    given = {canonical(flag): value for flag, value in flags.items() if value is not None}
    said: dict[str, Any] = {}
    for entry in table:
        for name in (entry.flag, *entry.aliases):
            if name is not None and entry.flag is not None and canonical(name) in given:
                value = _read(entry.setting, given[canonical(name)])
                if value is not None:
                    said[entry.setting] = value
        for switch, meaning in ((entry.on, True), (entry.off, False), *((name, True) for name in entry.aliases)):
            if switch is not None and entry.flag is None and canonical(switch) in given:
                said[entry.setting] = meaning if given[canonical(switch)] is not False else not meaning
    return said


def _read(setting: str, value: FlagValue) -> Any:
    """The value of a setting as an engine would read it; None: it cannot be told."""
    if isinstance(value, (bool, list)) or value is None:
        return None
    if setting in ("kv_cache_dtype", "quantization"):
        return str(value)
    match = _HUMAN.fullmatch(str(value).strip())
    if match is None:
        return None
    number = float(match[1]) * _FACTORS[match[2]]
    if setting == "gpu_memory_utilization":
        return number if 0 < number <= 1 else None
    return int(number) if number >= 1 else None


def _text(value: FlagValue) -> str:
    return repr(value) if isinstance(value, float) else str(value)

"""Convert neutral settings and a user's own flags to arguments and back, with an engine's table of flags."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcsweep.spec.server import EngineSettings, FlagValue, ServerConfig

_HUMAN = re.compile(r"(\d+(?:\.\d+)?)([kKmMgG]?)")
_FACTORS = {"": 1, "k": 10**3, "K": 2**10, "m": 10**6, "M": 2**20, "g": 10**9, "G": 2**30}


@dataclass(frozen=True)
class SettingFlag:
    """How an engine spells one neutral setting.

    `flag` takes a value. A switch has `on` and `off` instead; None: the engine's default, which needs no flag.
    `aliases`: other long names of `flag` or `on`.
    """

    setting: str
    flag: str | None = None
    on: str | None = None
    off: str | None = None
    aliases: tuple[str, ...] = ()

    def switches(self) -> dict[str, bool]:
        """Return every flag of a switch with the value that it sets; empty for a flag with a value."""
        if self.flag is not None:
            return {}
        yes = [name for name in (self.on, *self.aliases) if name is not None]
        meaning = dict.fromkeys(yes, True) | {"--no-" + name.removeprefix("--"): False for name in yes}
        return meaning | ({self.off: False, self.off.replace("--no-", "--", 1): True} if self.off is not None else {})

    def names(self) -> list[str]:
        """Return every flag that sets this setting."""
        return [self.flag, *self.aliases] if self.flag is not None else list(self.switches())


def canonical(flag: str) -> str:
    """Return `--max_model_len` as `--max-model-len`; the engines accept both."""
    return "--" + flag.lstrip("-").replace("_", "-")


def settings_argv(table: Sequence[SettingFlag], settings: EngineSettings) -> list[str]:
    """Return the arguments for `settings`, in the order of the table. None leaves a setting to the engine."""
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
    """Return a user's own flags as arguments, unchanged.

    `negatable`: False becomes the flag's `--no-` form; otherwise it is left out. A value that starts with a dash is
    joined with `=`, so that no parser takes it for a flag.
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


def merged_settings(table: Sequence[SettingFlag], config: ServerConfig) -> EngineSettings:
    """Return the neutral settings of `config`, completed by its flags that set the same in the engine's own names."""
    from_flags = _settings_in_flags(table, config.flags)
    own = {name: value for name, value in config.settings.model_dump().items() if value is not None}
    return EngineSettings.model_validate(from_flags | own)


def passed_flags(table: Sequence[SettingFlag], config: ServerConfig) -> dict[str, FlagValue]:
    """Return the flags of `config` to pass on: all but those of a setting that an axis sets, which takes precedence."""
    taken = {
        canonical(name)
        for entry in table
        if getattr(config.settings, entry.setting) is not None
        for name in entry.names()
    }
    return {flag: value for flag, value in config.flags.items() if canonical(flag) not in taken}


def _settings_in_flags(table: Sequence[SettingFlag], flags: Mapping[str, FlagValue]) -> dict[str, Any]:
    given = {canonical(flag): value for flag, value in flags.items() if value is not None}
    settings: dict[str, Any] = {}
    for entry in table:
        meanings = {canonical(name): meaning for name, meaning in entry.switches().items()}
        for name in (canonical(name) for name in entry.names()):
            if name not in given:
                continue
            value = _read(entry.setting, given[name]) if not meanings else meanings[name] is (given[name] is not False)
            if value is not None:
                settings[entry.setting] = value
    return settings


def _read(setting: str, value: FlagValue) -> Any:
    """Return the value of a setting as an engine would read it; None: unknown."""
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

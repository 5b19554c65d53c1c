"""Axes: the built-in ones, which are independent of the engine, and custom ones."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from hpcsweep.errors import SpecError
from hpcsweep.spec.axis_names import FALSE_WORDS, TRUE_WORDS, axis_name
from hpcsweep.spec.base import EnvironmentName, Model, nearest
from hpcsweep.spec.container import Container
from hpcsweep.spec.renamed import RenamedModel, rename_axes
from hpcsweep.spec.server import FlagValue
from hpcsweep.units import format_tokens, parse_tokens


@dataclass(frozen=True)
class Level:
    """One value of an axis: its label and what it sets. `value` is independent of the engine, for exports."""

    label: str
    value: Any
    settings: Mapping[str, Any] = field(default_factory=dict)
    flags: Mapping[str, FlagValue] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    engine: str | None = None
    image: str | None = None


def _switch(words: tuple[str, str]) -> Callable[[Any], tuple[Any, str]]:
    def read(raw: Any) -> tuple[Any, str]:
        word = str(raw).lower()
        if word in TRUE_WORDS or word == "1":
            return True, words[0]
        if word in FALSE_WORDS or word == "0":
            return False, words[1]
        raise ValueError(f"expected {words[0]} or {words[1]}, got {raw!r}")

    return read


def _tokens(raw: Any) -> tuple[Any, str]:
    tokens = parse_tokens(raw)
    if tokens < 1:
        raise ValueError(f"expected at least 1 token, got {raw!r}")
    return tokens, format_tokens(tokens)


def _count(raw: Any) -> tuple[Any, str]:
    if not re.fullmatch(r"[1-9]\d*", str(raw)):
        raise ValueError(f"expected a whole number of at least 1, got {raw!r}")
    return int(raw), str(raw)


def _fraction(raw: Any) -> tuple[Any, str]:
    try:
        value = float(raw)
    except (TypeError, ValueError):
        value = -1.0
    if not 0 < value <= 1:
        raise ValueError(f"expected a fraction above 0 and up to 1, got {raw!r}")
    return value, f"{value:g}"


def _word(raw: Any) -> tuple[Any, str]:
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError(f"expected a name, got {raw!r}")
    return raw, raw


def _image(raw: Any) -> tuple[Any, str]:
    return Container(image=_word(raw)[0]).image, raw


@dataclass(frozen=True)
class BuiltinAxis:
    """An axis that every engine adapter translates. `setting`: field of `Settings`, or `model`, `engine`, `image`."""

    name: str
    setting: str
    read: Callable[[Any], tuple[Any, str]]
    meaning: str


BUILTIN_AXES: Mapping[str, BuiltinAxis] = {
    axis.name: axis
    for axis in (
        BuiltinAxis("ep", "expert_parallel", _switch(("on", "off")), "expert parallelism"),
        BuiltinAxis("eager", "enforce_eager", _switch(("yes", "no")), "eager mode instead of compilation"),
        BuiltinAxis("len", "max_model_len", _tokens, "context length, tokens"),
        BuiltinAxis("tp", "tensor_parallel_size", _count, "tensor parallel size"),
        BuiltinAxis("pp", "pipeline_parallel_size", _count, "pipeline parallel size"),
        BuiltinAxis("dp", "data_parallel_size", _count, "data parallel size"),
        BuiltinAxis("max_num_batched_tokens", "max_num_batched_tokens", _tokens, "maximum tokens in one engine step"),
        BuiltinAxis("max_num_seqs", "max_num_seqs", _count, "maximum sequences in one engine step"),
        BuiltinAxis("kv_dtype", "kv_cache_dtype", _word, "data type of the KV cache"),
        BuiltinAxis("quantization", "quantization", _word, "quantization of the weights"),
        BuiltinAxis("gpu_memory", "gpu_memory_utilization", _fraction, "fraction of GPU memory to use"),
        BuiltinAxis("prefix_cache", "prefix_caching", _switch(("on", "off")), "prefix caching"),
        BuiltinAxis("chunked_prefill", "chunked_prefill", _switch(("on", "off")), "chunked prefill"),
        BuiltinAxis("model", "model", _word, "model name or path"),
        BuiltinAxis("engine", "engine", _word, "inference engine"),
        BuiltinAxis("image", "image", _image, "container image"),
    )
}


AxisLevels = Annotated[dict[str, Any], BeforeValidator(rename_axes)]
"""Axis -> level, as written in the file."""


class Bundle(RenamedModel):
    """A named level that sets several things at once."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"flags": "engine_args"}

    set: AxisLevels = Field({}, description="built-in axis -> level")
    engine_args: dict[str, FlagValue] = Field({}, description="engine flags, in the engine's own names")
    env: dict[EnvironmentName, str] = {}


class CustomAxis(Model):
    """A custom axis: an engine flag, an environment variable, or levels that set several things."""

    flag: str | None = Field(None, pattern=r"^--[A-Za-z0-9][A-Za-z0-9._-]*$")
    env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    levels: list[Any] | dict[str, Bundle] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_kind(self) -> "CustomAxis":
        bundles = isinstance(self.levels, dict)
        kinds = [self.flag is not None, self.env is not None, bundles]
        if sum(kinds) != 1:
            raise ValueError("a custom axis needs exactly one of `flag`, `env`, or a mapping of named `levels`")
        return self


def read_level(axes: Mapping[str, "list[Any] | CustomAxis"], axis: str, raw: Any) -> Level:
    """Return the level of `axis` written as `raw` in the file or on the command line.

    `axes`: those of the experiment. Raises SpecError with the axis, the value and the known levels.
    """
    axis = axis_name(axis)
    spec = axes.get(axis)
    if isinstance(spec, CustomAxis):
        known = custom_levels(axis, spec)
        for level in known:
            if level.label == str(raw):
                return level
        if isinstance(spec.levels, dict):
            raise SpecError(
                f"axis {axis}: unknown level {raw!r}",
                code="unknown_level",
                hint=nearest(raw, [level.label for level in known]),
            )
        return custom_level(spec, raw)
    if axis not in BUILTIN_AXES:
        hint = nearest(axis, [*axes, *(name for name in BUILTIN_AXES if name not in axes)])
        raise SpecError(f"unknown axis {axis!r}", code="unknown_axis", hint=hint)
    return builtin_level(axis, raw)


def builtin_level(axis: str, raw: Any) -> Level:
    """Return the level of a built-in axis written as `raw`. Raises SpecError with axis and value."""
    builtin = BUILTIN_AXES[axis]
    try:
        value, label = builtin.read(raw)
    except ValueError as exc:
        raise SpecError(f"axis {axis} ({builtin.meaning}): {exc}", code="invalid_level") from exc
    if builtin.setting == "model":
        return Level(label, value, model=value)
    if builtin.setting == "engine":
        return Level(label, value, engine=value)
    if builtin.setting == "image":
        return Level(label, value, image=value)
    return Level(label, value, settings={builtin.setting: value})


def custom_levels(name: str, axis: CustomAxis) -> list[Level]:
    """Return the levels of a custom axis, in the order of the file."""
    if isinstance(axis.levels, dict):
        return [_bundle_level(name, label, bundle) for label, bundle in axis.levels.items()]
    return [custom_level(axis, raw) for raw in axis.levels]


def custom_level(axis: CustomAxis, raw: Any) -> Level:
    """Return the level of a flag or environment axis for one raw value, which the file need not contain."""
    if axis.flag is not None:
        return Level(_label(raw), raw, flags={axis.flag: _flag_value(raw)})
    return Level(_label(raw), raw, env={str(axis.env): _label(raw)})


def _bundle_level(name: str, label: str, bundle: Bundle) -> Level:
    settings: dict[str, Any] = {}
    model = engine = image = None
    for inner, raw in bundle.set.items():
        if inner not in BUILTIN_AXES:
            raise SpecError(
                f"axis {name}, level {label}: unknown axis {inner!r}",
                code="unknown_axis",
                hint=nearest(inner, BUILTIN_AXES),
            )
        level = builtin_level(inner, raw)
        settings |= level.settings
        model, engine, image = level.model or model, level.engine or engine, level.image or image
    return Level(label, label, settings, bundle.engine_args, bundle.env, model, engine, image)


def _label(raw: Any) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    return "none" if raw is None else str(raw)


def _flag_value(raw: Any) -> FlagValue:
    if isinstance(raw, str) and raw.lower() in TRUE_WORDS:
        return True
    if isinstance(raw, str) and raw.lower() in FALSE_WORDS:
        return False
    if raw is None or isinstance(raw, (bool, int, float, str)):
        return raw
    return [str(item) for item in raw] if isinstance(raw, list) else str(raw)

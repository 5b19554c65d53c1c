"""The base classes of all models, and validation errors as text with file and line."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError
from pydantic.fields import FieldInfo

from hpcsweep.errors import SpecError, nearest
from hpcsweep.units import parse_bytes, parse_duration_s, parse_tokens

__all__ = [
    "Bytes",
    "EnvironmentName",
    "Misplaced",
    "Model",
    "Record",
    "Seconds",
    "Tokens",
    "known_keys",
    "line_of",
    "nearest",
    "spec_error",
    "unknown_key",
    "validation_text",
]


class Model(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Misplaced(ValueError):
    """An error found by a validator of a whole model, at `path` below that model: keys and indexes of the file."""

    def __init__(self, message: str, *path: str | int, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.path, self.code = path, code


class Record(BaseModel):
    """A frozen model of a record that one version writes and another reads: unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


Seconds = Annotated[float, BeforeValidator(parse_duration_s)]
"""Seconds; read from `90`, `20m`, `02:00:00`."""

Bytes = Annotated[int, BeforeValidator(parse_bytes)]
"""Bytes; read from `512G`."""

Tokens = Annotated[int, BeforeValidator(parse_tokens)]
"""Tokens; read from `8k`, `8192`; k = 1024."""


EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
"""Name of an environment variable as in POSIX. It is written into shell scripts, where a name cannot be quoted."""


def known_keys(model: type[BaseModel]) -> list[str]:
    """Return the names of the fields of `model`, as a user writes them."""
    fields: Mapping[str, FieldInfo] = model.model_fields
    return [field.alias or name for name, field in fields.items()]


def validation_text(exc: ValidationError) -> str:
    """Return the first error of `exc` as `path.of.keys: message`, and the number of further errors."""
    first = exc.errors()[0]
    path, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    more = exc.error_count() - 1
    return (f"{path}: {message}" if path else message) + (f" (and {more} more)" if more else "")


def unknown_key(exc: ValidationError) -> str | None:
    """Return the dotted path of the key if the first error of `exc` is an unknown key; None: another error."""
    first = exc.errors()[0]
    return ".".join(map(str, first["loc"])) if first["type"] == "extra_forbidden" else None


def line_of(lines: Mapping[tuple[Any, ...], int], path: tuple[Any, ...]) -> int | None:
    """Return the line of `path`, or of the nearest key above it; None: no line is known."""
    return next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)


def spec_error(
    exc: ValidationError, model: type[BaseModel], where: str, lines: Mapping[tuple[Any, ...], int]
) -> SpecError:
    """Return the first error of `exc` as a `SpecError` with file, line, path and the nearest known key.

    `lines` maps a path of keys, as in `exc.errors()[i]["loc"]`, to a line number of the file, from 1.
    """
    first = exc.errors()[0]
    loc = tuple(first["loc"])
    cause = first.get("ctx", {}).get("error")
    line = line_of(lines, loc + cause.path if isinstance(cause, Misplaced) else loc)
    location = f"{where}, line {line}" if line else where
    path = ".".join(str(part) for part in loc)
    hint = ""
    code = cause.code if isinstance(cause, Misplaced) else "invalid_value"
    if first["type"] == "extra_forbidden":
        code, message = "unknown_key", f"{location}: unknown key {path!r}"
        owner = _model_at(model, loc[:-1])
        if owner is not None:
            hint = nearest(str(loc[-1]), known_keys(owner))
    elif first["type"] == "missing":
        code, message = "missing_key", f"{location}: missing key {path!r}"
    else:
        text = first["msg"].removeprefix("Value error, ")
        message = f"{location}: {path}: {text}" if path else f"{location}: {text}"
        if first["type"] != "value_error":
            message += f" (got {first['input']!r})"
    more = exc.error_count() - 1
    return SpecError(message, code=code, hint=hint, detail=f"and {more} more errors in this file" if more else "")


def _model_at(model: type[BaseModel], loc: tuple[Any, ...]) -> type[BaseModel] | None:
    """Return the model at `loc` below `model`; None: `loc` is not the path of a model."""
    current: type[BaseModel] | None = model
    for part in loc:
        if current is None:
            return None
        field = current.model_fields.get(str(part))
        if field is None:
            continue  # a key of a mapping or an index of a list: `current` is already its model
        current = next((m for m in _models_in(field.annotation)), None)
    return current


def _models_in(annotation: Any) -> Iterable[type[BaseModel]]:
    # On Python 3.10 `dict[str, str]` is an instance of `type`, but issubclass rejects it.
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)

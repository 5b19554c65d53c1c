"""The base of all models, and errors that say where in the file something is wrong."""

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
    "nearest",
    "renamed",
    "spec_error",
]


class Model(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Misplaced(ValueError):
    """A fault that a validator of a whole model finds at `path` below it: keys and indexes, as in the file."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path = path


class Record(BaseModel):
    """A frozen model of something written by one version and read by another: unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def renamed(data: Any, **names: str) -> Any:
    """Return the data of a record with old keys replaced by new ones. `names`: old key -> new key."""
    if not isinstance(data, dict):
        return data
    return {names.get(key, key): value for key, value in data.items() if names.get(key) not in data}


Seconds = Annotated[float, BeforeValidator(parse_duration_s)]
"""Seconds; read from `90`, `20m`, `02:00:00`."""

Bytes = Annotated[int, BeforeValidator(parse_bytes)]
"""Bytes; read from `512G`."""

Tokens = Annotated[int, BeforeValidator(parse_tokens)]
"""Tokens; read from `8k`, `8192`; k = 1024."""


EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
"""Name of an environment variable as POSIX has it: it is written into shell scripts, where nothing could quote it."""


def known_keys(model: type[BaseModel]) -> list[str]:
    """Names of the fields of `model`, as a user writes them."""
    fields: Mapping[str, FieldInfo] = model.model_fields
    return [field.alias or name for name, field in fields.items()]


def spec_error(
    exc: ValidationError, model: type[BaseModel], where: str, lines: Mapping[tuple[Any, ...], int]
) -> SpecError:
    """One `SpecError` for the first fault of `exc`, with file, line, path and the nearest known key.

    `lines` maps a path of keys, as in `exc.errors()[i]["loc"]`, to a line number of the file, 1-based.
    """
    first = exc.errors()[0]
    loc = tuple(first["loc"])
    cause = first.get("ctx", {}).get("error")
    at = loc + cause.path if isinstance(cause, Misplaced) else loc
    line = next((lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in lines), None)
    place = f"{where}, line {line}" if line else where
    path = ".".join(str(part) for part in loc)
    hint = ""
    if first["type"] == "extra_forbidden":
        message = f"{place}: unknown key {path!r}"
        owner = _model_at(model, loc[:-1])
        if owner is not None:
            hint = nearest(str(loc[-1]), known_keys(owner))
    else:
        text = first["msg"].removeprefix("Value error, ")
        message = f"{place}: {path}: {text}" if path else f"{place}: {text}"
        if first["type"] not in ("value_error", "missing"):
            message += f" (got {first['input']!r})"
    more = exc.error_count() - 1
    return SpecError(message, hint=hint, detail=f"and {more} more errors in this file" if more else "")


def _model_at(model: type[BaseModel], loc: tuple[Any, ...]) -> type[BaseModel] | None:
    """The model that `loc` leads to from `model`; None when it leads into something else."""
    here: type[BaseModel] | None = model
    for part in loc:
        if here is None:
            return None
        field = here.model_fields.get(str(part))
        if field is None:
            continue  # a key of a mapping, or an index of a list: its model was taken one step before
        here = next((m for m in _models_in(field.annotation)), None)
    return here


def _models_in(annotation: Any) -> Iterable[type[BaseModel]]:
    # Python 3.10 calls `dict[str, str]` a type, of which issubclass then says that it is none.
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)

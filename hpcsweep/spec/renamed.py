"""Keys and axes of experiment files that have a new name: the old one is still read, and noted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ValidationInfo, model_validator

from hpcsweep.spec.axis_names import RENAMED_AXES
from hpcsweep.spec.base import Model

RENAMED_KEYS = {"serve": "engine_args", "margin": "walltime_margin"} | RENAMED_AXES
"""Old key -> new key, for those that are renamed wherever they occur."""

NOTES = "deprecation_notes"
"""Key of the validation context under which a list collects the notes."""


@dataclass(frozen=True)
class DeprecationNote:
    """An old name in an experiment file or an option, and the one that replaces it."""

    old: str
    new: str
    code: ClassVar[str] = "deprecated_name"

    def __str__(self) -> str:
        return f"`{self.old}` is deprecated; use `{self.new}`"


def rename_keys(value: Any, renamed: Mapping[str, str], info: ValidationInfo) -> Any:
    """Return a mapping with its old keys renamed, in the same order; any other value as it is.

    Notes are collected in the list `NOTES` of the validation context, where there is one. Raises ValueError when a
    mapping has the old and the new key.
    """
    if not isinstance(value, dict) or not renamed.keys() & value.keys():
        return value
    result: dict[Any, Any] = {}
    for key, content in value.items():
        name = renamed.get(key, key)
        if name != key:
            if name in value:
                raise ValueError(f"`{key}` is the old name of `{name}`: keep only `{name}`")
            if info.context is not None:
                info.context.setdefault(NOTES, []).append(DeprecationNote(key, name))
        result[name] = content
    return result


def rename_axes(value: Any, info: ValidationInfo) -> Any:
    """Return a mapping of axes under their current names."""
    return rename_keys(value, RENAMED_AXES, info)


class RenamedModel(Model):
    """A model with keys that have a new name."""

    renamed_keys: ClassVar[Mapping[str, str]] = {}
    """Old key -> new key."""

    @model_validator(mode="before")
    @classmethod
    def _rename_keys(cls, value: Any, info: ValidationInfo) -> Any:
        return rename_keys(value, cls.renamed_keys, info)

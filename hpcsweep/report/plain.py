"""Findings, rows and columns as plain JSON values: the one place for it."""

import dataclasses
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

from hpcsweep.analysis.findings import Remark, Variant
from hpcsweep.analysis.findings.compared import Recommendation
from hpcsweep.analysis.findings.measured import Reason

_FORMER_KEYS: dict[type, dict[str, str]] = {
    Variant: {"exp": "short_name"},
    Remark: {"kind": "code"},
    Reason: {"kind": "code"},
    Recommendation: {"why": "why", "not_measured": "not_measured"},
}
"""Keys of earlier versions that are still written: type -> key -> attribute."""


def plain(value: Any) -> Any:
    """Return dataclasses as objects, enums as their values, arrays as lists, NaN and infinities as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or (isinstance(value, (str, int)) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        former = {key: plain(getattr(value, name)) for key, name in _FORMER_KEYS.get(type(value), {}).items()}
        return {**plain_fields(value), **former}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return [plain(inner) for inner in value]


def plain_fields(record: Any, *without: str) -> dict[str, Any]:
    """Return the fields of a dataclass, in their order, as JSON values; those named in `without` are left out."""
    return {
        field.name: plain(getattr(record, field.name))
        for field in dataclasses.fields(record)
        if field.name not in without
    }

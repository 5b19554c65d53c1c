"""Samples as columns: arrays instead of `SampleRow` objects, of which a million would take seconds to create."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One request. `itl_s` is empty where the gaps between chunks were not requested."""

    sample: str
    index: int
    sent_s: float
    prompt_tokens: int | None
    completion_tokens: int | None
    ttft_s: float | None
    e2e_s: float | None
    error: str | None = None
    warmup: bool = False
    cold: str | None = None
    repeat: int = 1
    tokens_from: str = "usage"
    lateness_s: float = 0.0
    finish_reason: str | None = None
    cached_tokens: int | None = None
    itl_s: tuple[float, ...] = ()
    error_detail: str = ""


@dataclass(frozen=True, eq=False)
class SampleColumns:
    """The samples of one workload of one attempt: one column per field of `SampleRow`, all of the same length.

    Numeric columns have NaN for None. `itl_s` and `error_detail` are empty where they were not requested.
    """

    sample: Sequence[str]
    index: Integers
    sent_s: Floats
    prompt_tokens: Floats
    completion_tokens: Floats
    ttft_s: Floats
    e2e_s: Floats
    error: Sequence[str | None]
    warmup: Flags
    cold: Sequence[str | None]
    repeat: Integers
    tokens_from: Sequence[str]
    lateness_s: Floats
    finish_reason: Sequence[str | None]
    cached_tokens: Floats
    itl_s: Sequence[Sequence[float]] = ()
    error_detail: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def from_rows(cls, rows: Sequence[SampleRow]) -> "SampleColumns":
        """Return the columns of `rows`, in their order."""
        return cls.from_lists({field.name: [getattr(row, field.name) for row in rows] for field in fields(cls)})

    @classmethod
    def from_lists(cls, lists: dict[str, Sequence[Any]]) -> "SampleColumns":
        """Return the columns of plain lists by field name; None becomes NaN in numeric columns."""
        columns: dict[str, Any] = dict(lists)
        for name in _FLOATS:
            columns[name] = np.array(lists[name], dtype=np.float64)
        for name in _INTEGERS:
            columns[name] = np.array(lists[name], dtype=np.int64)
        columns["warmup"] = np.array(lists["warmup"], dtype=np.bool_)
        return cls(**columns)


_FLOATS = ("sent_s", "prompt_tokens", "completion_tokens", "ttft_s", "e2e_s", "lateness_s", "cached_tokens")
_INTEGERS = ("index", "repeat")

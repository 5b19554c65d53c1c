"""Column types for an array or a JSON value in one cell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Dialect, LargeBinary, Text
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Json(TypeDecorator[Any]):
    """A JSON value as text, its keys in their order. NULL reads as None."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class _Packed(TypeDecorator[Any]):
    """Arrays. numpy is imported on use: `status` reads no arrays, and has to be fast."""

    impl = LargeBinary
    cache_ok = True
    dtype = "<f8"

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes:
        import numpy as np

        return np.asarray(value, dtype=self.dtype).tobytes()

    def process_result_value(self, value: Any, dialect: Dialect) -> NDArray[Any]:
        import numpy as np

        return np.frombuffer(value or b"", dtype=self.dtype)


class Floats(_Packed):
    """float64, little-endian, one after the other. NaN stands for None."""

    cache_ok = True


class ShortFloats(_Packed):
    """float32, little-endian: 7 digits, for gaps between chunks."""

    cache_ok = True
    dtype = "<f4"


class Integers(_Packed):
    """int64, little-endian."""

    cache_ok = True
    dtype = "<i8"


class Flags(_Packed):
    """One byte each, 0 or 1."""

    cache_ok = True
    dtype = "?"


class Words(TypeDecorator[list[str | None]]):
    """Texts as a JSON list, or `{"n": 1000, "all": "length"}` where they are all the same."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        words = list(value)
        if len(words) > 1 and len(set(words)) == 1:
            return json.dumps({"n": len(words), "all": words[0]})
        return json.dumps(words, separators=(",", ":"))

    def process_result_value(self, value: Any, dialect: Dialect) -> list[str | None]:
        words = json.loads(value or "[]")
        if isinstance(words, dict):
            return [words["all"]] * int(words["n"])
        return list(words)

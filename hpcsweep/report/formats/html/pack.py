"""Packing of the data and the plotting library inside a report, so that no browser parses them as HTML."""

import base64
import gzip
import json
import math
from typing import Any

_LEVEL = 6  # of gzip; level 9 takes three times as long for 1% less


def pack(text: str) -> str:
    """Return text as base64 of gzip, for a browser's DecompressionStream. The result is reproducible."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), _LEVEL, mtime=0)).decode("ascii")


def pack_json(value: Any) -> str:
    """Pack a JSON value. Raises ValueError for NaN and infinities."""
    return pack(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def rounded(value: float | None, digits: int = 4) -> float | None:
    """Round to this many significant digits, finer than any screen; None for None, NaN and infinities."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")

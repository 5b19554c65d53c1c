"""What a report carries inside itself: JSON and the plotting library, packed so that no browser reads it as HTML."""

import base64
import gzip
import json
import math
from typing import Any

_LEVEL = 6  # of gzip; level 9 takes three times as long for 1% less


def pack(text: str) -> str:
    """Text as base64 of gzip, for a browser's DecompressionStream. The same text gives the same letters."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), _LEVEL, mtime=0)).decode("ascii")


def pack_json(value: Any) -> str:
    """A JSON value, packed. Raises ValueError for NaN and infinities."""
    return pack(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def pack_plotly() -> str:
    """plotly.js as the Python package ships it (MIT license), packed: about 2 MB in place of 4.8."""
    from plotly.offline import get_plotlyjs  # slow to import, and needed by this format only

    return pack(get_plotlyjs())


def rounded(value: float | None, digits: int = 4) -> float | None:
    """A number to so many significant digits, finer than any screen; None for None, NaN and infinities."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")

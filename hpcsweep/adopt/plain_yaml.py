"""Write plain values as YAML 1.2 that a person edits: blocks, with small objects and lists on one line. Pure."""

import json
import re
from collections.abc import Iterator
from typing import Any

from hpcsweep.adopt.flags import plain_value

_PLAIN = re.compile(r"[A-Za-z0-9_/$][A-Za-z0-9_./+$-]*(?: [A-Za-z0-9_./+$-]+)*")


def yaml_lines(value: Any, indent: int = 0) -> Iterator[str]:
    """Yield lines of YAML 1.2 for plain values: objects in blocks, small objects and lists on one line."""
    pad = " " * indent
    for key, item in value.items():
        if isinstance(item, dict) and item and (indent == 0 or any(isinstance(v, dict) for v in item.values())):
            yield f"{pad}{_scalar(key)}:"
            yield from yaml_lines(item, indent + 2)
        else:
            yield f"{pad}{_scalar(key)}: {_inline(item)}"


def _inline(item: Any) -> str:
    if isinstance(item, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_inline(value)}" for key, value in item.items()) + "}"
    if isinstance(item, list):
        return "[" + ", ".join(_inline(value) for value in item) + "]"
    return _scalar(item)


def _scalar(item: Any) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    if item is None or isinstance(item, (int, float)):
        return "null" if item is None else repr(item)
    text = str(item)
    as_word = _PLAIN.fullmatch(text) and text.lower() not in ("true", "false", "null")
    return text if as_word and isinstance(plain_value(text), str) else json.dumps(text, ensure_ascii=False)

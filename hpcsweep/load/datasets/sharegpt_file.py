"""Read the file of a ShareGPT dataset: a JSON list, or JSON lines, of conversations."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hpcsweep.errors import DatasetError
from hpcsweep.foreign_files import open_regular

_WHOLE_BYTES = 32 * 2**20
"""A larger file is checked by its beginning at submit: the published one has 670 MB."""

_HINT = "expected: a JSON list, or JSON lines, of {id, conversations: [{from, value}, ...]}"


def conversations(path: Path) -> list[dict[str, Any]]:
    """Return the entries with at least two turns, in the order of the file. Raises DatasetError."""
    return _long_enough(_entries(_text(path, None), path), path)


def check_form(path: Path) -> None:
    """Check that a file has the form, and a conversation of two turns. Raises DatasetError.

    Of a large file only the beginning is read.
    """
    try:
        size = path.stat().st_size
    except OSError as exc:
        raise DatasetError(f"{path}: {exc.strerror}") from exc
    whole = size <= _WHOLE_BYTES
    text = _text(path, None if whole else _WHOLE_BYTES)
    if not _long_enough(_entries(text, path) if whole else _first_entries(text, path), path):
        raise DatasetError(f"{path}: not a ShareGPT file: no conversation has two turns", hint=_HINT)


def _text(path: Path, most_bytes: int | None) -> str:
    try:
        with open_regular(path, follow=True) as file:
            data = file.read() if most_bytes is None else file.read(most_bytes)
        return data.decode("utf-8-sig", errors="strict" if most_bytes is None else "ignore")
    except (OSError, UnicodeDecodeError) as exc:
        raise DatasetError(f"{path}: not a ShareGPT file", detail=f"{type(exc).__name__}: {exc}", hint=_HINT) from exc


def _entries(text: str, path: Path) -> list[Any]:
    """Return the entries of a whole file."""
    try:
        if text.lstrip().startswith("["):
            entries = json.loads(text)
            if isinstance(entries, list):
                return entries
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as exc:
        raise DatasetError(f"{path}: not a ShareGPT file", detail=f"{type(exc).__name__}: {exc}", hint=_HINT) from exc


def _first_entries(text: str, path: Path) -> Iterator[Any]:
    """Yield the entries at the beginning of a file, up to the one that is cut off."""
    decoder = json.JSONDecoder()
    place, found = 0, 0
    while True:
        while place < len(text) and text[place] in " \t\r\n,[":
            place += 1
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as exc:
            if not found:
                raise DatasetError(f"{path}: not a ShareGPT file", detail=str(exc), hint=_HINT) from exc
            return
        found += 1
        yield value


def _long_enough(entries: Iterable[Any], path: Path) -> list[dict[str, Any]]:
    """Return the entries with two turns; entries without a conversation are left out, unless none has one."""
    found, without = [], ""
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise DatasetError(f"{path}: not a ShareGPT file", detail=f"entry {number} is not an object", hint=_HINT)
        turns = entry.get("conversations")
        if not isinstance(turns, list):
            keys = list(map(str, entry))
            without = without or f"entry {number} has no `conversations`: its keys are {', '.join(keys)}"
            continue
        for turn in turns[:2] if len(turns) > 1 else ():
            if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
                keys = list(map(str, turn)) if isinstance(turn, dict) else []
                detail = f"entry {number} ({entry.get('id')!r}): a turn without text in `value`"
                detail += f": its keys are {', '.join(keys)}" if keys else ""
                raise DatasetError(f"{path}: not a ShareGPT file", detail=detail, hint=_HINT)
        if len(turns) > 1:
            found.append(entry)
    if not found and without:
        raise DatasetError(f"{path}: not a ShareGPT file", detail=without, hint=_HINT)
    return found

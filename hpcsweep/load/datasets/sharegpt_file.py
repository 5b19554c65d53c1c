"""Read the file of a ShareGPT dataset: a JSON list or JSON lines of conversations."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hpcsweep.errors import DatasetError
from hpcsweep.foreign_files import open_regular

_WHOLE_BYTES = 32 * 2**20
"""Of a larger file only the start is checked at submission: the published file has 670 MB."""

_HINT = "expected: a JSON list, or JSON lines, of {id, conversations: [{from, value}, ...]}"


def conversations(path: Path) -> list[dict[str, Any]]:
    """Return the entries with at least two turns, in the order of the file. Raises DatasetError."""
    return _long_enough(_entries(_text(path, None), path), path)


def check_form(path: Path) -> None:
    """Check that a file is a ShareGPT file with a conversation of two turns. Raises DatasetError.

    Of a large file only the start is read.
    """
    try:
        size = path.stat().st_size
    except OSError as exc:
        raise DatasetError(f"cannot read {path}: {exc.strerror}", code="data_unreadable") from exc
    whole = size <= _WHOLE_BYTES
    text = _text(path, None if whole else _WHOLE_BYTES)
    if not _long_enough(_entries(text, path) if whole else _first_entries(text, path), path):
        raise _not_sharegpt(path, "no conversation has two turns")


def _text(path: Path, most_bytes: int | None) -> str:
    try:
        with open_regular(path, follow=True) as file:
            data = file.read() if most_bytes is None else file.read(most_bytes)
        return data.decode("utf-8-sig", errors="strict" if most_bytes is None else "ignore")
    except (OSError, UnicodeDecodeError) as exc:
        raise _not_sharegpt(path, f"{type(exc).__name__}: {exc}") from exc


def _entries(text: str, path: Path) -> list[Any]:
    """Return the entries of a whole file."""
    try:
        if text.lstrip().startswith("["):
            entries = json.loads(text)
            if isinstance(entries, list):
                return entries
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as exc:
        raise _not_sharegpt(path, f"{type(exc).__name__}: {exc}") from exc


def _first_entries(text: str, path: Path) -> Iterator[Any]:
    """Yield the entries at the start of a file, up to the one that is cut off."""
    decoder = json.JSONDecoder()
    position, entries = 0, 0
    while True:
        while position < len(text) and text[position] in " \t\r\n,[":
            position += 1
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as exc:
            if not entries:
                raise _not_sharegpt(path, str(exc)) from exc
            return
        entries += 1
        yield value


def _long_enough(entries: Iterable[Any], path: Path) -> list[dict[str, Any]]:
    """Return the entries with two turns. Entries without a conversation are skipped, unless none has one."""
    long_enough, without = [], ""
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise _not_sharegpt(path, f"entry {number} is not an object")
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
                raise _not_sharegpt(path, detail)
        if len(turns) > 1:
            long_enough.append(entry)
    if not long_enough and without:
        raise _not_sharegpt(path, without)
    return long_enough


def _not_sharegpt(path: Path, detail: str) -> DatasetError:
    return DatasetError(f"{path}: not a ShareGPT file", code="not_sharegpt", detail=detail, hint=_HINT)

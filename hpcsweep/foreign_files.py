"""Read files that another program, another user or another host may have written.

Such a path may be a FIFO, a device or a symbolic link, and the content may have any size and form.
"""

import errno
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

RECORD_LIMIT_BYTES = 4 << 20
"""Limit for small records: owner.json, exit.json, submission.json, state.json."""

DOCUMENT_LIMIT_BYTES = 1 << 30
"""Limit for large files that are read whole: sweep.json and job.json of a large sweep, results of other tools."""

_LARGEST_INTEGER = 2**63 - 1


@contextmanager
def open_regular(path: str | Path, *, follow: bool = False) -> Iterator[IO[bytes]]:
    """Open a regular file for reading, without blocking on a FIFO or device.

    `follow`: follow a symbolic link, as for a file that the user names. Raises OSError.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "is a symbolic link, which is not followed", str(path)) from exc
        raise
    with os.fdopen(fd, "rb") as stream:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        yield stream


def read_regular(path: str | Path, limit_bytes: int, *, follow: bool = False) -> bytes:
    """Return the content of a regular file of at most `limit_bytes`. Raises OSError."""
    with open_regular(path, follow=follow) as stream:
        data = stream.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise OSError(errno.EFBIG, f"is larger than the limit of {limit_bytes} bytes", str(path))
    return data


def parse_json(data: bytes | str) -> Any:
    """Parse JSON; lone surrogates in its texts become `?`. Raises ValueError, also for excessive nesting."""
    try:
        value = json.loads(data)
        marked = b"\\ud" if isinstance(data, bytes) else "\\ud"
        return _encodable(value) if marked in data.lower() else value  # type: ignore[operator]
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return value


def text_or_none(value: object) -> str | None:
    """Return a text in a form that databases accept; None for other values."""
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode().replace("\0", "?")


def integer_or_none(value: object) -> int | None:
    """Return an integer that fits into 64 bits; None for other values."""
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_INTEGER
    return value if isinstance(value, int) and fits else None


def number_or_none(value: object) -> float | None:
    """Return a finite number; None for other values."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def texts_or_none(value: object) -> list[str] | None:
    """Return a list of texts in a form that databases accept; None for other values."""
    if not isinstance(value, list):
        return None
    texts = [text_or_none(item) for item in value]
    return None if None in texts else [text for text in texts if text is not None]

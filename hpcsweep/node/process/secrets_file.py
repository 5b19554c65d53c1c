"""Read secret values on the node, for the server's environment. They are never stored in a sweep."""

import os
import re
import shlex
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcsweep.errors import SpecError
from hpcsweep.spec.secret_values import MASK, has_secret, is_secret

_LIMIT_BYTES = 1 << 16
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_SHORTEST_HIDDEN = 6
"""Shorter values are not masked in log lines, because they would match ordinary words."""


def secret_environment(names: Sequence[str], secrets_file: str | None, env: Mapping[str, str]) -> dict[str, str]:
    """Return variable -> value for `names`, from the file first, then from `env`; without `names` all of the file.

    Raises SpecError with the names of missing variables, never with a value.
    """
    values = read_secrets_file(Path(os.path.expandvars(secrets_file)).expanduser()) if secrets_file else {}
    missing = [name for name in names if not values.get(name) and not env.get(name)]
    if missing:
        source = f"{secrets_file} or " if secrets_file else ""
        raise SpecError(
            f"env_from: not set in {source}the environment of the job: {', '.join(missing)}",
            code="secret_missing",
            hint="export it in a login file or in `setup:` of the profile, or write NAME=VALUE into `secrets_file:`",
        )
    return {name: values.get(name) or env.get(name, "") for name in (names or values)}


def read_secrets_file(path: Path) -> dict[str, str]:
    """Return the variables of a file with lines `NAME=VALUE` that only its owner can read. Raises SpecError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise SpecError(f"secrets_file {path}: cannot be read: {exc.strerror}", code="secrets_file_unreadable") from exc
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise SpecError(f"secrets_file {path}: not a regular file", code="secrets_file_not_regular")
        if status.st_uid != os.geteuid():
            message = f"secrets_file {path}: belongs to another user (uid {status.st_uid})"
            raise SpecError(message, code="secrets_file_foreign")
        if status.st_mode & 0o077:
            raise SpecError(
                f"secrets_file {path}: other users can read or change it (mode {stat.S_IMODE(status.st_mode):04o})",
                code="secrets_file_mode",
                hint=f"chmod 600 {shlex.quote(str(path))}",
            )
        if status.st_size > _LIMIT_BYTES:
            message = f"secrets_file {path}: {status.st_size} bytes, more than {_LIMIT_BYTES}"
            raise SpecError(message, code="secrets_file_too_large")
        text = file.read(_LIMIT_BYTES).decode("utf-8", "replace")
    variables = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise SpecError(f"secrets_file {path}, line {number}: expected NAME=VALUE", code="secrets_file_line")
        variables[match[1]] = _unquoted(match[2].strip())
    return variables


def hidden_values(environment: Mapping[str, str], secret_names: Sequence[str], key: str | None) -> list[bytes]:
    """Return the values to mask in log lines, the longest first."""
    values = {value for name, value in environment.items() if name in secret_names or is_secret(name)}
    values |= {value for value in environment.values() if has_secret(value)} | ({key} if key else set())
    return sorted((value.encode() for value in values if len(value) >= _SHORTEST_HIDDEN), key=len, reverse=True)


def without(line: bytes, hidden: Sequence[bytes]) -> bytes:
    """Return a log line with every hidden value masked."""
    for value in hidden:
        if value in line:
            line = line.replace(value, MASK.encode())
    return line


def _unquoted(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value

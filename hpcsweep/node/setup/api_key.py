"""The API key of a server: it proves that an answer comes from our own server, and keeps others out.

vLLM 0.12 to 0.28 hash VLLM_API_KEY into the key of their compile cache (envs.py, compile_factors; left out since
0.32): a new key for each attempt would make every start cold. So starts that share a compile cache share a key, made
from a secret of this user that lies beside the caches.
"""

import contextlib
import errno
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

_BYTES = 24
_SECRET_BYTES = 32


def random_key() -> str:
    """For a server whose compile cache is not kept."""
    return secrets.token_hex(_BYTES)


def key_for(cache_dir: Path, purpose: str) -> str:
    """The same for the same `purpose`, this user and this folder of caches; a random one where no secret can lie."""
    try:
        secret = _secret(cache_dir / f".secret-{os.getuid()}")
    except OSError:
        return random_key()
    return hmac.new(secret, purpose.encode(), hashlib.sha256).hexdigest()[: 2 * _BYTES]


def _secret(path: Path) -> bytes:
    """The user's secret, made by whoever comes first: written beside, then linked, so that nobody reads a half one."""
    with contextlib.suppress(FileNotFoundError):
        return _read_private(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.uname().nodename}-{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return _read_private(path)


def _read_private(path: Path) -> bytes:
    """The content of a file that only this user can have written and read. Raises OSError for any other."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError(errno.EPERM, "not a private file of this user", str(path))
        content = file.read(_SECRET_BYTES + 1)
    if len(content) != _SECRET_BYTES:
        raise OSError(errno.EINVAL, "not a secret of hpcsweep", str(path))
    return content

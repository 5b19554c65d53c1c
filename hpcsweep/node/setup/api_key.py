"""The API key of a server, which keeps other users out and shows that an answer comes from our own server.

vLLM 0.12 to 0.28 include VLLM_API_KEY in the hash of their compile cache (envs.py, compile_factors; removed in 0.32),
so that a new key for each attempt would make every start cold. Starts that share a compile cache therefore share a key,
derived from a secret of this user that is stored next to the caches.
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
    """Return a key for a server whose compile cache is not kept."""
    return secrets.token_hex(_BYTES)


def key_for(cache_dir: Path, purpose: str) -> str:
    """Return a key derived from `purpose` and the secret in `cache_dir`; random where the secret cannot be stored."""
    try:
        secret = _secret(cache_dir / f".secret-{os.getuid()}")
    except OSError:
        return random_key()
    return hmac.new(secret, purpose.encode(), hashlib.sha256).hexdigest()[: 2 * _BYTES]


def _secret(path: Path) -> bytes:
    """Return the user's secret. It is created by a hard link, so that readers never see a part of it."""
    with contextlib.suppress(FileNotFoundError):
        return _read_private(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.uname().nodename}-{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return _read_private(path)


def _read_private(path: Path) -> bytes:
    """Return the content of a file that only this user can read and write. Raises OSError for any other file."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError(errno.EPERM, "not a private file of this user", str(path))
        content = file.read(_SECRET_BYTES + 1)
    if len(content) != _SECRET_BYTES:
        raise OSError(errno.EINVAL, "not a secret of hpcsweep", str(path))
    return content

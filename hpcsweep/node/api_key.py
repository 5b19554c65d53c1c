"""The API key of a server: it proves that an answer comes from our own server, and keeps others out.

vLLM 0.12 to 0.28 hash VLLM_API_KEY into the key of their compile cache (envs.py, compile_factors; left out since
0.32): a new key for each attempt would make every start cold. So starts that share a compile cache share a key, made
from a secret of this user that lies beside the caches.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

_BYTES = 24


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
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.uname().nodename}-{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path.read_bytes()

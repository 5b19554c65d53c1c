"""The folder of one attempt on the node itself that only its user can enter: for the server's socket or key file.

It is not in the attempt's folder: parallel file systems do not support sockets, and the path of a Unix socket has at
most 107 bytes (`man 7 unix`).
"""

import os
import shutil
import tempfile
from pathlib import Path

SOCKET_NAME = "server"
KEY_FILE_NAME = "key.yaml"
_PREFIX = "hpcsweep-"
_SOCKET_PATH_BYTES = 107


def make_private_folder() -> Path:
    """Make the folder in the temporary folder of the job, or in /tmp when that path is too long. Raises OSError."""
    base: str | None = tempfile.gettempdir()
    if len(os.fsencode(f"{base}/{_PREFIX}12345678/{SOCKET_NAME}")) > _SOCKET_PATH_BYTES:
        base = "/tmp"
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))


def write_key_file(folder: Path, text: str) -> None:
    """Write the file that gives a server its API key. Raises OSError."""
    handle = os.open(folder / KEY_FILE_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


def remove_private_folder(folder: Path) -> None:
    """Remove the folder and what is in it."""
    shutil.rmtree(folder, ignore_errors=True)

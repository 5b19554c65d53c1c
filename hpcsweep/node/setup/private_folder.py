"""A folder of one attempt on the node's own disk, with the server's socket or key file, that only its user can enter.

It is not in the attempt's folder, because parallel file systems do not support sockets and the path of a Unix socket
is limited to 107 bytes (`man 7 unix`).
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
    """Create the folder in the job's temporary folder, or in /tmp when that path is too long. Raises OSError."""
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
    """Remove the folder with its content."""
    shutil.rmtree(folder, ignore_errors=True)

"""One writer of a compile cache at a time, over a shared file system: a lock file, made exclusively, kept fresh.

No flock: parallel file systems lose locks. An owner that is surely dead (same host and boot, no such process), or
whose file was not refreshed for `STALE_S`, has lost its lock.
"""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from hpcsweep.node.identity import Identity
from hpcsweep.node.processes import read_process
from hpcsweep.node.records import read_json

REFRESH_S = 30.0
STALE_S = 20 * REFRESH_S


class CacheLock:
    """Held from `take` until `release`; refreshed by a thread meanwhile."""

    def __init__(self, path: Path, identity: Identity) -> None:
        self.path, self._identity = path, identity
        self._released = threading.Event()
        self.held = False

    def take(self) -> str | None:
        """None: the lock is ours. Else who holds it. Raises OSError when the folder cannot be written."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            try:
                handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # less the umask
            except FileExistsError:
                owner = read_json(self.path) or {}
                if not self._lost(owner):
                    return f"process {owner.get('pid', '?')} on {owner.get('host', '?')}"
                self._break()
                continue
            with os.fdopen(handle, "w", encoding="ascii") as file:
                json.dump(self._identity.as_dict(), file)
            self.held = True
            threading.Thread(target=self._refresh, daemon=True).start()
            return None
        return "somebody who was quicker"

    def release(self) -> None:
        """Somebody else may write now."""
        self._released.set()
        if self.held and self._is_ours():  # one who slept for long (a suspended job) may have lost it meanwhile
            self.path.unlink(missing_ok=True)
        self.held = False

    def _is_ours(self) -> bool:
        return read_json(self.path) == self._identity.as_dict()

    def _lost(self, owner: dict[str, Any]) -> bool:
        if owner.get("host") == self._identity.host and owner.get("boot_id"):
            if owner["boot_id"] != self._identity.boot_id:
                return True
            process = read_process(int(owner.get("pid") or 0))
            return process is None or process.started != owner.get("started_ticks")
        try:
            return time.time() - self.path.stat().st_mtime > STALE_S
        except FileNotFoundError:
            return True

    def _break(self) -> None:
        """Remove a lost lock; renamed first, so that of two who find it only one removes it."""
        aside = self.path.with_name(f"{self.path.name}.lost-{self._identity.host}-{os.getpid()}")
        try:
            self.path.rename(aside)
            aside.unlink()
        except FileNotFoundError:
            return

    def _refresh(self) -> None:
        while not self._released.wait(REFRESH_S):
            if not self._is_ours():
                continue
            try:
                os.utime(self.path)
            except OSError:  # gone or not writable: at worst somebody takes it after STALE_S
                continue

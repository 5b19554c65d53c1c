"""A lock for processes on several machines: a file on the shared file system, created exclusively and refreshed.

It does not use flock, because some parallel file systems keep flock locks per node. A lock is lost when its holder is
certainly dead (same host, boot and PID namespace, and no such process), or when its file was not refreshed for
`stale_s` by the file server's clock.
"""

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from hpcsweep.node.identity import Identity, pid_namespace
from hpcsweep.node.process.processes import recorded_process_lives
from hpcsweep.node.records import read_json

REFRESH_S = 30.0
STALE_S = 20 * REFRESH_S

_BREAKER_STALE_S = 60.0
"""Removing a lost lock takes milliseconds, so an older breaker file was left by a dead process."""


class FileLock:
    """A lock held from `take` until `release`. A thread refreshes its file every `refresh_s` seconds.

    `purpose`: what the holder does, for the messages of other processes.
    """

    def __init__(
        self,
        path: Path,
        identity: Identity,
        *,
        refresh_s: float = REFRESH_S,
        stale_s: float = STALE_S,
        purpose: str = "",
    ) -> None:
        self.path, self._identity = path, identity
        self._refresh_s, self._stale_s = refresh_s, stale_s
        self._record = identity.as_dict() | {
            "pid_namespace": pid_namespace(),
            "uid": os.getuid(),
            "purpose": purpose,
        }
        self._released = threading.Event()
        self.held = False

    def take(self) -> str | None:
        """Take the lock. Return None when it is ours, else a description of its holder.

        Raises OSError when the folder cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            if self._create():
                self.held = True
                self._released.clear()
                threading.Thread(target=self._refresh, daemon=True).start()
                return None
            holder = read_json(self.path) or {}
            if not self._lost(holder):
                return _described(holder)
            self._break()
        return _described(read_json(self.path) or {})

    def release(self) -> None:
        """Release the lock. A lock that another process has taken meanwhile stays as it is."""
        self._released.set()
        if self.held and self.is_ours():
            self.path.unlink(missing_ok=True)
        self.held = False

    def is_ours(self) -> bool:
        """Return whether the file still contains this process; a process that was suspended may have lost the lock."""
        holder = read_json(self.path) or {}
        return {**holder, "purpose": ""} == {**self._record, "purpose": ""}

    def _create(self) -> bool:
        """Create the file atomically, so that a reader never sees it empty. Return False when it exists."""
        temporary = self.path.with_name(f".{self.path.name}.{self._identity.host}.{os.getpid()}")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(self._record, file)
        try:
            # link, not O_EXCL: the new name is atomic on every version of NFS, and has its content from the start.
            os.link(temporary, self.path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            return self._create_exclusively()
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _create_exclusively(self) -> bool:
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(self._record, file)
        return True

    def _lost(self, holder: dict[str, Any]) -> bool:
        visible = (  # a mount with hidepid hides the processes of other users
            self._identity.boot_id
            and holder.get("boot_id") == self._identity.boot_id
            and holder.get("pid_namespace", pid_namespace()) == pid_namespace()
            and holder.get("uid", os.getuid()) == os.getuid()
        )
        if visible:
            return not recorded_process_lives(holder)
        age_s = self._age_s(self.path)
        return age_s is None or age_s > self._stale_s

    def _age_s(self, path: Path) -> float | None:
        """Return the seconds since a file was last written, by the file server's clock. None: it does not exist."""
        probe = self.path.with_name(f".{self.path.name}.{self._identity.host}.{os.getpid()}.now")
        try:
            probe.touch()
            now_s = probe.stat().st_mtime
            with path.open("rb") as stream:  # opening a file makes NFS fetch its attributes
                return now_s - os.fstat(stream.fileno()).st_mtime
        except FileNotFoundError:
            return None
        finally:
            probe.unlink(missing_ok=True)

    def _break(self) -> None:
        """Remove a lost lock. Only one of several processes does so, after checking it again."""
        breaker = self.path.with_name(f"{self.path.name}.breaker")
        try:
            os.close(os.open(breaker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        except FileExistsError:
            age_s = self._age_s(breaker)
            if age_s is not None and age_s > _BREAKER_STALE_S:
                breaker.unlink(missing_ok=True)
            return
        try:
            # Between two checks a running holder may have released the lock and another process taken it: that is a
            # different file, which is kept. Only the process with the breaker file removes that of a dead holder.
            seen = self._stamp()
            if seen is not None and self._lost(read_json(self.path) or {}) and self._stamp() == seen:
                self.path.unlink(missing_ok=True)
        finally:
            breaker.unlink(missing_ok=True)

    def _stamp(self) -> tuple[int, int] | None:
        """Return inode and time of the lock's file, because inode numbers are reused. None: it does not exist."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _refresh(self) -> None:
        while not self._released.wait(self._refresh_s):
            if not self.is_ours():
                continue
            with contextlib.suppress(OSError):  # not writable: another process may take the lock after `stale_s`
                os.utime(self.path)


def _described(holder: dict[str, Any]) -> str:
    """Return the description of a lock's holder, such as `process 12 on login1 (retry)`."""
    purpose = f" ({holder['purpose']})" if holder.get("purpose") else ""
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')}{purpose}"

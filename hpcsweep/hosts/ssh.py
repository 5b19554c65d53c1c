"""Use a login node over SSH: commands by exec, files by SFTP. Host keys are verified; unknown keys are rejected."""

import os
import posixpath
import shlex
import stat
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import paramiko

from hpcsweep.errors import HostError, LinkLost
from hpcsweep.hosts import remote_files
from hpcsweep.hosts.base import FORBIDDEN_PREFIXES, KEPT
from hpcsweep.hosts.remote_files import RemoteFile
from hpcsweep.hosts.ssh_config import SshOptions, read_options
from hpcsweep.hosts.ssh_login import CONNECT_TIMEOUT_S, open_transport
from hpcsweep.schedulers.base import CommandResult
from hpcsweep.spec.cluster import Ssh
from hpcsweep.terminal_text import one_line

_BROKEN = (paramiko.SSHException, EOFError, TimeoutError, ConnectionError, ValueError, IndexError, struct.error)
"""The connection is lost, or the data received is not SFTP."""
_SILENCE_S = 10.0
"""Time without data after which a file operation counts as a lost connection."""
_OUTPUT_LIMIT_BYTES = 64 << 20
"""Limit for the output of a remote command; squeue prints less for a hundred thousand jobs."""
_NO_NEW_TRY_S = 10.0
"""Time before the next attempt to reach a host: one hpcsweep command may use it several times."""

# Remote login files may set SBATCH_PARTITION or SQUEUE_PARTITION: the same variables are removed as on this machine.
# `sh -c`, because the remote login shell may be a csh.
CLEAN = (
    "for name in $(env | sed -n 's/^\\([A-Z][A-Z0-9_]*\\)=.*/\\1/p'); do case $name in "
    f"{'|'.join(KEPT)}) ;; {'|'.join(f'{prefix}*' for prefix in FORBIDDEN_PREFIXES)}) unset $name ;; "
    'esac; done; exec "$@"'
)


class SshHost:
    """One connection, opened on first use and kept until `close`."""

    def __init__(self, ssh: Ssh) -> None:
        self._ssh = ssh
        self.name = ssh.host
        self._options: SshOptions | None = None
        self._transport: paramiko.Transport | None = None
        self._sftp: paramiko.SFTPClient | None = None
        self._connecting = threading.Lock()
        self._failed: tuple[float, HostError] | None = None

    @property
    def user(self) -> str:
        """Return the remote user name: from the profile, else from the SSH configuration. Raises HostError."""
        return self._ssh.user or self._resolved().user

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str | None = None) -> CommandResult:
        """Run a command; see `Host.run`. Every word is quoted for the remote shell.

        Raises LinkLost if the connection broke after the command was sent: it may have run.
        """
        started = time.monotonic()
        transport = self._connected()
        sent = False
        try:
            with transport.open_session(timeout=CONNECT_TIMEOUT_S) as channel:
                channel.settimeout(timeout_s)
                sent = True
                channel.exec_command(shlex.join(["sh", "-c", CLEAN, "sh", *argv]))
                if stdin is not None:
                    channel.sendall(stdin.encode())
                channel.shutdown_write()
                stdout, stderr, code = _collect(channel, started + timeout_s)
        except (paramiko.SSHException, EOFError, OSError) as exc:
            self.close()
            kind = LinkLost if sent else HostError
            raise kind(
                f"{self.name}: {argv[0]}: {one_line(str(exc)) or type(exc).__name__}",
                code="connection_lost" if sent else "ssh_failed",
            ) from exc
        return CommandResult(tuple(argv), code, _text(stdout), _text(stderr), time.monotonic() - started)

    def make_folder(self, path: str, *, exist_ok: bool = True) -> None:
        """Create a folder and its parents; see `Host.make_folder`."""
        with self._files(path) as sftp:
            parts = path.split("/")
            for number in range(2, len(parts)):
                _mkdir(sftp, "/".join(parts[:number]), exist_ok=True)
            _mkdir(sftp, path, exist_ok=exist_ok)

    def write_text(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file atomically; see `Host.write_text`."""
        temporary = _temporary(path)
        with self._files(path) as sftp:
            with sftp.open(temporary, "wb") as stream:
                stream.write(text.encode("utf-8", "surrogateescape"))
            sftp.chmod(temporary, mode)
            sftp.posix_rename(temporary, path)

    def put_file(self, source: Path, path: str) -> None:
        """Copy a file to the host; see `Host.put_file`."""
        temporary = _temporary(path)
        with self._files(path) as sftp:
            sftp.put(str(source), temporary)
            sftp.chmod(temporary, source.stat().st_mode & 0o777)
            sftp.posix_rename(temporary, path)

    def remove_tree(self, path: str) -> None:
        """Remove a folder; see `Host.remove_tree`."""
        if not posixpath.isabs(path) or len(path.strip("/").split("/")) < 2:
            raise HostError(f"{self.name}: {path} is not a folder that hpcsweep may remove", code="folder_not_ours")
        self.run(["rm", "-rf", "--", path], timeout_s=60)

    def files_below(self, path: str) -> Iterator[RemoteFile]:
        """Yield every file below a folder; see `remote_files.files_below`. Raises HostError."""
        with self._files(path) as sftp:
            yield from remote_files.files_below(sftp, path)

    def copy_from(self, path: str, offset: int, target: IO[bytes], limit_bytes: int) -> int:
        """Copy a file from a byte offset to `target`; return the number of bytes. Raises HostError."""
        with self._files(path) as sftp:
            return remote_files.copy_from(sftp, path, offset, target, limit_bytes)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()
        self._transport = self._sftp = None

    @contextmanager
    def _files(self, path: str) -> Iterator[paramiko.SFTPClient]:
        try:
            transport = self._connected()  # closes an SFTP session whose connection was lost
            if self._sftp is None:
                self._sftp = paramiko.SFTPClient.from_transport(transport)
                if self._sftp is None:
                    raise paramiko.SSHException("the host has no SFTP")
                if (channel := self._sftp.get_channel()) is not None:
                    channel.settimeout(_SILENCE_S)
            yield self._sftp
        except FileExistsError:
            raise
        except HostError:  # a list was abandoned midway: replies to it are still arriving
            if self._sftp is not None:
                self._sftp.close()
                self._sftp = None
            raise
        except (*_BROKEN, OSError) as exc:
            if isinstance(exc, _BROKEN):
                self.close()
            raise HostError(
                f"{self.name}: {one_line(path)}: {one_line(str(exc)) or type(exc).__name__}", code="sftp_failed"
            ) from exc

    def _connected(self) -> paramiko.Transport:
        """Return the connection, opened if there is none. Raises HostError, for some seconds without a new attempt."""
        with self._connecting:
            if self._failed is not None and time.monotonic() - self._failed[0] < _NO_NEW_TRY_S:
                raise self._failed[1]
            try:
                return self._connect()
            except HostError as exc:
                self._failed = (time.monotonic(), exc)
                raise

    def _connect(self) -> paramiko.Transport:
        if self._transport is not None:
            if self._transport.is_active():
                return self._transport
            self.close()
        self._transport = open_transport(self.name, self._resolved())
        return self._transport

    def _resolved(self) -> SshOptions:
        if self._options is None:
            self._options = read_options(self._ssh)
        return self._options


def _collect(channel: paramiko.Channel, deadline: float) -> tuple[bytes, bytes, int | None]:
    """Return output and exit code; the code is None after the deadline (the remote command may still be running)."""
    stdout, stderr = bytearray(), bytearray()
    while True:
        moved = False
        while channel.recv_ready():
            stdout += channel.recv(1 << 16)
            moved = True
        while channel.recv_stderr_ready():
            stderr += channel.recv_stderr(1 << 16)
            moved = True
        if len(stdout) + len(stderr) > _OUTPUT_LIMIT_BYTES:
            raise paramiko.SSHException(f"printed more than {_OUTPUT_LIMIT_BYTES} bytes")
        if not moved:
            if channel.exit_status_ready() and (channel.eof_received or channel.closed):
                return bytes(stdout), bytes(stderr), _exit_code(channel)
            if time.monotonic() > deadline:
                return bytes(stdout), bytes(stderr), None
            time.sleep(0.01)


def _exit_code(channel: paramiko.Channel) -> int:
    """Return the exit code; -1: a signal ended the command. Raises EOFError if the connection broke before."""
    code = channel.recv_exit_status()
    if code == -1:
        transport = channel.get_transport()
        deadline = time.monotonic() + 1.0
        while transport.is_active() and time.monotonic() < deadline:  # its thread may not have noticed yet
            time.sleep(0.05)
        if not transport.is_active():
            raise EOFError("the connection broke")
    return int(code)


def _mkdir(sftp: paramiko.SFTPClient, path: str, *, exist_ok: bool) -> None:
    try:
        sftp.mkdir(path, 0o770 if _shared_with_a_group(sftp, posixpath.dirname(path)) else 0o700)
    except OSError:
        try:
            exists = stat.S_ISDIR(sftp.stat(path).st_mode or 0)
        except OSError:
            exists = False
        if not exists:
            raise
        if not exist_ok:
            raise FileExistsError(path) from None


def _shared_with_a_group(sftp: paramiko.SFTPClient, path: str) -> bool:
    """Return whether a folder is deliberately shared with a Unix group, as new folders below it will be."""
    try:
        mode = sftp.stat(path).st_mode or 0
    except OSError:
        return False
    return bool(mode & stat.S_ISGID and mode & stat.S_IWGRP)


def _temporary(path: str) -> str:
    folder, name = posixpath.split(path)
    return posixpath.join(folder, f".{name}.{os.getpid()}")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")

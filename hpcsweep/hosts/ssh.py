"""A login node over SSH: commands by exec, files by SFTP. Host keys are verified; nothing unknown is accepted."""

import os
import posixpath
import shlex
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paramiko

from hpcsweep.errors import HostError
from hpcsweep.hosts.base import FORBIDDEN_PREFIXES, KEPT
from hpcsweep.schedulers.base import Answer
from hpcsweep.spec.cluster import Ssh

CONNECT_TIMEOUT_S = 10.0
_SILENCE_S = 10.0
"""A file operation without a byte for so long means that the connection is lost without a word."""
_NO_NEW_TRY_S = 10.0
"""A host that could not be reached is not tried again before: one command asks it several times."""

# Login files on that side may set SBATCH_PARTITION or SQUEUE_PARTITION: what must not leak here must not leak there.
# `sh -c`, since the login shell over there may be a csh.
CLEAN = (
    "for name in $(env | sed -n 's/^\\([A-Z][A-Z0-9_]*\\)=.*/\\1/p'); do case $name in "
    f"{'|'.join(KEPT)}) ;; {'|'.join(f'{prefix}*' for prefix in FORBIDDEN_PREFIXES)}) unset $name ;; "
    'esac; done; exec "$@"'
)


class SshHost:
    """One connection, opened when it is first needed and kept until `close`."""

    def __init__(self, ssh: Ssh) -> None:
        self._ssh = ssh
        self.name = ssh.host
        self._client: paramiko.SSHClient | None = None
        self._sftp: paramiko.SFTPClient | None = None
        self._connecting = threading.Lock()
        self._failed: tuple[float, HostError] | None = None

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str | None = None) -> Answer:
        """Run a command; see `Host.run`. The remote shell gets it quoted, word by word."""
        started = time.monotonic()
        transport = self._connected().get_transport()
        if transport is None:
            raise HostError(f"{self.name}: the connection is gone")
        try:
            with transport.open_session(timeout=CONNECT_TIMEOUT_S) as channel:
                channel.settimeout(timeout_s)
                channel.exec_command(shlex.join(["sh", "-c", CLEAN, "sh", *argv]))
                if stdin is not None:
                    channel.sendall(stdin.encode())
                channel.shutdown_write()
                stdout, stderr, code = _collect(channel, started + timeout_s)
        except (paramiko.SSHException, EOFError, OSError) as exc:
            self.close()
            raise HostError(f"{self.name}: {argv[0]}: {exc or type(exc).__name__}") from exc
        return Answer(tuple(argv), code, _text(stdout), _text(stderr), time.monotonic() - started)

    def make_folder(self, path: str, *, exist_ok: bool = True) -> None:
        """Make a folder and its parents; see `Host.make_folder`."""
        with self._files(path) as sftp:
            parts = path.split("/")
            for number in range(2, len(parts)):
                _mkdir(sftp, "/".join(parts[:number]), exist_ok=True)
            _mkdir(sftp, path, exist_ok=exist_ok)

    def write_text(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file whole; see `Host.write_text`."""
        beside = _beside(path)
        with self._files(path) as sftp:
            with sftp.open(beside, "wb") as stream:
                stream.write(text.encode("utf-8", "surrogateescape"))
            sftp.chmod(beside, mode)
            sftp.posix_rename(beside, path)

    def put_file(self, source: Path, path: str) -> None:
        """Copy a file to the host; see `Host.put_file`."""
        beside = _beside(path)
        with self._files(path) as sftp:
            sftp.put(str(source), beside)
            sftp.chmod(beside, source.stat().st_mode & 0o777)
            sftp.posix_rename(beside, path)

    def remove_tree(self, path: str) -> None:
        """Remove a folder; see `Host.remove_tree`."""
        if not posixpath.isabs(path) or len(path.strip("/").split("/")) < 2:
            raise HostError(f"{self.name}: {path} is no folder that hpcsweep would remove")
        self.run(["rm", "-rf", "--", path], timeout_s=60)

    def files_below(self, path: str) -> Iterator[tuple[str, int]]:
        """(path relative to `path`, size_bytes) of every file below a folder. Raises HostError."""
        with self._files(path) as sftp:
            yield from _walk(sftp, path, "")

    def read_from(self, path: str, offset: int) -> bytes:
        """What a file holds from a byte offset on. Raises HostError."""
        with self._files(path) as sftp, sftp.open(path, "rb") as stream:
            stream.seek(offset)
            stream.prefetch()
            return bytes(stream.read())

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
        self._client = self._sftp = None

    @contextmanager
    def _files(self, path: str) -> Iterator[paramiko.SFTPClient]:
        try:
            client = self._connected()  # closes an SFTP session whose connection is gone
            if self._sftp is None:
                self._sftp = client.open_sftp()
                if (channel := self._sftp.get_channel()) is not None:
                    channel.settimeout(_SILENCE_S)
            yield self._sftp
        except FileExistsError:
            raise
        except (paramiko.SSHException, EOFError, OSError) as exc:
            if isinstance(exc, paramiko.SSHException | EOFError | TimeoutError | ConnectionError):
                self.close()
            raise HostError(f"{self.name}: {path}: {exc or type(exc).__name__}") from exc

    def _connected(self) -> paramiko.SSHClient:
        """The connection, made when there is none that lives. Raises HostError; for a while without a new try."""
        with self._connecting:
            if self._failed is not None and time.monotonic() - self._failed[0] < _NO_NEW_TRY_S:
                raise self._failed[1]
            try:
                return self._connect()
            except HostError as exc:
                self._failed = (time.monotonic(), exc)
                raise

    def _connect(self) -> paramiko.SSHClient:
        if self._client is not None:
            transport = self._client.get_transport()
            if transport is not None and transport.is_active():
                return self._client
            self.close()
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        options = _user_config(self._ssh.host)
        try:
            if self._ssh.known_hosts is not None:
                client.load_host_keys(str(Path(self._ssh.known_hosts).expanduser()))
            else:
                client.load_system_host_keys()
            proxy = options.get("proxycommand") or jump_command(options, self._ssh.port)
            key = self._ssh.key_file or next(iter(options.get("identityfile", [])), None)
            client.connect(
                options.get("hostname", self._ssh.host),
                port=self._ssh.port or int(options.get("port", 22)),
                username=self._ssh.user or options.get("user"),
                key_filename=str(Path(key).expanduser()) if key else None,
                sock=paramiko.ProxyCommand(proxy) if proxy else None,
                timeout=CONNECT_TIMEOUT_S,
                banner_timeout=CONNECT_TIMEOUT_S,
                auth_timeout=CONNECT_TIMEOUT_S,
            )
        except (paramiko.SSHException, OSError) as exc:
            client.close()
            raise HostError(
                f"{self._ssh.host}: no SSH connection: {exc or type(exc).__name__}",
                hint=f"`ssh {self._ssh.host} true` must work without a password; an unknown host key is never accepted",
            ) from exc
        self._client = client
        return client


def _user_config(host: str) -> paramiko.SSHConfigDict:
    path = Path.home() / ".ssh" / "config"
    config = paramiko.SSHConfig.from_path(str(path)) if path.is_file() else paramiko.SSHConfig()
    return config.lookup(host)


def jump_command(options: Mapping[str, Any], port: int | None) -> str | None:
    """`ssh -W` for the ProxyJump of ~/.ssh/config, which paramiko reads and leaves undone; None: there is none.

    ssh itself then verifies the jump host's key. `options`: of one host, as paramiko looks them up.
    """
    jump = str(options.get("proxyjump") or "none")
    if jump.lower() == "none":
        return None
    *before, last = jump.split(",")
    if ":" in last and "//" not in last:
        last = f"ssh://{last}"  # the only form with a port that ssh takes as its destination
    words = ["ssh", "-o", "BatchMode=yes", *(["-J", ",".join(before)] if before else [])]
    return shlex.join([*words, "-W", f"{options['hostname']}:{port or options.get('port', 22)}", last])


def _collect(channel: paramiko.Channel, deadline: float) -> tuple[bytes, bytes, int | None]:
    """Output and exit code; the code is None when the deadline came first (the command may go on over there)."""
    stdout, stderr = bytearray(), bytearray()
    while True:
        moved = False
        while channel.recv_ready():
            stdout += channel.recv(1 << 16)
            moved = True
        while channel.recv_stderr_ready():
            stderr += channel.recv_stderr(1 << 16)
            moved = True
        if not moved:
            if channel.exit_status_ready() and channel.eof_received:
                return bytes(stdout), bytes(stderr), channel.recv_exit_status()
            if time.monotonic() > deadline:
                return bytes(stdout), bytes(stderr), None
            time.sleep(0.01)


def _mkdir(sftp: paramiko.SFTPClient, path: str, *, exist_ok: bool) -> None:
    try:
        sftp.mkdir(path, 0o770 if _shared_with_a_group(sftp, posixpath.dirname(path)) else 0o700)
    except OSError:
        try:
            there = stat.S_ISDIR(sftp.stat(path).st_mode or 0)
        except OSError:
            there = False
        if not there:
            raise
        if not exist_ok:
            raise FileExistsError(path) from None


def _shared_with_a_group(sftp: paramiko.SFTPClient, path: str) -> bool:
    """Whether a folder was given to a Unix group on purpose: what is below it is for that group too."""
    try:
        mode = sftp.stat(path).st_mode or 0
    except OSError:
        return False
    return bool(mode & stat.S_ISGID and mode & stat.S_IWGRP)


def _walk(sftp: paramiko.SFTPClient, root: str, below: str) -> Iterator[tuple[str, int]]:
    for entry in sftp.listdir_attr(posixpath.join(root, below)):
        path = posixpath.join(below, entry.filename)
        mode = entry.st_mode or 0
        if stat.S_ISDIR(mode):
            yield from _walk(sftp, root, path)
        elif stat.S_ISREG(mode):
            yield path, entry.st_size or 0


def _beside(path: str) -> str:
    folder, name = posixpath.split(path)
    return posixpath.join(folder, f".{name}.{os.getpid()}")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")

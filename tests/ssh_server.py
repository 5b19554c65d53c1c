"""An SSH server for tests that can lie: it serves the real file system, and what a test adds to that."""

import os
import posixpath
import socket
import stat
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko

USER = "hpcuser"


@dataclass
class SshServer:
    """Listens on the loopback interface. Everything below may be changed while it runs.

    `code`: of a second factor, asked for after the key. `listed`: folder -> names that are listed there beside the
    real ones, with what a read of them gives (None: a FIFO). `cut_after_bytes`: the link dies once so many bytes of
    files were read. `dies_in`: words of a command after which, once it has run, the link dies; `stays_down`: and the
    host with it, until `down` is taken back.
    """

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    code: str | None = None
    listed: dict[str, dict[str, bytes | None]] = field(default_factory=dict)
    cut_after_bytes: int | None = None
    dies_in: str | None = None
    stays_down: bool = False
    down: bool = False
    logins: int = 0
    commands: list[str] = field(default_factory=list)
    host_keys: list[paramiko.PKey] = field(default_factory=list)
    read_bytes: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.client_key_file = self.folder / "client_key"
        for path in (self.client_key_file, self.folder / "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
        self.client_key = paramiko.PKey.from_path(self.client_key_file)
        self.host_keys = [paramiko.PKey.from_path(self.folder / "host_key")]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.known_hosts = self.folder / "known_hosts"
        key = self.host_keys[0]
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {key.get_name()} {key.get_base64()}\n")
        self._transports: list[paramiko.Transport] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def profile(self, home: Path) -> dict[str, Any]:
        """The key `ssh` of a cluster profile."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "key_file": str(self.client_key_file),
            "known_hosts": str(self.known_hosts),
            "home": str(home),
        }

    def close(self) -> None:
        """End all connections, and listen no more."""
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End all connections."""
        for transport in self._transports:
            transport.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.down:
                client.close()
                continue
            transport = paramiko.Transport(client)
            for key in self.host_keys:
                transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Files, self)
            self._transports.append(transport)
            try:
                transport.start_server(server=_Login(self, transport))
            except (paramiko.SSHException, EOFError, OSError):
                continue

    def run(self, command: str, channel: paramiko.Channel, transport: paramiko.Transport) -> None:
        """What a client asked for by exec."""
        self.commands.append(command)
        done = subprocess.run(
            ["bash", "-c", command], env={**os.environ, **self.env}, capture_output=True, stdin=subprocess.DEVNULL
        )
        if self.dies_in is not None and self.dies_in in command:
            self.down = self.stays_down
            transport.close()
            return
        channel.sendall(done.stdout)
        channel.sendall_stderr(done.stderr)
        channel.send_exit_status(done.returncode)
        channel.close()


class _Login(paramiko.ServerInterface):
    def __init__(self, server: SshServer, transport: paramiko.Transport) -> None:
        self._server, self._transport, self._half = server, transport, False

    def get_allowed_auths(self, username: str) -> str:
        return "keyboard-interactive" if self._half else "publickey"

    def check_auth_interactive(self, username: str, submethods: str) -> Any:
        return paramiko.InteractiveQuery("", "\x1b]0;owned\x07second factor", ("code:\u202e", False))

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        right = self._half and responses == [self._server.code]
        return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if username != USER or key != self._server.client_key:
            return paramiko.AUTH_FAILED
        self._server.logins += 1
        self._half = self._server.code is not None
        return paramiko.AUTH_PARTIALLY_SUCCESSFUL if self._half else paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(
            target=self._server.run, args=(command.decode(), channel, self._transport), daemon=True
        ).start()
        return True


class _Handle(paramiko.SFTPHandle):
    def __init__(self, server: SshServer, content: bytes | None, path: str, flags: int) -> None:
        super().__init__(flags)
        self._server, self._content, self._path = server, content, path
        if content is None:
            mode = "r+b" if flags & (os.O_WRONLY | os.O_RDWR) else "rb"
            if flags & os.O_CREAT:
                Path(path).touch()
            self.readfile = self.writefile = Path(path).open(mode)  # noqa: SIM115

    def stat(self) -> Any:
        if self._content is not None:
            return _attributes("", len(self._content), stat.S_IFREG | 0o644)
        return paramiko.SFTPAttributes.from_stat(Path(self._path).stat())

    def read(self, offset: int, length: int) -> Any:
        server = self._server
        server.read_bytes += length
        if server.cut_after_bytes is not None and server.read_bytes > server.cut_after_bytes:
            server.cut()
            return paramiko.SFTP_FAILURE
        if self._content is None:
            return super().read(offset, length)
        return self._content[offset : offset + length] or paramiko.SFTP_EOF


class _Files(paramiko.SFTPServerInterface):
    def __init__(self, server: paramiko.ServerInterface, lies: SshServer, *args: Any) -> None:
        super().__init__(server)
        self._lies = lies

    def list_folder(self, path: str) -> Any:
        try:
            found = [paramiko.SFTPAttributes.from_stat(p.lstat(), p.name) for p in Path(path).iterdir()]
        except OSError as exc:
            return paramiko.SFTPServer.convert_errno(exc.errno)
        for name, content in self._lies.listed.get(path, {}).items():
            kind = stat.S_IFREG if content is not None else stat.S_IFIFO
            found.append(_attributes(name, len(content or b""), kind | 0o644))
        return found

    def stat(self, path: str) -> Any:
        try:
            return paramiko.SFTPAttributes.from_stat(Path(path).stat())
        except OSError as exc:
            return paramiko.SFTPServer.convert_errno(exc.errno)

    lstat = stat

    def open(self, path: str, flags: int, attr: Any) -> Any:
        for folder, names in self._lies.listed.items():
            for name, content in names.items():
                if path in (f"{folder}/{name}", posixpath.normpath(f"{folder}/{name}")) and content is not None:
                    return _Handle(self._lies, content, path, flags)
        try:
            return _Handle(self._lies, None, path, flags)
        except OSError as exc:
            return paramiko.SFTPServer.convert_errno(exc.errno)

    def mkdir(self, path: str, attr: Any) -> Any:
        return _done(Path(path).mkdir)

    def chattr(self, path: str, attr: Any) -> Any:
        return _done(lambda: paramiko.SFTPServer.set_file_attr(path, attr))

    def posix_rename(self, oldpath: str, newpath: str) -> Any:
        return _done(lambda: Path(oldpath).replace(newpath))


def _done(action: Any) -> Any:
    try:
        action()
    except OSError as exc:
        return paramiko.SFTPServer.convert_errno(exc.errno)
    return paramiko.SFTP_OK


def _attributes(name: str, size_bytes: int, mode: int) -> paramiko.SFTPAttributes:
    made = paramiko.SFTPAttributes()
    made.filename, made.longname, made.st_size, made.st_mode = name, name, size_bytes, mode
    made.st_uid = made.st_gid = 0
    made.st_atime = made.st_mtime = 1_700_000_000
    return made

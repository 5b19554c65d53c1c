"""Open an authenticated SSH transport as `ssh` does: verify the host key, then try keys, agent and prompts."""

import getpass
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko

from hpcsweep.errors import HostError
from hpcsweep.hosts.ssh_config import SshOptions
from hpcsweep.terminal_text import one_line, printable

CONNECT_TIMEOUT_S = 10.0
_PROMPT_TIMEOUT_S = 120.0
"""For a user who types a code, or approves the login on a phone."""
_KEEPALIVE_S = 15
_PROXY_GRACE_S = 2.0


class _Proxy(paramiko.ProxyCommand):
    """A proxy command that is cleaned up: that of paramiko neither waits for its process nor closes its pipes."""

    def close(self) -> None:
        """End the process, wait for it and close its pipes. May be called more than once."""
        process = self.process
        process.terminate()
        try:
            process.wait(_PROXY_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def open_transport(name: str, options: SshOptions) -> paramiko.Transport:
    """Connect and log in. `name`: of the host, for errors. Raises HostError."""
    hint = f"make sure that `ssh {name} true` works; unknown host keys are not accepted"
    transport: paramiko.Transport | None = None
    try:
        transport = paramiko.Transport(_socket(options))
        transport.banner_timeout = CONNECT_TIMEOUT_S
        transport.auth_timeout = CONNECT_TIMEOUT_S
        _verify_host(transport, options)
        _log_in(transport, options, name)
        transport.set_keepalive(_KEEPALIVE_S)
    except (paramiko.SSHException, OSError, EOFError, ValueError) as exc:
        if transport is not None:
            transport.close()
        raise HostError(
            f"{name}: cannot connect over SSH: {one_line(str(exc)) or type(exc).__name__}",
            code="ssh_failed",
            hint=hint,
        ) from exc
    except BaseException:
        if transport is not None:
            transport.close()
        raise
    return transport


def _socket(options: SshOptions) -> "socket.socket | _Proxy":
    if options.proxy_command:
        return _Proxy(options.proxy_command)
    return socket.create_connection((options.hostname, options.port), timeout=CONNECT_TIMEOUT_S)


def _verify_host(transport: paramiko.Transport, options: SshOptions) -> None:
    known = paramiko.HostKeys()
    for path in options.known_hosts:
        _load_host_keys(known, path)
    keys = known.lookup(options.host_key_name)
    if keys:  # request a type of key that is known, as ssh does
        security = transport.get_security_options()
        kinds = [kind for kind in security.key_types if kind in keys or (kind.startswith("rsa-") and "ssh-rsa" in keys)]
        security.key_types = [*kinds, *(kind for kind in security.key_types if kind not in kinds)]
    transport.start_client(timeout=CONNECT_TIMEOUT_S)
    key = transport.get_remote_server_key()
    files = ", ".join(map(str, options.known_hosts)) or "any known_hosts file"
    if not keys:
        raise paramiko.SSHException(
            f"the host key of {options.host_key_name} ({key.get_name()} {key.fingerprint}) is not in {files}"
        )
    if keys.get(key.get_name()) != key:
        raise paramiko.SSHException(
            f"the host key of {options.host_key_name} ({key.get_name()} {key.fingerprint}) is not the one in {files}"
        )


def _load_host_keys(known: paramiko.HostKeys, path: Path) -> None:
    """Read the lines of a known_hosts file that paramiko supports; certificate authorities are not among them."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        text = line.strip()
        if not text or text.startswith(("#", "@")):
            continue
        try:
            entry = paramiko.hostkeys.HostKeyEntry.from_line(text)
        except (paramiko.SSHException, paramiko.hostkeys.InvalidHostKey, ValueError):
            continue
        if entry is not None and entry.key is not None:
            for host in entry.hostnames or []:
                known.add(host, entry.key.get_name(), entry.key)


def _log_in(transport: paramiko.Transport, options: SshOptions, name: str) -> None:
    allowed = _allowed(transport, options.user)
    if transport.is_authenticated():
        return
    tried: list[str] = []
    if "publickey" in allowed:
        for label, key in _keys(options):
            tried.append(label)
            try:
                allowed = transport.auth_publickey(options.user, key)
            except paramiko.BadAuthenticationType as exc:
                allowed = exc.allowed_types
                break
            except paramiko.AuthenticationException:
                continue
            if transport.is_authenticated():
                return
            break  # accepted, but the server requires a further step
    if "keyboard-interactive" in allowed or "password" in allowed:
        if not sys.stdin.isatty():
            raise HostError(
                f"{name}: the login requires {' or '.join(allowed)}, but the prompt needs a terminal",
                code="ssh_needs_terminal",
                hint="run the command in a terminal, or set up a key for this login",
            )
        transport.auth_timeout = _PROMPT_TIMEOUT_S
        _answer_prompts(transport, options, name, allowed)
        if transport.is_authenticated():
            return
    raise paramiko.AuthenticationException(f"login of {options.user} refused (tried: {', '.join(tried) or 'no key'})")


def _allowed(transport: paramiko.Transport, user: str) -> list[str]:
    try:
        transport.auth_none(user)
    except paramiko.BadAuthenticationType as exc:
        return list(exc.allowed_types)
    return []


def _answer_prompts(transport: paramiko.Transport, options: SshOptions, name: str, allowed: list[str]) -> None:
    def answer(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        for text in (title, instructions):
            if text.strip():
                print(printable(text), file=sys.stderr)  # noqa: T201
        return [_ask(f"({options.user}@{name}) {one_line(prompt)} ", echo=echo) for prompt, echo in prompts]

    if "keyboard-interactive" in allowed:
        transport.auth_interactive(options.user, answer)
    else:
        transport.auth_password(options.user, _ask(f"{options.user}@{name}'s password: ", echo=False))


def _ask(prompt: str, *, echo: bool) -> str:
    if not echo:
        return getpass.getpass(prompt, stream=sys.stderr)
    print(prompt, end="", file=sys.stderr, flush=True)  # noqa: T201
    return sys.stdin.readline().rstrip("\n")


def _keys(options: SshOptions) -> Iterator[tuple[str, paramiko.PKey]]:
    """Yield keys in the order of ssh: agent keys named in the configuration, files, the other agent keys."""
    agent = list(paramiko.Agent().get_keys()) if options.use_agent else []
    named = {blob for path in options.identity_files if (blob := _public_blob(path)) is not None}
    for key in agent:
        if key.get_base64() in named:
            yield f"agent key {key.comment or key.get_name()}", key
    in_agent = {key.get_base64() for key in agent}
    for path in options.identity_files:
        if _public_blob(path) in in_agent:
            continue
        loaded = _load_key(path)
        if loaded is None:
            continue
        for certificate in _certificates(path, options):
            certified = _load_key(path, certificate)
            if certified is not None:
                yield f"{path} with {certificate.name}", certified
        yield str(path), loaded
    if not options.identities_only:
        for key in agent:
            if key.get_base64() not in named:
                yield f"agent key {key.comment or key.get_name()}", key


def _certificates(path: Path, options: SshOptions) -> list[Path]:
    """Return the CertificateFiles for this key, by name if there are several keys. KEY-cert.pub is loaded with KEY."""
    alone = len(options.identity_files) == 1
    return [file for file in options.certificate_files if alone or file.name.startswith(path.name)]


def _public_blob(path: Path) -> str | None:
    """Return the base64 of KEY.pub. None: the file does not exist."""
    try:
        words = path.with_name(f"{path.name}.pub").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return None
    return words[1] if len(words) > 1 else None


def _load_key(path: Path, certificate: Path | None = None) -> paramiko.PKey | None:
    """Return the private key in a file. None: it cannot be used. Prompts for a passphrase at a terminal."""
    try:
        key = _read_key(path)
        if key is not None and certificate is not None:
            key.load_certificate(str(certificate))
    except (paramiko.SSHException, OSError, ValueError, TypeError):
        return None
    return key


def _read_key(path: Path) -> paramiko.PKey | None:
    try:
        return paramiko.PKey.from_path(path)
    except paramiko.PasswordRequiredException:
        pass
    except (TypeError, ValueError) as exc:  # how cryptography reports a key with a passphrase
        if not any(word in str(exc).lower() for word in ("password", "encrypted")):
            return None
    if not sys.stdin.isatty():
        return None
    passphrase: Any = _ask(f"passphrase for {path}: ", echo=False).encode()  # bytes, despite its type hint
    return paramiko.PKey.from_path(path, passphrase)

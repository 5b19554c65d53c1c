"""What `ssh HOST` itself would do: the user's SSH configuration as OpenSSH resolves it (`ssh -G`)."""

import getpass
import os
import pwd
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.errors import HostError
from hpcsweep.hosts.local import LocalHost
from hpcsweep.spec.cluster import Ssh

_RESOLVE_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class SshOptions:
    """How a host is reached. `host_key_name`: the name under which its key is in the files of `known_hosts`.

    `identity_files`, `certificate_files`: those that exist. `proxy_command`: None: a TCP connection.
    """

    hostname: str
    port: int
    user: str
    host_key_name: str
    known_hosts: tuple[Path, ...]
    identity_files: tuple[Path, ...]
    certificate_files: tuple[Path, ...] = ()
    identities_only: bool = False
    use_agent: bool = True
    proxy_command: str | None = None


def read_options(ssh: Ssh) -> SshOptions:
    """Return the options for a host of a cluster profile, whose own keys come before the SSH configuration.

    `Include`, `Match`, tokens, several IdentityFiles and ProxyJump are resolved by OpenSSH. Raises HostError.
    """
    lines = _resolved(ssh)
    found: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.partition(" ")
        found.setdefault(key.lower(), []).append(value.strip())
    return options_from(ssh, found)


def options_from(ssh: Ssh, found: Mapping[str, Sequence[str]]) -> SshOptions:
    """Return the options from what `ssh -G` printed: keyword in lower case -> its values, in order."""

    def one(key: str, default: str) -> str:
        return next((value for value in found.get(key, ()) if value), default)

    hostname = one("hostname", ssh.host)
    port = ssh.port or int(one("port", "22"))
    user = ssh.user or one("user", getpass.getuser())
    tokens = {"%": "%", "h": hostname, "p": str(port), "r": user, "n": ssh.host, "d": str(Path.home())}
    tokens |= {
        "u": getpass.getuser(),
        "k": one("hostkeyalias", ssh.host),
        "i": str(os.getuid()),
        "L": os.uname().nodename,
    }

    def paths(values: Sequence[str]) -> tuple[Path, ...]:
        named = [_expand(value, tokens) for value in values]
        return tuple(path for path in named if path.is_file())

    known_hosts = [ssh.known_hosts] if ssh.known_hosts else []
    for key in () if known_hosts else ("userknownhostsfile", "globalknownhostsfile"):
        for value in found.get(key, ()):
            known_hosts += shlex.split(value)
    alias = one("hostkeyalias", "")
    jump = one("proxyjump", "none")
    command = one("proxycommand", "none")
    if command.lower() == "none":
        proxy = jump_command(hostname, port, jump)
    else:
        proxy = _replace_tokens(command, tokens).removeprefix("exec ")
    return SshOptions(
        hostname=hostname,
        port=port,
        user=user,
        host_key_name=alias or (hostname if port == 22 else f"[{hostname}]:{port}"),
        known_hosts=paths(known_hosts),
        identity_files=paths([ssh.key_file] if ssh.key_file else found.get("identityfile", ())),
        certificate_files=paths(found.get("certificatefile", ())),
        identities_only=one("identitiesonly", "no") == "yes" or ssh.key_file is not None,
        use_agent=one("identityagent", "SSH_AUTH_SOCK").lower() != "none",
        proxy_command=proxy,
    )


def jump_command(hostname: str, port: int, jump: str) -> str | None:
    """Return `ssh -W` for a ProxyJump, so that ssh itself verifies the jump host's key; None: there is no jump."""
    if jump.lower() in ("", "none"):
        return None
    *before, last = jump.split(",")
    if ":" in last and "//" not in last:
        last = f"ssh://{last}"  # the only form with a port that ssh takes as its destination
    words = ["ssh", "-o", "BatchMode=yes", *_config_argument(), *(["-J", ",".join(before)] if before else [])]
    return shlex.join([*words, "-W", f"{hostname}:{port}", last])


def _resolved(ssh: Ssh) -> list[str]:
    argv = ["ssh", "-G", *_config_argument()]
    argv += ["-l", ssh.user] if ssh.user else []
    argv += ["-p", str(ssh.port)] if ssh.port else []
    answer = LocalHost().run([*argv, "--", ssh.host], timeout_s=_RESOLVE_TIMEOUT_S)
    if answer.exit_code == 127:
        raise HostError(
            f"{ssh.host}: `ssh` is not installed here, and reads the SSH configuration for hpcsweep",
            hint="install the OpenSSH client",
        )
    if answer.exit_code != 0:
        raise HostError(
            f"{ssh.host}: `ssh -G` cannot read the SSH configuration",
            detail=answer.stderr,
            hint=f"`ssh {ssh.host} true` must work",
        )
    return answer.stdout.splitlines()


def _config_argument() -> list[str]:
    """ssh takes the home folder from the user database; where $HOME is another one, it is the one that is meant."""
    home = Path.home()
    if home == Path(pwd.getpwuid(os.getuid()).pw_dir):
        return []
    config = home / ".ssh" / "config"
    return ["-F", str(config) if config.is_file() else "none"]


def _expand(value: str, tokens: Mapping[str, str]) -> Path:
    if value.startswith("~/"):
        value = f"{tokens['d']}{value[1:]}"
    return Path(os.path.expandvars(_replace_tokens(value, tokens))).expanduser()


def _replace_tokens(text: str, tokens: Mapping[str, str]) -> str:
    parts = text.split("%")
    found = [parts[0]]
    rest = iter(parts[1:])
    for part in rest:
        if part == "":  # `%%`
            found += ["%", next(rest, "")]
        else:
            found.append(tokens.get(part[0], f"%{part[0]}") + part[1:])
    return "".join(found)

"""Read the user's SSH configuration as OpenSSH resolves it (`ssh -G`)."""

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
    """Options of a connection. `host_key_name`: the name of the host's key in the files of `known_hosts`.

    `identity_files`, `certificate_files`: those that exist. `proxy_command` None: connect over TCP.
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
    """Return the options for a host of a cluster profile. Keys of the profile override the SSH configuration.

    `Include`, `Match`, tokens, several IdentityFiles and ProxyJump are resolved by OpenSSH. Raises HostError.
    """
    lines = _resolved(ssh)
    values: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.partition(" ")
        values.setdefault(key.lower(), []).append(value.strip())
    return options_from(ssh, values)


def options_from(ssh: Ssh, printed: Mapping[str, Sequence[str]]) -> SshOptions:
    """Return the options from the output of `ssh -G`: keyword in lower case -> its values, in order."""

    def first(key: str, default: str) -> str:
        return next((value for value in printed.get(key, ()) if value), default)

    hostname = first("hostname", ssh.host)
    port = ssh.port or int(first("port", "22"))
    user = ssh.user or first("user", getpass.getuser())
    tokens = {"%": "%", "h": hostname, "p": str(port), "r": user, "n": ssh.host, "d": str(Path.home())}
    tokens |= {
        "u": getpass.getuser(),
        "k": first("hostkeyalias", ssh.host),
        "i": str(os.getuid()),
        "L": os.uname().nodename,
    }

    def paths(values: Sequence[str]) -> tuple[Path, ...]:
        named = [_expand(value, tokens) for value in values]
        return tuple(path for path in named if path.is_file())

    known_hosts = [ssh.known_hosts] if ssh.known_hosts else []
    for key in () if known_hosts else ("userknownhostsfile", "globalknownhostsfile"):
        for value in printed.get(key, ()):
            known_hosts += shlex.split(value)
    alias = first("hostkeyalias", "")
    jump = first("proxyjump", "none")
    command = first("proxycommand", "none")
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
        identity_files=paths([ssh.key_file] if ssh.key_file else printed.get("identityfile", ())),
        certificate_files=paths(printed.get("certificatefile", ())),
        identities_only=first("identitiesonly", "no") == "yes" or ssh.key_file is not None,
        use_agent=first("identityagent", "SSH_AUTH_SOCK").lower() != "none",
        proxy_command=proxy,
    )


def jump_command(hostname: str, port: int, jump: str) -> str | None:
    """Return `ssh -W` for a ProxyJump, so that ssh itself verifies the key of the jump host. None: no jump host."""
    if jump.lower() in ("", "none"):
        return None
    *before, last = jump.split(",")
    if ":" in last and "//" not in last:
        last = f"ssh://{last}"  # the only form with a port that ssh accepts as destination
    words = ["ssh", "-o", "BatchMode=yes", *_config_argument(), *(["-J", ",".join(before)] if before else [])]
    return shlex.join([*words, "-W", f"{hostname}:{port}", last])


def _resolved(ssh: Ssh) -> list[str]:
    argv = ["ssh", "-G", *_config_argument()]
    argv += ["-l", ssh.user] if ssh.user else []
    argv += ["-p", str(ssh.port)] if ssh.port else []
    answer = LocalHost().run([*argv, "--", ssh.host], timeout_s=_RESOLVE_TIMEOUT_S)
    if answer.exit_code == 127:
        raise HostError(
            f"{ssh.host}: `ssh` is not installed here; hpcsweep uses it to read the SSH configuration",
            code="ssh_not_installed",
            hint="install the OpenSSH client",
        )
    if answer.exit_code != 0:
        raise HostError(
            f"{ssh.host}: `ssh -G` cannot read the SSH configuration",
            code="ssh_configuration",
            detail=answer.stderr,
            hint=f"make sure that `ssh {ssh.host} true` works",
        )
    return answer.stdout.splitlines()


def _config_argument() -> list[str]:
    """Return the option for $HOME/.ssh/config, if $HOME is not the home folder of the user database, which ssh uses."""
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
    replaced = [parts[0]]
    rest = iter(parts[1:])
    for part in rest:
        if part == "":  # `%%`
            replaced += ["%", next(rest, "")]
        else:
            replaced.append(tokens.get(part[0], f"%{part[0]}") + part[1:])
    return "".join(replaced)

"""The contract of a container runtime: how a command runs in an image, as data and pure functions.

A plugin derives a class from `Runtime` and registers it under an entry point of the group `hpcsweep.containers` whose
name equals `Runtime.name`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from hpcsweep.spec.container import Bind
from hpcsweep.spec.secret_values import is_secret

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The search path in a container whose runtime would pass on that of the node."""


class GpuKind(str, Enum):
    """The GPUs that a container gets."""

    NONE = "none"
    NVIDIA = "nvidia"
    ROCM = "rocm"


@dataclass(frozen=True)
class ContainerRequest:
    """A command to run in a container on one node.

    `environment`: all variables that it gets, with secrets: a runtime passes their values by its own environment,
    never by arguments, which every user of the node can read. `host`: the environment of the job, for the runtime's own
    command. `scratch`: a private folder of the attempt. `name`: unique, for runtimes that name containers.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    host: Mapping[str, str]
    image: str
    binds: Sequence[Bind] = ()
    gpus: GpuKind = GpuKind.NONE
    workdir: str = "/"
    options: Sequence[str] = ()
    scratch: str = "/tmp"
    name: str = "hpcsweep"
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class NodeCommand:
    """A command to execute on a node, with its whole environment.

    `files`: path -> text, to write before the start. `cleanup`: command that removes what the container may have left
    when its processes were killed, and that fails when there is nothing to remove; empty: nothing can be left.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    cleanup: tuple[str, ...] = ()


class Runtime(ABC):
    """One container runtime. The processes of the container must be visible on the node and belong to the job's user.

    So the network, the IPC and the PID namespace of the node are shared, and `refused_options` are those that would
    separate them.
    """

    name: str
    """The name in `container: {runtime: NAME}`, and of the entry point."""
    title: str = ""
    """The name in sentences; empty: `name`."""
    executable: str
    """The command that is looked for on PATH."""
    mounts_home: bool = False
    """Whether the user's home folder is visible in the container by default."""
    keeps_namespaces: bool = True
    """Whether the container is a child of the command and so stays in its network namespace and cgroup."""
    read_only_binds: bool = True
    """Whether a bind can be read-only."""
    schedulers: frozenset[str] | None = None
    """The schedulers under which it works; None: all, and without one."""
    version_arguments: tuple[str, ...] = ("--version",)
    """Arguments with which the command prints its version."""
    plugin_option: str = ""
    """Option that a plugin adds to the `--help` of its command; empty: the runtime is a command of its own."""
    refused_options: Mapping[str, str] = {}
    """Option -> why it cannot be used."""

    @abstractmethod
    def command(self, request: ContainerRequest) -> NodeCommand:
        """Return the command that runs `request.argv` in the container, in the foreground."""

    def image_path(self, image: str) -> str | None:
        """Return the path of the image's file or folder on the node; None: a name that only the runtime resolves."""
        return image if image.startswith("/") else None

    def cleanup_argv(self, name: str) -> tuple[str, ...]:
        """Return the command that removes a container by name; empty: nothing is left when its processes are killed."""
        return ()

    def identity_argv(self, image: str) -> tuple[str, ...]:
        """Return the command that prints a text which changes with the content of a named image; empty: none."""
        return ()

    def problems(self, image: str, binds: Sequence[Bind], options: Sequence[str]) -> list[str]:
        """Return why a container cannot run like this, one sentence each; empty: it can."""
        sentences = [
            f"option {option} cannot be used: {why}"
            for option in options
            for refused, why in self.refused_options.items()
            if option == refused or option.startswith(f"{refused}=")
        ]
        sentences += [
            f"option {name}=... is a secret: list its name under `env_from`, so that it is not an argument"
            for option in options
            if is_secret(name := option.partition("=")[0]) and "=" in option
        ]
        if not self.read_only_binds:
            sentences += [f"{self.title or self.name} cannot bind {b.source} read-only" for b in binds if b.read_only]
        return sentences


SEPARATE_PROCESSES = "the agent watches the processes of the container, which must be visible on the node"
SEPARATE_NETWORK = "the agent connects to the server by the network of the node"


_READ_BY_THE_RUNTIME = frozenset({"HOME", "PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME"})


def split_environment(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return (variables that the runtime's command can pass on by name, `NAME=VALUE` of the others).

    The others have another meaning for the command itself, which finds its storage in HOME and its programs in PATH.
    None of them is a secret.
    """
    by_name = {name: value for name, value in environment.items() if name not in _READ_BY_THE_RUNTIME}
    return by_name, [f"{name}={environment[name]}" for name in sorted(environment.keys() & _READ_BY_THE_RUNTIME)]


def oci_binds(binds: Sequence[Bind]) -> list[str]:
    """Return `SOURCE:TARGET[:ro]` for each bind."""
    return [f"{bind.source}:{bind.target}{':ro' if bind.read_only else ''}" for bind in binds]

"""Cluster profiles: how jobs are asked for on one cluster."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from hpcsweep.spec.base import Bytes, EnvironmentName, Model, Seconds

# Values that land in #SBATCH and #PBS lines are not shell: quoting does not protect them, so a pattern does.
Directive = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.,:@%+=/\[\]&|*()-]*$", max_length=400)]
"""A value in a directive line: no blank, quote, `#`, `$`, backslash or newline."""

_EXTRA = re.compile(r"-[^\n\r\0]*")
_TWO_PARTS = re.compile(r"\s*\d+:\d\d\s*")


class Ssh(Model):
    """A login node to reach over SSH. Keys and host keys are the user's own; nothing is accepted unseen."""

    host: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$", description="a name of ~/.ssh/config, or a host")
    user: str | None = None
    port: int | None = Field(None, ge=1, le=65535)
    key_file: str | None = Field(None, description="None: those of ~/.ssh/config, the agent's, the usual ones")
    known_hosts: str | None = Field(None, description="file of host keys; None: ~/.ssh/known_hosts")
    home: str = Field(description="HPCSWEEP_HOME on that side: absolute, shared with its compute nodes")

    @field_validator("home")
    @classmethod
    def _absolute_home(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError(
                f"home: {value!r} must be an absolute path: nodes and login node need not agree on what `~` or a "
                "relative path is (`ssh HOST pwd` shows your home folder there)"
            )
        if not value.isprintable() or ".." in value.split("/"):
            raise ValueError(f"home: {value!r} must be a plain path, without `..`")
        return value.rstrip("/") or "/"


class Cluster(Model):
    """One cluster profile: a key of `clusters:` in hpcsweep.yaml."""

    scheduler: str = Field("local", description="local, slurm, pbs, or one of a plugin")
    ssh: Ssh | None = Field(None, description="None: commands run here")
    partition: Directive | None = Field(None, description="Slurm")
    queue: Directive | None = Field(None, description="PBS")
    account: Directive | None = None
    qos: Directive | None = None
    constraint: Directive | None = None
    reservation: Directive | None = None
    nodelist: Directive | None = None
    exclude: Directive | None = Field(None, description="nodes never to use")
    exclusive: bool = Field(False, description="jobs get whole nodes")
    allow_unprotected_server: bool = Field(
        False, description="run servers that other users of the node can connect to; see docs/security.md"
    )
    private_network: bool = Field(
        False,
        description="servers on a Unix socket get a network of their own: nobody reaches it, and they reach nothing",
    )
    gpus_per_node: int | None = Field(None, ge=0)
    gpu_type: Directive | None = None
    gpu_resource: Directive | None = Field(
        None, description="PBS: the resource that says a node's GPU type, such as gpu_type; queue: the queue decides it"
    )
    gpu_memory: Bytes | None = Field(None, description="of one GPU")
    gpu_directive: Literal["gres", "gpus-per-node"] = "gres"
    cpus: int | None = Field(None, ge=1, description="per node")
    memory: Bytes | None = Field(None, ge=1, description="per node")
    walltime: Seconds | None = Field(None, gt=0, description="the longest that this cluster allows")
    place: Directive | None = Field(None, description="PBS -l place")
    requeue: bool = False
    signal_margin: Seconds = Field(120, ge=0, description="the warning signal comes this long before the time limit")
    directives: list[str] = Field([], description="extra directive lines, such as '--mail-type=END'")
    setup: list[str] = Field([], description="shell lines that run before the agent: module load ...")
    env: dict[EnvironmentName, str] = Field({}, description="environment of the job; never a secret")
    secrets_file: str | None = Field(None, description="file on the nodes with NAME=VALUE lines, mode 0600")
    login_shell: bool = Field(True, description="Slurm; False: jobs start without the login files of their user")
    parallel: int | None = Field(None, ge=1, description="array tasks that run at the same time; None: no limit")
    max_array_size: int | None = Field(None, ge=1, description="None: asked of the cluster")
    python: str | None = Field(None, description="interpreter on the nodes; None: the one that runs hpcsweep")
    engines: dict[str, str] = Field({}, description="engine -> executable on the nodes")
    simulate: Literal["auto", "always", "never"] = Field(
        "never", description="auto: the simulated engine where the real one is not installed"
    )

    @property
    def unprotected_server_allowed(self) -> bool:
        """Whether a server that every user of the node can connect to may run.

        All GPUs of a node are not enough: other users' jobs without GPUs may be on it.
        """
        alone = self.scheduler != "local" and (self.exclusive or "excl" in (self.place or ""))
        return self.allow_unprotected_server or alone

    @field_validator("directives")
    @classmethod
    def _directive_lines(cls, value: list[str]) -> list[str]:
        for line in value:
            if not _EXTRA.fullmatch(line):
                raise ValueError(f"directives: {line!r} must start with a dash and be one line")
        return value

    @field_validator("walltime", mode="before")
    @classmethod
    def _no_clock_of_two_parts(cls, value: Any) -> Any:
        """`30:00` is half an hour for PBS and Slurm, and thirty hours where durations of ours are read."""
        if isinstance(value, str) and _TWO_PARTS.fullmatch(value):
            first = int(value.partition(":")[0])
            raise ValueError(
                f"{value!r} is ambiguous: write {first}m for {first} minutes or {first}h for {first} hours"
            )
        return value

    @field_validator("env", mode="before")
    @classmethod
    def _env_as_text(cls, value: Any) -> Any:
        return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else value


LOCAL = Cluster(scheduler="local", simulate="auto")
"""The built-in profile `local`: this machine, no scheduler."""


class ConfigFile(Model):
    """hpcsweep.yaml: the cluster profiles of a project or a user."""

    default: str | None = Field(None, description="the profile that is used when --cluster is not given")
    group: str | None = Field(None, description="Unix group that shares HPCSWEEP_HOME; None: it is private")
    clusters: dict[str, Cluster] = {}
    templates: str | None = Field(None, description="folder of your own templates; relative to this file")

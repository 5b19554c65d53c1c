"""Cluster profiles: how jobs are requested on a cluster."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from hpcsweep.spec.base import Bytes, EnvironmentName, Misplaced, Model, Seconds
from hpcsweep.spec.container import Container, EngineSetup
from hpcsweep.spec.job_environment import NodeScratch, Proxy, assigned_names
from hpcsweep.spec.pbs_request import NO_SELECT, PbsRequest
from hpcsweep.spec.preflight import Preflight

# Values in #SBATCH and #PBS lines are not parsed by a shell, so they cannot be quoted: a pattern restricts them.
Directive = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.,:@%+=/\[\]&|*()-]*$", max_length=400)]
"""A value in a directive line, without blank, quote, `#`, `$`, backslash or newline."""

_EXTRA = re.compile(r"-[^\n\r\0]*")
_TWO_PARTS = re.compile(r"\s*\d+:\d\d\s*")
_OWN_KEYS = {"project": "pbs", "pbs": "pbs", "hint": "slurm", "gpu_type_in_directive": "slurm"}
"""Keys that the other scheduler would ignore -> the scheduler that they are for."""


class Ssh(Model):
    """A login node that is reached over SSH with the user's own keys. Unknown host keys are rejected."""

    host: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$", description="a name of ~/.ssh/config, or a host")
    user: str | None = None
    port: int | None = Field(None, ge=1, le=65535)
    key_file: str | None = Field(
        None, description="None: keys of ~/.ssh/config, of the SSH agent, and the default ones"
    )
    known_hosts: str | None = Field(None, description="file of host keys; None: ~/.ssh/known_hosts")
    home: str = Field(description="HPCSWEEP_HOME on the cluster: an absolute path that its compute nodes share")

    @field_validator("home")
    @classmethod
    def _absolute_home(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError(
                f"{value!r} is not an absolute path; `~` and relative paths may differ between the login node and "
                "the compute nodes (`ssh HOST pwd` prints your home folder)"
            )
        if not value.isprintable() or ".." in value.split("/"):
            raise ValueError(f"{value!r} is not a plain path without `..`")
        return value.rstrip("/") or "/"


class Cluster(Model):
    """One cluster profile: a key of `clusters:` in hpcsweep.yaml."""

    scheduler: str = Field("local", description="local, slurm, pbs, or the name of a plugin")
    scheduler_options: dict[str, Any] = Field({}, description="keys of a plugin's scheduler, checked by the plugin")
    ssh: Ssh | None = Field(None, description="None: commands run on this machine")
    partition: Directive | None = Field(None, description="Slurm")
    queue: Directive | None = Field(None, description="PBS")
    account: Directive | None = None
    project: Directive | None = Field(None, description="PBS -P")
    pbs: PbsRequest = Field(PbsRequest(), description="PBS: the form of its requests")
    qos: Directive | None = None
    constraint: Directive | None = None
    reservation: Directive | None = None
    nodelist: Directive | None = None
    exclude: Directive | None = Field(None, description="nodes never to use")
    exclusive: bool = Field(False, description="jobs get whole nodes")
    allow_unprotected_server: bool = Field(
        False, description="allow servers that other users of the node can connect to; see docs/security.md"
    )
    private_network: bool = Field(
        False,
        description="run servers with a Unix socket in a network namespace without connections in either direction",
    )
    gpus_per_node: int | None = Field(None, ge=0)
    gpu_type: Directive | None = None
    gpu_resource: Directive | None = Field(
        None,
        description="PBS: the resource with a node's GPU type, such as gpu_type; `queue`: each queue has one GPU type",
    )
    gpu_memory: Bytes | None = Field(None, description="of one GPU")
    gpu_directive: Literal["gres", "gpus-per-node", "none"] = Field(
        "gres", description="Slurm; `none`: jobs get whole nodes, and with them all GPUs"
    )
    gpu_type_in_directive: bool = Field(
        True, description="Slurm; False: the GPU option has no type; all GPUs of the partition and constraint have it"
    )
    hint: Directive | None = Field(None, description="Slurm --hint, such as nomultithread")
    cpus: int | None = Field(None, ge=1, description="per node; with cpus_per_gpu: the most of a node")
    cpus_per_gpu: int | None = Field(None, ge=1, description="CPUs of a job for each of its GPUs")
    memory: Bytes | None = Field(None, ge=1, description="per node; with memory_per_gpu: the most of a node")
    memory_per_gpu: Bytes | None = Field(None, ge=1, description="memory of a job for each of its GPUs")
    walltime: Seconds | None = Field(None, gt=0, description="the maximum of this cluster")
    place: Directive | None = Field(None, description="PBS -l place")
    requeue: bool = False
    signal_margin: Seconds = Field(120, ge=0, description="time between the warning signal and the time limit")
    directives: list[str] = Field([], description="extra directive lines, such as '--mail-type=END'")
    setup: list[str] = Field([], description="shell lines before the agent starts: module load ...")
    login_setup: list[str] = Field([], description="shell lines before each command of the scheduler")
    engine_setup: list[str] = Field([], description="shell lines whose environment only the engine gets")
    env: dict[EnvironmentName, str] = Field({}, description="environment of the job; never a secret")
    proxy: Proxy | None = Field(None, description="by which compute nodes reach other networks")
    node_scratch: NodeScratch | None = Field(
        None, description="folder on the node's own disk, a path or a variable such as $JOBSCRATCH: TMPDIR of the job"
    )
    secrets_file: str | None = Field(None, description="file on the nodes with NAME=VALUE lines, mode 0600")
    login_shell: bool = Field(True, description="Slurm; False: jobs do not read the login files of their user")
    parallel: int | None = Field(
        None, ge=1, description="maximum number of array tasks that run at the same time; None: no limit"
    )
    max_array_size: int | None = Field(None, ge=1, description="None: the limit that the scheduler reports")
    launcher: Literal["srun", "pbsdsh", "pbs_tmrsh", "mpiexec", "ssh", "local"] | None = Field(
        None, description="how the parts of a server on several nodes are started; None: the scheduler's own way"
    )
    preflight: Preflight = Field(Preflight(), description="checks before the start of a server that take time")
    python: str | None = Field(None, description="Python interpreter on the nodes; None: the one that runs hpcsweep")
    engines: dict[str, EngineSetup] = Field({}, description="engine -> executable on the nodes, or its container")
    container: Container | None = Field(None, description="in which all engines run; None: on the node itself")
    simulate: Literal["auto", "always", "never"] = Field(
        "never", description="auto: use the simulated engine where the real one is not installed"
    )

    @property
    def job_environment(self) -> dict[str, str]:
        """Return the variables of a job: those of the proxy, and `env`, which has precedence."""
        return {**(self.proxy.environment if self.proxy else {}), **self.env}

    @property
    def variables(self) -> list[str]:
        """Return the names of the variables that this profile sets for a server."""
        return sorted({*self.job_environment, *assigned_names([*self.setup, *self.engine_setup])})

    @property
    def unprotected_server_allowed(self) -> bool:
        """Return whether a server that every user of the node can connect to may run.

        A job with all GPUs of a node does not suffice: jobs of other users without GPUs may share the node.
        """
        alone = self.scheduler != "local" and (self.exclusive or "excl" in (self.place or ""))
        return self.allow_unprotected_server or alone

    @property
    def executables(self) -> dict[str, str]:
        """Return engine -> executable, for the engines for which the profile names one."""
        return {name: setup.executable for name, setup in self.engines.items() if setup.executable is not None}

    def container_of(self, engine: str) -> Container | None:
        """Return the container of an engine, with the names of the profile's own variables; None: no container."""
        own = self.engines[engine].container if engine in self.engines else None
        if self.container is None and own is None:
            return None
        whole = (self.container or Container()).overridden_by(own)
        return whole.overridden_by(Container(env=list(self.env)))

    @field_validator("engines", mode="before")
    @classmethod
    def _engines_by_path(cls, value: Any) -> Any:
        """Turn `{vllm: PATH}` into `{vllm: {executable: PATH}}`."""
        if not isinstance(value, dict):
            return value
        return {name: {"executable": setup} if isinstance(setup, str) else setup for name, setup in value.items()}

    @field_validator("directives")
    @classmethod
    def _directive_lines(cls, value: list[str]) -> list[str]:
        for line in value:
            if not _EXTRA.fullmatch(line):
                raise ValueError(f"{line!r} must be one line that starts with a dash")
        return value

    @model_validator(mode="after")
    def _keys_of_its_scheduler(self) -> "Cluster":
        for key, owner in _OWN_KEYS.items():
            if key in self.model_fields_set and self.scheduler in ("slurm", "pbs") and self.scheduler != owner:
                default = type(self).model_fields[key].default
                if getattr(self, key) != default:
                    raise Misplaced(
                        f"{key} is a key for {owner}, not for {self.scheduler}", key, code="other_scheduler"
                    )
        if self.pbs.select == NO_SELECT and self.constraint is not None:
            raise Misplaced(
                "constraint is appended to the chunks of select, and pbs.select is none: add it to pbs.resources",
                *("constraint",),
                code="constraint_without_select",
            )
        return self

    @field_validator("walltime", mode="before")
    @classmethod
    def _no_clock_of_two_parts(cls, value: Any) -> Any:
        """Reject `30:00`: half an hour in PBS and Slurm, but thirty hours in other durations of hpcsweep."""
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
"""The built-in profile `local`: this machine without a scheduler."""


class ConfigFile(Model):
    """hpcsweep.yaml: the cluster profiles of a project or a user."""

    default: str | None = Field(None, description="the profile that is used without --cluster")
    group: str | None = Field(None, description="Unix group that shares HPCSWEEP_HOME; None: private")
    clusters: dict[str, Cluster] = {}
    templates: str | None = Field(None, description="folder of custom templates, relative to this file")

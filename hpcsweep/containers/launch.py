"""Turn the command and environment of a server into those to execute on a node, with or without a container. Pure."""

import hashlib
from collections.abc import Collection, Mapping, Sequence

from pydantic import Field

from hpcsweep.containers.base import ContainerRequest, GpuKind, NodeCommand, Runtime
from hpcsweep.containers.environment import container_environment
from hpcsweep.containers.registry import get_runtime
from hpcsweep.spec.base import Record
from hpcsweep.spec.container import Bind


class ContainerLaunch(Record):
    """The container of one attempt as it is started on its nodes: everything but the command and its environment."""

    runtime: str
    image: str
    executable: str = Field(description="path of the runtime's command on the node")
    binds: list[Bind] = []
    options: list[str] = []
    gpus: GpuKind = GpuKind.NONE
    workdir: str
    env: list[str] = Field([], description="variables of the job that are passed on besides the usual ones")
    scratch: str = Field(description="a private folder of the attempt on the node, which is bound")
    hub: str | None = Field(None, description="cache of the Hugging Face hub, for a server without HF_HOME; None: none")
    uid: int
    gid: int
    lasting_binds: list[Bind] = Field([], description="those of `binds` that a server outside of a sweep needs as well")

    def adapter(self) -> Runtime:
        """Return the adapter of its runtime. Raises ContainerError."""
        return get_runtime(self.runtime)


def node_command(
    launch: ContainerLaunch | None,
    argv: Sequence[str],
    environment: Mapping[str, str],
    own: Collection[str] = (),
    *,
    name: str = "",
    host: Mapping[str, str] | None = None,
) -> NodeCommand:
    """Return what to execute on a node for a command of an engine. Raises ContainerError.

    `environment`: of the command, with all variables of the job. `own`: the names of those that were set for it; a
    container gets all of them, and of the others only what `container_environment` chooses. `name`: unique
    among the containers of a node. `host`: the environment of the runtime's own command, if it is another one.
    """
    if launch is None:
        return NodeCommand(tuple(argv), environment)
    runtime = launch.adapter()
    inside = container_environment(environment, own, launch.env)
    if not runtime.mounts_home:
        inside["HOME"] = launch.scratch
    if launch.hub is not None:
        inside.setdefault("HF_HOME", launch.hub)
    request = ContainerRequest(
        argv=tuple(argv),
        environment=inside,
        host=environment if host is None else host,
        image=launch.image,
        binds=launch.binds,
        gpus=launch.gpus,
        workdir=launch.workdir,
        options=launch.options,
        scratch=launch.scratch,
        name=container_name(name),
        uid=launch.uid,
        gid=launch.gid,
    )
    command = runtime.command(request)
    return NodeCommand(
        (launch.executable, *command.argv[1:]),
        command.environment,
        command.files,
        runtime.cleanup_argv(container_name(name)),
    )


def container_name(token: str) -> str:
    """Return a name for a container that does not reveal the token of its attempt."""
    return f"hpcsweep-{hashlib.sha256(token.encode()).hexdigest()[:16]}"


def merged_binds(binds: Sequence[Bind]) -> list[Bind]:
    """Return the binds without those that repeat another one, or lie below it at the same place; shorter paths first.

    Of two binds with one target the later one counts: users' binds come last.
    """
    kept: list[Bind] = []
    for bind in sorted({bind.target: bind for bind in binds}.values(), key=lambda bind: bind.target.count("/")):
        covered = any(
            bind.source == bind.target
            and outer.source == outer.target
            and (bind.target == outer.target or bind.target.startswith(outer.target.rstrip("/") + "/"))
            and outer.read_only <= bind.read_only
            for outer in kept
        )
        if not covered:
            kept.append(bind)
    return kept

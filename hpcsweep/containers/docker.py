"""Docker: `docker run`, whose containers are children of a daemon.

Source: the reference of `docker run` (not run by us). The processes belong to the daemon and not to the job, so a
scheduler does not limit or count them. They are visible with the PID namespace of the node and run as the user of the
job, so the agent finds them by the token in their environment, and removes the container by name. The user namespace
of the node is requested too, because Docker refuses the PID namespace of the node with another one.
"""

from hpcsweep.containers.base import ContainerRequest, GpuKind, NodeCommand, oci_binds, split_environment
from hpcsweep.containers.podman import Podman

_GPU_OPTIONS = {
    GpuKind.NVIDIA: ("--gpus=all",),
    GpuKind.ROCM: ("--device=/dev/kfd", "--device=/dev/dri", "--group-add=video"),
    GpuKind.NONE: (),
}


class Docker(Podman):
    """Docker with a daemon of the system."""

    name = "docker"
    title = "Docker"
    executable = "docker"

    def command(self, request: ContainerRequest) -> NodeCommand:
        """Return the command; see `Runtime.command`."""
        argv = [self.executable, "run", "--rm", f"--name={request.name}", "--network=host", "--ipc=host", "--pid=host"]
        argv += ["--userns=host", f"--user={request.uid}:{request.gid}", "--log-driver=none"]
        argv += [f"--workdir={request.workdir}", *(f"--volume={bind}" for bind in oci_binds(request.binds))]
        by_name, assigned = split_environment(request.environment)
        for variable in [*sorted(by_name), *assigned]:
            argv += ["--env", variable]
        program, *arguments = request.argv
        argv += [*_GPU_OPTIONS[request.gpus], *request.options, f"--entrypoint={program}", request.image, *arguments]
        return NodeCommand(tuple(argv), {**request.host, **by_name})

    def cleanup_argv(self, name: str) -> tuple[str, ...]:
        """Return the command that ends and removes the container."""
        return (self.executable, "rm", "--force", name)

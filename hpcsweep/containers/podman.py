"""Podman and podman-hpc: `run` without a daemon, as the user of the job.

Sources: podman-run(1), and the source of podman-hpc at 01b02d6, April 2026. By default a container has its own PID,
network and IPC namespace and no variables, folders or home of the node; all of that is requested here. Its root is the
user of the job on the node, so files of the server belong to that user; a user named in the image would be another
one, whose processes the agent could not see. `--env NAME` reads the value from the environment. The container is a
child of conmon, which the agent adopts; when both are killed its record stays, so it is removed by name.
"""

from hpcsweep.containers.base import (
    SEPARATE_NETWORK,
    SEPARATE_PROCESSES,
    ContainerRequest,
    GpuKind,
    NodeCommand,
    Runtime,
    oci_binds,
    split_environment,
)

_ROCM_OPTIONS = ("--device=/dev/kfd", "--device=/dev/dri", "--group-add=keep-groups")


class Podman(Runtime):
    """Podman."""

    name = "podman"
    title = "Podman"
    executable = "podman"
    keeps_namespaces = False
    refused_options = {
        "--detach": "the agent waits for the command",
        "-d": "the agent waits for the command",
        "--pid": SEPARATE_PROCESSES,
        "--user": SEPARATE_PROCESSES,
        "-u": SEPARATE_PROCESSES,
        "--network": SEPARATE_NETWORK,
        "--net": SEPARATE_NETWORK,
    }
    nvidia_options: tuple[str, ...] = ("--device=nvidia.com/gpu=all",)

    def command(self, request: ContainerRequest) -> NodeCommand:
        """Return the command; see `Runtime.command`."""
        gpus = {GpuKind.NVIDIA: self.nvidia_options, GpuKind.ROCM: _ROCM_OPTIONS, GpuKind.NONE: ()}[request.gpus]
        argv = [self.executable, "run", "--rm", f"--name={request.name}", "--network=host", "--ipc=host", "--pid=host"]
        # The server's output is in server.log: without a log driver it is not written a second time.
        argv += ["--user=0:0", "--log-driver=none", "--security-opt=label=disable", f"--workdir={request.workdir}"]
        argv += [f"--volume={bind}" for bind in oci_binds(request.binds)]
        by_name, assigned = split_environment(request.environment)
        for variable in [*sorted(by_name), *assigned]:
            argv += ["--env", variable]
        program, *arguments = request.argv
        argv += [*gpus, *request.options, f"--entrypoint={program}", request.image, *arguments]
        return NodeCommand(tuple(argv), {**request.host, **by_name})

    def cleanup_argv(self, name: str) -> tuple[str, ...]:
        """Return the command that removes the container with its record and mounts."""
        return (self.executable, "rm", "--force", "--ignore", "--time=0", name)

    def identity_argv(self, image: str) -> tuple[str, ...]:
        """Return the command that prints the id of the image."""
        return (self.executable, "image", "inspect", "--format", "{{.Id}}", image)


class PodmanHpc(Podman):
    """Podman with the settings of NERSC for compute nodes."""

    name = "podman-hpc"
    title = "podman-hpc"
    executable = "podman-hpc"
    nvidia_options = ("--gpu",)

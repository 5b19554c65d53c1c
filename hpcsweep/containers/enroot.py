"""enroot: `enroot start` on a squashfs file or a container that was created before.

Source: the documentation and source of enroot at 8ea147d, April 2026 (not run by us). The processes are descendants of
the command in the PID, network and IPC namespace of the node; home is not mounted by default. The container gets no
variable of the node but those of `--env NAME`, which are read from the command's environment. The image's entrypoint
is replaced, because that of an engine's image would start the engine by itself. Changes to an image that is started
as a file are kept in memory and lost.
"""

import shlex

from hpcsweep.containers.base import (
    SEPARATE_NETWORK,
    SEPARATE_PROCESSES,
    ContainerRequest,
    GpuKind,
    NodeCommand,
    Runtime,
    split_environment,
)


def nvidia_variables(request: ContainerRequest) -> dict[str, str]:
    """Return the container's variables with those that make the hook of NVIDIA's toolkit mount the driver and GPUs."""
    if request.gpus is GpuKind.NVIDIA:
        defaults = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    else:
        defaults = {"NVIDIA_VISIBLE_DEVICES": "void"}
    return {**defaults, **request.environment}


class Enroot(Runtime):
    """enroot without a scheduler's plugin."""

    name = "enroot"
    executable = "enroot"
    version_arguments = ("version",)
    refused_options = {"--pid": SEPARATE_PROCESSES, "--net": SEPARATE_NETWORK}

    def command(self, request: ContainerRequest) -> NodeCommand:
        """Return the command; see `Runtime.command`."""
        script = f"{request.scratch}/enroot-command.sh"
        by_name, assigned = split_environment(nvidia_variables(request))
        argv = [self.executable, "start", "--rw", "--rc", script]
        for bind in request.binds:
            argv += [
                "--mount",
                f"{bind.source}:{bind.target}:none:x-create=auto,rbind{',ro' if bind.read_only else ''}",
            ]
        for variable in [*sorted(by_name), *assigned]:
            argv += ["--env", variable]
        argv += [*request.options, request.image, *request.argv]
        text = f'cd -- {shlex.quote(request.workdir)} || exit 1\nexec "$@"\n'
        return NodeCommand(tuple(argv), {**request.host, **by_name}, {script: text})

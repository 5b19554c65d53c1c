"""Charliecloud: `ch-run` on a folder, a squashfs file or a name in its storage.

Source: ch-run(1) and Charliecloud 0.45.2, run by us. The processes are descendants of the command in the PID, network
and IPC namespace of the node; /dev, /proc, /sys and $TMPDIR (or /tmp) of the node are visible, home is not. The whole
environment of the command is passed on, so it gets only the container's variables; those of the image apply with the
option `--set-env`. `--write-fake` lays a filesystem in memory over the image, which is needed for binds whose target is
not in the image, and is lost. `ch-run` has no option for NVIDIA GPUs in all versions: `--cdi` (from 0.40), or
`ch-fromhost --nvidia` before the first run.
"""

from hpcsweep.containers.base import PATH, ContainerRequest, NodeCommand, Runtime, split_environment


class Charliecloud(Runtime):
    """Charliecloud."""

    name = "charliecloud"
    title = "Charliecloud"
    executable = "ch-run"
    read_only_binds = False

    def command(self, request: ContainerRequest) -> NodeCommand:
        """Return the command; see `Runtime.command`."""
        argv = [self.executable, "--write-fake", f"--cd={request.workdir}"]
        argv += [f"--bind={bind.source}:{bind.target}" for bind in request.binds]
        by_name, assigned = split_environment(request.environment)
        argv += [f"--set-env={variable}" for variable in assigned]  # ch-run would set another HOME
        argv += [*request.options, request.image, "--", *request.argv]
        user = {name: request.host[name] for name in ("USER", "HOME") if name in request.host}
        return NodeCommand(tuple(argv), {**user, "PATH": PATH, **by_name})

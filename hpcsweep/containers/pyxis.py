"""Pyxis: a plugin of Slurm that adds `--container-image` to srun, on top of enroot.

Source: the README and source of pyxis at 1075199, May 2026 (not run by us). The server becomes a step of the job: a
child of slurmstepd, not of the agent, but of the same user in the PID and network namespace of the node. All exported
variables reach the container, and those in `--container-env` override the image, so srun itself gets only the
variables that it needs. Neither home nor /tmp of the node are visible unless they are mounted.
"""

from hpcsweep.containers.base import ContainerRequest, NodeCommand, Runtime, split_environment
from hpcsweep.containers.enroot import nvidia_variables

_FOR_SRUN = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG")
_FOR_SRUN_PREFIXES = ("SLURM", "SRUN_", "ENROOT_", "PYXIS_", "XDG_", "MUNGE_")


class Pyxis(Runtime):
    """`srun --container-image` within the job."""

    name = "pyxis"
    title = "pyxis"
    executable = "srun"
    keeps_namespaces = False
    schedulers = frozenset({"slurm"})
    plugin_option = "--container-image"
    refused_options = {"--container-name": "a named container stays on the node after the run"}

    def command(self, request: ContainerRequest) -> NodeCommand:
        """Return the command; see `Runtime.command`."""
        environment, assigned = split_environment(nvidia_variables(request))
        # --overlap: the step shares the CPUs and GPUs of the job with the agent, which runs in the batch step.
        argv = [self.executable, "--overlap", "--nodes=1", "--ntasks=1", "--cpu-bind=none", "--kill-on-bad-exit=1"]
        cpus, node = request.host.get("SLURM_CPUS_ON_NODE", ""), request.host.get("SLURMD_NODENAME", "")
        argv += [f"--cpus-per-task={cpus}"] if cpus.isdigit() else []
        argv += [f"--nodelist={node}"] if node else []
        mounts = [f"{bind.source}:{bind.target}{':ro' if bind.read_only else ''}" for bind in request.binds]
        argv += [f"--container-image={request.image}", f"--container-workdir={request.workdir}"]
        argv += [f"--container-mounts={','.join(mounts)}"] if mounts else []
        argv += ["--no-container-mount-home", "--no-container-entrypoint", "--container-writable"]
        argv += [f"--container-env={','.join(sorted(environment))}"] if environment else []
        kept = {
            name: value
            for name, value in request.host.items()
            if name in _FOR_SRUN or name.startswith(_FOR_SRUN_PREFIXES)
        }
        argv += [*request.options, *(["/usr/bin/env", *assigned] if assigned else []), *request.argv]
        return NodeCommand(tuple(argv), {**kept, **environment})

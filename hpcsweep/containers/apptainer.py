"""Apptainer and Singularity: `exec` on a SIF, a sandbox folder or a URI.

Sources: Apptainer 1.4.5, run by us, and its user guide. The processes of `exec` are descendants of the command in the
PID, network and IPC namespace of the node. The image is read-only; home, /tmp, /dev, /proc and /sys are bound by
default, and other folders only on request. `--cleanenv` keeps the job's variables out, which may belong to software of
the node (PYTHONPATH, LD_LIBRARY_PATH). Variables that are set by a prefix override those of the image; their values are
evaluated by a shell unless NO_EVAL is set.
"""

from hpcsweep.containers.base import (
    SEPARATE_NETWORK,
    SEPARATE_PROCESSES,
    ContainerRequest,
    GpuKind,
    NodeCommand,
    Runtime,
    oci_binds,
)

_GPU_OPTIONS = {GpuKind.NVIDIA: ("--nv",), GpuKind.ROCM: ("--rocm",), GpuKind.NONE: ()}


class Apptainer(Runtime):
    """Apptainer."""

    name = "apptainer"
    title = "Apptainer"
    executable = "apptainer"
    mounts_home = True
    refused_options = {
        "--pid": SEPARATE_PROCESSES,
        "-p": SEPARATE_PROCESSES,
        "--containall": f"{SEPARATE_PROCESSES}; --contain keeps them there",
        "-C": f"{SEPARATE_PROCESSES}; --contain keeps them there",
        "--net": SEPARATE_NETWORK,
        "-n": SEPARATE_NETWORK,
    }
    prefixes: tuple[str, ...] = ("APPTAINER",)
    """Of the variables that the runtime reads, such as `APPTAINERENV_NAME`."""

    def command(self, request: ContainerRequest) -> NodeCommand:
        """Return the command; see `Runtime.command`."""
        argv = [self.executable, "exec", "--cleanenv", "--pwd", request.workdir]
        for bind in oci_binds(request.binds):
            argv += ["--bind", bind]
        argv += [*_GPU_OPTIONS[request.gpus], *request.options, request.image, *request.argv]
        variables = {
            f"{prefix}ENV_{name}": value
            for name, value in request.environment.items()
            if name != "HOME"  # cannot be set by a prefix
            for prefix in self.prefixes
        }
        variables |= {f"{prefix}_NO_EVAL": "1" for prefix in self.prefixes}
        return NodeCommand(tuple(argv), {**request.host, **variables})


class Singularity(Apptainer):
    """SingularityCE, and Apptainer under its former name."""

    name = "singularity"
    title = "Singularity"
    executable = "singularity"
    prefixes = ("SINGULARITY", "APPTAINER")
    """Both, because `singularity` is Apptainer on many systems, and that prints a line for each former name."""

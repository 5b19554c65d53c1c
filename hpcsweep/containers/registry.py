"""The registry of container runtimes: the built-in ones, and plugins (entry points of `hpcsweep.containers`)."""

from hpcsweep.containers.base import Runtime
from hpcsweep.errors import ContainerError
from hpcsweep.registry import Registry

RUNTIMES: Registry[Runtime] = Registry(
    "hpcsweep.containers",
    "container runtime",
    {
        "apptainer": "hpcsweep.containers.apptainer:Apptainer",
        "singularity": "hpcsweep.containers.apptainer:Singularity",
        "pyxis": "hpcsweep.containers.pyxis:Pyxis",
        "enroot": "hpcsweep.containers.enroot:Enroot",
        "podman": "hpcsweep.containers.podman:Podman",
        "podman-hpc": "hpcsweep.containers.podman:PodmanHpc",
        "docker": "hpcsweep.containers.docker:Docker",
        "charliecloud": "hpcsweep.containers.charliecloud:Charliecloud",
    },
    ContainerError,
)


def get_runtime(name: str) -> Runtime:
    """Return the runtime of this name. Raises ContainerError, with the nearest name, for an unknown one."""
    return RUNTIMES.get(name)

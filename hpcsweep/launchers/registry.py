"""All launchers, and the choice of one for a job."""

from collections.abc import Callable, Mapping

from hpcsweep.errors import SpecError, nearest
from hpcsweep.launchers.base import Launcher
from hpcsweep.launchers.local import Local
from hpcsweep.launchers.mpiexec import Mpiexec
from hpcsweep.launchers.pbs import Pbsdsh, PbsTmrsh
from hpcsweep.launchers.srun import Srun
from hpcsweep.launchers.ssh import Ssh

LAUNCHERS: Mapping[str, type[Launcher]] = {kind.name: kind for kind in (Srun, Pbsdsh, PbsTmrsh, Mpiexec, Ssh, Local)}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "slurm": ("srun",),
    "pbs": ("pbsdsh", "pbs_tmrsh", "mpiexec", "ssh"),
    "local": ("local",),
}
"""Launchers to try, by scheduler: those whose processes belong to the job come first."""
_OF_OTHERS = ("mpiexec", "ssh")


def get_launcher(name: str) -> Launcher:
    """Return the launcher of this name. Raises SpecError with the known names."""
    kind = LAUNCHERS.get(name)
    if kind is None:
        raise SpecError(f"unknown launcher {name!r}", code="unknown_launcher", hint=nearest(name, LAUNCHERS))
    return kind()


def choose_launcher(named: str | None, scheduler: str, exists: Callable[[str], bool]) -> Launcher:
    """Return the launcher that a profile names, or the first of the scheduler whose command exists.

    `exists`: whether a command is on the PATH of the head node. Raises SpecError when there is none.
    """
    names = (named,) if named is not None else _CHOICES.get(scheduler, _OF_OTHERS)
    for launcher in map(get_launcher, names):
        if not launcher.executable or exists(launcher.executable):
            return launcher
    wanted = ", ".join(get_launcher(name).executable for name in names)
    raise SpecError(
        f"no launcher for the other nodes of the job: {wanted} not found on PATH",
        code="launcher_not_found",
        hint="set `launcher` in the cluster profile, or load the module that has the command in `setup`",
    )

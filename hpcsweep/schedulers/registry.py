"""The schedulers there are: the built-in ones and those of installed packages."""

import warnings
from collections.abc import Callable
from importlib.metadata import entry_points

from hpcsweep.errors import SpecError
from hpcsweep.schedulers.base import Scheduler
from hpcsweep.schedulers.pbs.scheduler import PbsScheduler
from hpcsweep.schedulers.slurm.scheduler import SlurmScheduler
from hpcsweep.spec.base import nearest

GROUP = "hpcsweep.schedulers"
"""Entry points of this group name a scheduler: `name = package.module:Class`, called without arguments."""

_BUILTIN: dict[str, Callable[[], Scheduler]] = {"slurm": SlurmScheduler, "pbs": PbsScheduler}


def scheduler_names() -> list[str]:
    """Names that `get_scheduler` knows, without loading a plugin."""
    return sorted(_BUILTIN.keys() | {point.name for point in entry_points(group=GROUP)})


def get_scheduler(name: str) -> Scheduler:
    """The scheduler of this name. Raises SpecError that lists those there are.

    A plugin may not take the name of a built-in one. A plugin that cannot be imported is a warning that names it.
    """
    if name in _BUILTIN:
        return _BUILTIN[name]()
    for point in entry_points(group=GROUP):
        if point.name == name:
            try:
                scheduler: Scheduler = point.load()()
            except Exception as exc:  # noqa: BLE001  (a plugin may raise anything; it must not take hpcsweep down)
                warnings.warn(f"the scheduler {name!r} of {point.value} cannot be loaded: {exc!r}", stacklevel=2)
                break
            return scheduler
    raise SpecError(f"unknown scheduler {name!r}", hint=nearest(name, ["local", *scheduler_names()]))

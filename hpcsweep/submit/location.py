"""Where a sweep's folder lies: here, and for a cluster over SSH on its side as well."""

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import hpcsweep
from hpcsweep.errors import HostError, SpecError
from hpcsweep.spec.cluster import Cluster
from hpcsweep.submit.backends import Backend
from hpcsweep.sweep.layout import Home, SweepFolder
from hpcsweep.terminal_text import one_line, printable

if TYPE_CHECKING:
    from hpcsweep.submit.remote import RemoteSweep

_NAMES_TRIED = 100
_FAR_PYTHON_S = 60.0
"""For a python on a busy parallel file system to import the agent."""


@dataclass(frozen=True)
class SweepLocation:
    """A sweep's folder here (`sweep`), and as the nodes see it (`sweep_dir`, `cache_dir`)."""

    sweep: SweepFolder
    sweep_dir: str
    cache_dir: str
    remote: "RemoteSweep | None" = None

    def stage(self) -> None:
        """Bring what is new here to where the nodes read it."""
        if self.remote is not None:
            self.remote.stage()

    def fetch(self) -> None:
        """Bring what the nodes have written here."""
        if self.remote is not None:
            self.remote.fetch()

    def remove(self) -> None:
        """Remove the folder: nothing of it was handed over."""
        shutil.rmtree(self.sweep.path, ignore_errors=True)
        if self.remote is not None:
            self.remote.host.remove_tree(self.remote.path)


def claim(home: Home, experiment: str, cluster: Cluster, backend: Backend, above: int = 0) -> SweepLocation:
    """A new sweep folder, on both sides under the same name. `above`: see `Home.claim`. Raises SpecError, HostError."""
    check_far_side(cluster, backend)
    taken: list[SweepFolder] = []
    for _ in range(_NAMES_TRIED):
        place = locate_sweep(home.claim(experiment, above), cluster, backend)
        if place.remote is None:
            return place
        try:
            place.remote.claim()
        except FileExistsError:  # another login machine took this name over there
            taken.append(place.sweep)
            continue
        except BaseException:
            shutil.rmtree(place.sweep.path, ignore_errors=True)
            raise
        for folder in taken:  # they kept the numbers before ours from being tried again
            folder.path.rmdir()
        return place
    raise SpecError(f"no free name for a sweep of {experiment} was found in {_NAMES_TRIED} tries")


def check_far_side(cluster: Cluster, backend: Backend) -> None:
    """Raise SpecError unless the python of a cluster over SSH has this very version of hpcsweep: the nodes will use it.

    Nothing has been copied then. Raises HostError when the host cannot be reached.
    """
    if cluster.ssh is None or cluster.python is None:
        return
    code = "import hpcsweep.node.agent, hpcsweep; print(hpcsweep.__version__)"
    answer = backend.host.run([cluster.python, "-c", code], timeout_s=_FAR_PYTHON_S)
    where = f"{cluster.python} on {cluster.ssh.host}"
    if answer.exit_code is None:
        raise HostError(f"{where} did not answer within {_FAR_PYTHON_S:.0f} s", hint="nothing was copied or submitted")
    if answer.exit_code != 0:
        raise SpecError(
            f"{where} cannot import hpcsweep: nothing was copied or submitted",
            detail=printable(answer.stderr),
            hint=f"install it there: {cluster.python} -m pip install hpcsweep=={hpcsweep.__version__}",
        )
    there = one_line(answer.stdout.strip().rpartition("\n")[2])[:40]
    if there != hpcsweep.__version__:
        raise SpecError(
            f"{where} has hpcsweep {there}, and this is {hpcsweep.__version__}: nothing was copied or submitted",
            hint=f"{cluster.python} -m pip install hpcsweep=={hpcsweep.__version__}",
        )


def locate_sweep(sweep: SweepFolder, cluster: Cluster, backend: Backend) -> SweepLocation:
    """Where the folder of a sweep lies, by its cluster profile. Raises SpecError."""
    home = sweep.path.parent.parent
    if cluster.ssh is None:
        return SweepLocation(sweep, str(sweep.path), str(home / "cache"))
    if cluster.python is None:
        raise SpecError(
            f"a cluster over SSH ({cluster.ssh.host}) needs `python` in its profile",
            hint="the path of a python there in which hpcsweep is installed",
        )
    from hpcsweep.hosts.ssh import SshHost  # paramiko is imported only by those who need it
    from hpcsweep.submit.remote import RemoteSweep

    if not isinstance(backend.host, SshHost):
        raise SpecError(f"the backend of {cluster.ssh.host} does not speak SSH")
    remote = RemoteSweep(sweep, backend.host, cluster.ssh.home)
    return SweepLocation(sweep, remote.path, f"{cluster.ssh.home}/cache", remote)

"""Where a sweep's folder lies: here, and for a cluster over SSH on its side as well."""

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcsweep.errors import SpecError
from hpcsweep.spec.cluster import Cluster
from hpcsweep.submit.backends import Backend
from hpcsweep.submit.layout import Home, SweepFolder

if TYPE_CHECKING:
    from hpcsweep.submit.remote import RemoteSweep

_NAMES_TRIED = 100


@dataclass(frozen=True)
class Place:
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


def claim(home: Home, experiment: str, cluster: Cluster, backend: Backend, above: int = 0) -> Place:
    """A new sweep folder, on both sides under the same name. `above`: see `Home.claim`. Raises SpecError, HostError."""
    taken: list[SweepFolder] = []
    for _ in range(_NAMES_TRIED):
        place = find_place(home.claim(experiment, above), cluster, backend)
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


def find_place(sweep: SweepFolder, cluster: Cluster, backend: Backend) -> Place:
    """Where the folder of a sweep lies, by its cluster profile. Raises SpecError."""
    home = sweep.path.parent.parent
    if cluster.ssh is None:
        return Place(sweep, str(sweep.path), str(home / "cache"))
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
    return Place(sweep, remote.path, f"{cluster.ssh.home}/cache", remote)

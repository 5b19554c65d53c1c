"""Locate the folder of a sweep: on this machine and, for a cluster over SSH, on the remote host."""

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
_REMOTE_PYTHON_S = 60.0
"""Time for a Python on a busy parallel file system to import the agent."""


@dataclass(frozen=True)
class SweepLocation:
    """A sweep's folder on this machine (`sweep`), and the paths that the nodes use (`sweep_dir`, `cache_dir`)."""

    sweep: SweepFolder
    sweep_dir: str
    cache_dir: str
    remote: "RemoteSweep | None" = None

    def stage(self) -> None:
        """Copy new files to the remote host. Do nothing without SSH."""
        if self.remote is not None:
            self.remote.stage()

    def fetch(self) -> None:
        """Copy the files that the nodes have written from the remote host. Do nothing without SSH."""
        if self.remote is not None:
            self.remote.fetch()

    def remove(self) -> None:
        """Remove the folder, because none of its jobs was submitted."""
        shutil.rmtree(self.sweep.path, ignore_errors=True)
        if self.remote is not None:
            self.remote.host.remove_tree(self.remote.path)


def claim(home: Home, experiment: str, cluster: Cluster, backend: Backend, above: int = 0) -> SweepLocation:
    """Create a new sweep folder, with the same name on both sides. Raises SpecError, HostError.

    `above`: see `Home.claim`.
    """
    check_remote_python(cluster, backend)
    taken: list[SweepFolder] = []
    for _ in range(_NAMES_TRIED):
        location = locate_sweep(home.claim(experiment, above), cluster, backend)
        if location.remote is None:
            return location
        try:
            location.remote.claim()
        except FileExistsError:  # another login machine uses this name on the remote host
            taken.append(location.sweep)
            continue
        except BaseException:
            shutil.rmtree(location.sweep.path, ignore_errors=True)
            raise
        for folder in taken:  # they kept `Home.claim` from trying the same numbers again
            folder.path.rmdir()
        return location
    raise SpecError(
        f"no unused name for a sweep of {experiment} was found in {_NAMES_TRIED} tries", code="no_free_sweep_name"
    )


def check_remote_python(cluster: Cluster, backend: Backend) -> None:
    """Raise SpecError unless the remote Python has this version of hpcsweep, because the nodes will run it.

    Nothing has been copied at that point. Raises HostError when the host cannot be reached.
    """
    if cluster.ssh is None or cluster.python is None:
        return
    code = "import hpcsweep.node.agent, hpcsweep; print(hpcsweep.__version__)"
    result = backend.host.run([cluster.python, "-c", code], timeout_s=_REMOTE_PYTHON_S)
    where = f"{cluster.python} on {cluster.ssh.host}"
    if result.exit_code is None:
        raise HostError(
            f"{where} did not answer within {_REMOTE_PYTHON_S:.0f} s",
            code="remote_python_timeout",
            hint="nothing was copied or submitted",
        )
    if result.exit_code != 0:
        raise SpecError(
            f"{where} cannot import hpcsweep; nothing was copied or submitted",
            code="remote_hpcsweep_missing",
            detail=printable(result.stderr),
            hint=f"install it there: {cluster.python} -m pip install hpcsweep=={hpcsweep.__version__}",
        )
    version = one_line(result.stdout.strip().rpartition("\n")[2])[:40]
    if version != hpcsweep.__version__:
        raise SpecError(
            f"{where} has hpcsweep {version}, this machine has {hpcsweep.__version__}; nothing was copied or submitted",
            code="remote_hpcsweep_version",
            hint=f"{cluster.python} -m pip install hpcsweep=={hpcsweep.__version__}",
        )


def locate_sweep(sweep: SweepFolder, cluster: Cluster, backend: Backend) -> SweepLocation:
    """Return the location of a sweep, by its cluster profile. Raises SpecError."""
    home = sweep.path.parent.parent
    if cluster.ssh is None:
        return SweepLocation(sweep, str(sweep.path), str(home / "cache"))
    if cluster.python is None:
        raise SpecError(
            f"the cluster profile has `ssh` ({cluster.ssh.host}) but no `python`",
            code="remote_python_not_set",
            hint="set `python` to the path of a Python on that host in which hpcsweep is installed",
        )
    from hpcsweep.hosts.ssh import SshHost  # imported here because paramiko is slow to import
    from hpcsweep.submit.remote import RemoteSweep

    if not isinstance(backend.host, SshHost):
        raise SpecError(f"the backend of {cluster.ssh.host} does not use SSH", code="backend_without_ssh")
    remote = RemoteSweep(sweep, backend.host, cluster.ssh.home)
    return SweepLocation(sweep, remote.path, f"{cluster.ssh.home}/cache", remote)

"""From a cluster profile to the backend that serves it."""

from functools import cache

from hpcsweep.errors import SpecError
from hpcsweep.hosts.base import Host
from hpcsweep.hosts.local import LocalHost
from hpcsweep.schedulers.registry import get_scheduler
from hpcsweep.spec.cluster import Cluster, Ssh
from hpcsweep.submit.backends import Backend, SchedulerBackend
from hpcsweep.sweep.layout import Home


def make_backend(cluster: Cluster, home: Home, parallel: int | None = None) -> Backend:
    """The backend of a profile. `parallel`: elements at once on this machine. Raises SpecError, EngineError."""
    if cluster.scheduler == "local":
        if cluster.ssh is not None:
            raise SpecError("a cluster profile with `ssh` needs a scheduler", hint="set scheduler: slurm or pbs")
        from hpcsweep.submit.local.backend import LocalBackend  # submitit is a heavy import that schedulers do without

        return LocalBackend(home, parallel or cluster.parallel)
    host = make_host(cluster)
    user = getattr(host, "user", None)  # who is logged in over there owns the jobs
    return SchedulerBackend(get_scheduler(cluster.scheduler), host, user)


def make_host(cluster: Cluster) -> Host:
    """Where the profile's commands run: for one login one connection, however many ask. Raises HostError.

    A profile from a project folder must have passed `inputs.require_own_connection` before.
    """
    return LocalHost() if cluster.ssh is None else _ssh_host(cluster.ssh)


@cache
def _ssh_host(ssh: Ssh) -> Host:
    from hpcsweep.hosts.ssh import SshHost  # paramiko is imported only by those who need it

    return SshHost(ssh)

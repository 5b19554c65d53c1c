"""Create the backend of a cluster profile."""

from functools import cache

from hpcsweep.errors import SpecError
from hpcsweep.hosts.base import Host
from hpcsweep.hosts.local import LocalHost
from hpcsweep.schedulers.registry import get_scheduler
from hpcsweep.spec.cluster import Cluster, Ssh
from hpcsweep.submit.backends import Backend, SchedulerBackend
from hpcsweep.sweep.layout import Home


def make_backend(cluster: Cluster, home: Home, parallel: int | None = None) -> Backend:
    """Return the backend of a profile. `parallel`: array tasks that run at the same time on this machine.

    Raises SpecError, EngineError.
    """
    if cluster.scheduler == "local":
        if cluster.ssh is not None:
            raise SpecError(
                "a cluster profile with `ssh` needs a scheduler",
                code="ssh_without_scheduler",
                hint="set scheduler: slurm or pbs",
            )
        from hpcsweep.submit.local.backend import LocalBackend  # submitit is slow to import

        return LocalBackend(home, parallel or cluster.parallel)
    host = make_host(cluster)
    user = getattr(host, "user", None)  # the remote user owns the jobs
    return SchedulerBackend(get_scheduler(cluster.scheduler), host, user, cluster.login_setup)


def make_host(cluster: Cluster) -> Host:
    """Return the host of a profile; sessions with the same SSH settings share one connection. Raises HostError.

    The caller must have checked a profile of a project folder with `inputs.require_own_connection`.
    """
    return LocalHost() if cluster.ssh is None else _ssh_host(cluster.ssh)


@cache
def _ssh_host(ssh: Ssh) -> Host:
    from hpcsweep.hosts.ssh import SshHost  # paramiko is slow to import

    return SshHost(ssh)

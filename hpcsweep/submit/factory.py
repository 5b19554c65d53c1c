"""From a cluster profile to the backend that serves it."""

from hpcsweep.errors import SpecError
from hpcsweep.hosts.base import Host
from hpcsweep.hosts.local import LocalHost
from hpcsweep.schedulers.registry import get_scheduler
from hpcsweep.spec.cluster import Cluster
from hpcsweep.submit.backends import Backend, SchedulerBackend
from hpcsweep.sweep.layout import Home


def make_backend(cluster: Cluster, home: Home, parallel: int | None = None) -> Backend:
    """The backend of a profile. `parallel`: elements at once on this machine. Raises SpecError, EngineError."""
    if cluster.scheduler == "local":
        if cluster.ssh is not None:
            raise SpecError("a cluster profile with `ssh` needs a scheduler", hint="set scheduler: slurm or pbs")
        from hpcsweep.submit.local import LocalBackend  # submitit is a heavy import that schedulers do without

        return LocalBackend(home, parallel or cluster.parallel)
    return SchedulerBackend(
        get_scheduler(cluster.scheduler), make_host(cluster), cluster.ssh.user if cluster.ssh else None
    )


def make_host(cluster: Cluster) -> Host:
    """Where the profile's commands run. Raises HostError when it cannot be reached."""
    if cluster.ssh is None:
        return LocalHost()
    from hpcsweep.hosts.ssh import SshHost  # paramiko is imported only by those who need it

    return SshHost(cluster.ssh)

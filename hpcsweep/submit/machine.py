"""Inspect this machine for `hpcsweep doctor` and `hpcsweep init`: schedulers, GPUs, engines, configuration."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import hpcsweep
from hpcsweep.engines.registry import engines
from hpcsweep.errors import HpcsweepError
from hpcsweep.hosts.local import LocalHost
from hpcsweep.hosts.mounts import file_system_of, is_shared
from hpcsweep.node.setup.engine_install import installed_version, on_this_node
from hpcsweep.schedulers.base import ClusterFacts
from hpcsweep.schedulers.profile_check import profile_problems
from hpcsweep.schedulers.registry import get_scheduler, scheduler_names
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.unfilled import PLACEHOLDER, unfilled_keys
from hpcsweep.submit.backends import PROBE_TIMEOUT_S, SchedulerBackend
from hpcsweep.submit.container_check import ContainerCheck, check_containers
from hpcsweep.submit.factory import make_host
from hpcsweep.submit.local.gpu_slots import visible_gpus
from hpcsweep.sweep.inputs import find_engine, read_settings
from hpcsweep.sweep.layout import Home


@dataclass(frozen=True)
class HomeCheck:
    """State of HPCSWEEP_HOME. `trouble` empty: it is writable. `shared`: other nodes can mount its file system."""

    path: str
    trouble: str
    file_system: str
    shared: bool
    free_bytes: int


@dataclass(frozen=True)
class EngineCheck:
    """An engine on this machine. `executable` None: not installed. `version` None: not known."""

    name: str
    executable: str | None
    version: str | None


@dataclass(frozen=True)
class Machine:
    """All facts about this machine. `schedulers`: name -> facts about its cluster."""

    host: str
    system: str
    python: str
    hpcsweep: str
    gpus: tuple[str, ...]
    schedulers: Mapping[str, ClusterFacts]
    home: HomeCheck
    engines: tuple[EngineCheck, ...]
    profiles: Mapping[str, tuple[str, ...]]  # name -> problems of the profile on this machine
    containers: Mapping[str, tuple[ContainerCheck, ...]] = field(default_factory=dict)  # by profile


def look_around(home: Home, engine_versions: bool = True, profiles: bool = True) -> Machine:
    """Inspect this machine. `profiles`: also check the configuration files; raises SpecError when one is invalid."""
    schedulers = {name: facts for name in scheduler_names() if (facts := ask_scheduler(name)) is not None}
    settings = read_settings() if profiles else []
    clusters = {name: cluster for _, config in reversed(settings) for name, cluster in config.clusters.items()}
    return Machine(
        host=platform.node(),
        system=platform.platform(),
        python=sys.executable,
        hpcsweep=hpcsweep.__version__,
        gpus=tuple(visible_gpus()),
        schedulers=schedulers,
        home=check_home(home.path),
        engines=tuple(_check_engine(name, home, engine_versions) for name in sorted(engines())),
        profiles={name: tuple(_check_profile(cluster, schedulers)) for name, cluster in clusters.items()},
        containers={name: tuple(_check_containers(cluster)) for name, cluster in clusters.items()},
    )


def ask_scheduler(name: str) -> ClusterFacts | None:
    """Return the facts about a scheduler's cluster; None: its commands are not installed."""
    scheduler = get_scheduler(name)
    if not any(shutil.which(argv[0]) for argv in scheduler.probes()):
        return None
    return SchedulerBackend(scheduler, LocalHost()).facts()


def check_home(path: Path) -> HomeCheck:
    """Check HPCSWEEP_HOME, or its nearest existing parent, with a temporary file."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    trouble = ""
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".hpcsweep-doctor-"):
            pass
    except OSError as exc:
        trouble = f"{existing}: {exc.strerror or exc}"
    file_system = file_system_of(existing)
    return HomeCheck(str(path), trouble, file_system, is_shared(file_system), shutil.disk_usage(existing).free)


def _check_engine(name: str, home: Home, versions: bool) -> EngineCheck:
    executable = find_engine(name, Cluster())
    if executable is None or not versions:
        return EngineCheck(name, executable, None)
    return EngineCheck(
        name, executable, installed_version(on_this_node(engines()[name], executable, os.environ), home.cache_dir)
    )


def _check_profile(cluster: Cluster, schedulers: Mapping[str, ClusterFacts]) -> list[str]:
    if cluster.scheduler == "local":
        return []
    unfilled = unfilled_keys(cluster)
    if unfilled:
        return [f"not checked, because {', '.join(unfilled)} is not filled in ({PLACEHOLDER} in the profile)"]
    if cluster.ssh is not None:
        return _check_far(cluster)
    facts = schedulers.get(cluster.scheduler)
    if facts is None:
        return [f"scheduler {cluster.scheduler!r} is not installed on this machine"]
    if not facts.partitions:  # the profile cannot be checked
        return [f"not checked, {'; '.join(facts.warnings) or f'{cluster.scheduler} lists no partition or queue'}"]
    return profile_problems(cluster, facts)


def _check_containers(cluster: Cluster) -> list[ContainerCheck]:
    """Return the checks of a profile's containers; none while it has placeholders or its host cannot be reached."""
    if unfilled_keys(cluster):
        return []
    try:
        return check_containers(cluster, make_host(cluster))
    except HpcsweepError:  # the check of the profile reports it
        return []


def _check_far(cluster: Cluster) -> list[str]:
    """Return the problems of a profile over SSH: connection, Python, scheduler, partitions of the remote host."""
    if cluster.python is None:
        return ["`python` is not set; it must be the path of a remote Python in which hpcsweep is installed"]
    try:
        host = make_host(cluster)
        imported = host.run([cluster.python, "-c", "import hpcsweep.node.agent"], timeout_s=PROBE_TIMEOUT_S)
        facts = SchedulerBackend(get_scheduler(cluster.scheduler), host, login_setup=cluster.login_setup).facts()
    except HpcsweepError as exc:
        return [exc.message]
    problems = []
    if imported.exit_code != 0:
        last = (imported.stderr.strip().splitlines() or ["timed out"])[-1]
        problems.append(f"{cluster.python} on the remote host cannot import hpcsweep: {last}")
    return [*problems, *facts.warnings, *profile_problems(cluster, facts)]

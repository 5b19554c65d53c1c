"""What this machine is, as far as submitting from it goes: for `hpcsweep doctor` and `hpcsweep init`."""

import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import hpcsweep
from hpcsweep.engines.registry import engines
from hpcsweep.errors import HpcsweepError
from hpcsweep.hosts.local import LocalHost
from hpcsweep.node.setup.engine_install import installed_version
from hpcsweep.schedulers.base import ClusterFacts
from hpcsweep.schedulers.profile_check import profile_problems
from hpcsweep.schedulers.registry import get_scheduler, scheduler_names
from hpcsweep.spec.cluster import Cluster
from hpcsweep.submit.backends import PROBE_TIMEOUT_S, SchedulerBackend
from hpcsweep.submit.factory import make_host
from hpcsweep.submit.local.gpu_slots import visible_gpus
from hpcsweep.sweep.inputs import find_engine, read_settings
from hpcsweep.sweep.layout import Home

SHARED_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "fhgfs", "ceph", "wekafs", "panfs", "pvfs2", "orangefs", "afs", "cifs",
     "smb3", "glusterfs", "9p", "virtiofs", "daos", "quobyte", "ocfs2", "gfs2"}
)  # fmt: skip
"""Types in /proc/mounts of file systems that several machines see; the same with `fuse.` before them."""


@dataclass(frozen=True)
class HomeCheck:
    """HPCSWEEP_HOME: `trouble` empty: it can be written. `shared`: its file system is one that other nodes can see."""

    path: str
    trouble: str
    file_system: str
    shared: bool
    free_bytes: int


@dataclass(frozen=True)
class EngineCheck:
    """An engine on this machine. `executable` None: not installed here. `version` None: it does not tell."""

    name: str
    executable: str | None
    version: str | None


@dataclass(frozen=True)
class Machine:
    """Everything that doctor and init know. `schedulers`: name -> what it says of its cluster."""

    host: str
    system: str
    python: str
    hpcsweep: str
    gpus: tuple[str, ...]
    schedulers: Mapping[str, ClusterFacts]
    home: HomeCheck
    engines: tuple[EngineCheck, ...]
    profiles: Mapping[str, tuple[str, ...]]  # name -> what is wrong with it on this machine


def look_around(home: Home, engine_versions: bool = True, profiles: bool = True) -> Machine:
    """Ask this machine. `profiles`: read the configuration files too; raises SpecError when one is wrong."""
    schedulers = {name: facts for name in scheduler_names() if (facts := ask_scheduler(name)) is not None}
    settings = read_settings() if profiles else []
    clusters = {name: cluster for _, found in reversed(settings) for name, cluster in found.clusters.items()}
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
    )


def ask_scheduler(name: str) -> ClusterFacts | None:
    """What a scheduler on this machine says; None: its commands are not here."""
    scheduler = get_scheduler(name)
    if not any(shutil.which(argv[0]) for argv in scheduler.probes()):
        return None
    return SchedulerBackend(scheduler, LocalHost()).facts()


def check_home(path: Path) -> HomeCheck:
    """Whether a file can be written where HPCSWEEP_HOME is, or will be; the file is gone again afterwards."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    trouble = ""
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".hpcsweep-doctor-"):
            pass
    except OSError as exc:
        trouble = f"{existing}: {exc.strerror or exc}"
    mounts = Path("/proc/mounts")
    file_system = file_system_of(existing.resolve(), mounts.read_text() if mounts.exists() else "")
    return HomeCheck(str(path), trouble, file_system, is_shared(file_system), shutil.disk_usage(existing).free)


def file_system_of(path: Path, mounts: str) -> str:
    """Type of the file system that `path` lies on, from the text of /proc/mounts; `unknown` where nothing matches."""
    best, found = -1, "unknown"
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if (point == path or point in path.parents) and len(point.parts) >= best:
            best, found = len(point.parts), fields[2]
    return found


def is_shared(file_system: str) -> bool:
    """Whether file systems of this type are seen by several machines."""
    return file_system.removeprefix("fuse.") in SHARED_FILE_SYSTEMS


def _check_engine(name: str, home: Home, versions: bool) -> EngineCheck:
    executable = find_engine(name, Cluster())
    if executable is None or not versions:
        return EngineCheck(name, executable, None)
    return EngineCheck(name, executable, installed_version(engines()[name], executable, home.cache_dir))


def _check_profile(cluster: Cluster, schedulers: Mapping[str, ClusterFacts]) -> list[str]:
    if cluster.scheduler == "local":
        return []
    if cluster.ssh is not None:
        return _check_far(cluster)
    facts = schedulers.get(cluster.scheduler)
    if facts is None:
        return [f"scheduler {cluster.scheduler!r} is not on this machine"]
    if not facts.partitions:  # nothing is known to be wrong, nor to be right
        return [f"not checked, {'; '.join(facts.warnings) or f'{cluster.scheduler} lists nothing that takes jobs'}"]
    return profile_problems(cluster, facts)


def _check_far(cluster: Cluster) -> list[str]:
    """What is wrong with a profile over SSH, asked over there: connection, python, scheduler, its partitions."""
    if cluster.python is None:
        return ["`python` is not set: the path of a python over there in which hpcsweep is installed"]
    try:
        host = make_host(cluster)
        found = host.run([cluster.python, "-c", "import hpcsweep.node.agent"], timeout_s=PROBE_TIMEOUT_S)
        facts = SchedulerBackend(get_scheduler(cluster.scheduler), host).facts()
    except HpcsweepError as exc:
        return [exc.message]
    problems = []
    if found.exit_code != 0:
        last = (found.stderr.strip().splitlines() or ["no answer in time"])[-1]
        problems.append(f"{cluster.python} over there cannot import hpcsweep: {last}")
    return [*problems, *facts.warnings, *profile_problems(cluster, facts)]

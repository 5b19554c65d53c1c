"""Find and read the user's inputs: experiments, cluster profiles, simulation profiles, data files."""

import importlib.resources
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from hpcsweep.adopt.script import read_script
from hpcsweep.adopt.servers import replacement, server_starts
from hpcsweep.containers.registry import get_runtime
from hpcsweep.engines.registry import get_engine
from hpcsweep.errors import DatasetError, SpecError
from hpcsweep.foreign_files import read_regular
from hpcsweep.load.datasets.registry import facts_of, read_options
from hpcsweep.schedulers.registry import with_scheduler_options
from hpcsweep.schedulers.user_script import starts_agent
from hpcsweep.spec.base import nearest
from hpcsweep.spec.cluster import Cluster, ConfigFile, Ssh
from hpcsweep.spec.container import Container, resolve_container
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.load import choose_cluster, parse_experiment, parse_model
from hpcsweep.spec.workload import DatasetFacts, Workload
from hpcsweep.sweep.trust import config_dir, is_trusted, look_at

CONFIG_FILE = "hpcsweep.yaml"
CONFIG_VARIABLE = "HPCSWEEP_CONFIG"
DEFAULT_PROFILE = "default.yaml"
_TEXT_LIMIT_BYTES = 16 << 20


def read_text(path: Path) -> str:
    """Return the text of a file that the user named. Raises SpecError."""
    try:
        return read_regular(path, _TEXT_LIMIT_BYTES, follow=True).decode("utf-8")
    except (OSError, ValueError) as exc:
        raise SpecError(f"cannot read {path}: {exc}", code="unreadable_file") from exc


def shipped_dir() -> Path:
    """Return the folder of the experiments that ship with hpcsweep."""
    return Path(str(importlib.resources.files("hpcsweep.experiments")))


def shipped_experiments() -> list[str]:
    """Return the names of the experiments that ship with hpcsweep."""
    return sorted(path.stem for path in shipped_dir().glob("*.yaml"))


def find_experiment(name: str) -> Path:
    """Return the file of an experiment: a path, ./experiments/NAME.yaml, or a shipped one. Raises SpecError."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        if path.is_file():
            return path
        raise SpecError(
            f"experiment file not found: {name}",
            code="experiment_not_found",
            hint=nearest(path.stem, known_experiments()),
        )
    for candidate in (path, Path("experiments") / f"{name}.yaml", shipped_dir() / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    raise SpecError(
        f"unknown experiment {name!r}", code="experiment_not_found", hint=nearest(name, known_experiments())
    )


def known_experiments() -> list[str]:
    """Return the names that `find_experiment` finds without a path."""
    own = {path.stem for path in Path("experiments").glob("*.yaml")}
    return sorted(own | set(shipped_experiments()))


def read_experiment(path: Path) -> Experiment:
    """Read an experiment; replace `$NAME` in `model.path` from the environment. Raises SpecError.

    An unset variable stays in the path; the node then reports that it cannot read the path.
    """
    experiment = parse_experiment(read_text(path), str(path), path.stem)
    model = experiment.model
    if model.path is None:
        return experiment
    return experiment.model_copy(update={"model": model.model_copy(update={"path": os.path.expandvars(model.path)})})


def read_cluster(name: str | None) -> tuple[str, Cluster]:
    """Return name and cluster profile; `name` None: the default profile. Raises SpecError.

    A profile with an SSH connection must be in the user's own configuration: see `own_settings`.
    """
    name, cluster = choose_cluster(name, read_settings())
    require_own_connection(name, cluster)
    return name, with_scheduler_options(cluster, f"cluster profile {name!r}")


def read_settings() -> list[tuple[str, ConfigFile]]:
    """Return (file, its settings) of every configuration file, in order of precedence."""
    return [(str(path), _settings(path)) for path in config_files() if path.exists()]


def own_settings() -> list[tuple[str, ConfigFile]]:
    """Return `read_settings` without the file of a project folder that the user has not trusted.

    Only these settings determine the host, key and known host keys of an SSH connection.
    """
    files = config_files()
    if not os.environ.get(CONFIG_VARIABLE) and not is_trusted(look_at(Path(), CONFIG_FILE)):
        files = files[1:]
    return [(str(path), _settings(path)) for path in files if path.exists()]


def require_own_connection(name: str, cluster: Cluster) -> None:
    """Raise SpecError unless the profile's SSH connection, if it has one, is of the user's own configuration."""
    if cluster.ssh is None:
        return
    own = [config.clusters[name].ssh for _, config in own_settings() if name in config.clusters]
    if cluster.ssh not in own:
        raise SpecError(
            f"./{CONFIG_FILE} has the cluster profile {name}, which connects to {_shown(cluster.ssh)}: "
            "hpcsweep does not connect to a host of a folder that you have not trusted",
            code="connection_not_trusted",
            hint=f"`hpcsweep trust` shows and accepts it; or put the profile into {config_dir() / CONFIG_FILE}",
        )


def own_connection(name: str, ssh: Ssh, sweep: str) -> Ssh:
    """Return the SSH connection of a sweep's cluster `name` from the user's configuration, not from the sweep's folder.

    `ssh`: that of the sweep's folder. Raises SpecError: no profile of that name, or one for another host or home.
    """
    for _, config in own_settings():
        if name not in config.clusters:
            continue
        own = config.clusters[name].ssh
        if own is not None and (own.host, own.home) == (ssh.host, ssh.home):
            return own
        target = f"{own.host}:{own.home}" if own is not None else "this machine"
        raise SpecError(
            f"{sweep} was submitted to {ssh.host}:{ssh.home}, but your profile {name} is for {target}",
            code="connection_differs",
            hint="the host was not contacted; check whether the folder is yours, and whether the profile was changed",
        )
    raise SpecError(
        f"{sweep} was submitted to {_shown(ssh)} with the profile {name}, which is not in your configuration",
        code="connection_unknown",
        hint=f"the host was not contacted; if the sweep is yours, put {name} into "
        f"{config_dir() / CONFIG_FILE}, or trust ./{CONFIG_FILE} with `hpcsweep trust`",
    )


def configured_templates() -> list[Path]:
    """Return the template folders in the user's own configuration. Raises SpecError."""
    folders = []
    for path, settings in own_settings():
        if settings.templates is not None:
            folder = Path(path).absolute().parent / Path(settings.templates).expanduser()
            if not folder.is_dir():
                raise SpecError(f"{path}: templates: folder not found: {folder}", code="template_folder_not_found")
            folders.append(folder)
    return folders


def config_files() -> list[Path]:
    """Return the configuration files: $HPCSWEEP_CONFIG, or ./hpcsweep.yaml and that of the user's config folder."""
    given = os.environ.get(CONFIG_VARIABLE)
    if given:
        path = Path(given)
        if not path.is_file():
            raise SpecError(f"{CONFIG_VARIABLE}={given}: file not found", code="config_file_not_found")
        return [path]
    return [Path(CONFIG_FILE), config_dir() / CONFIG_FILE]


def _settings(path: Path) -> ConfigFile:
    return parse_model(ConfigFile, read_text(path), str(path))


def _shown(ssh: Ssh) -> str:
    return f"{f'{ssh.user}@' if ssh.user else ''}{ssh.host}{f':{ssh.port}' if ssh.port else ''}"


def read_facts(experiment: Experiment, experiment_file: Path) -> dict[str, DatasetFacts]:
    """Return workload name -> facts about its dataset. Files are searched next to the experiment, then shipped ones.

    Raises DatasetError: a file is missing or corrupt; SpecError: an unknown kind or option.
    """
    facts: dict[str, DatasetFacts] = {}
    for workload in experiment.workloads:
        try:
            facts[workload.name] = _facts(workload, experiment_file.resolve().parent)
        except (DatasetError, SpecError) as exc:
            where = f"{experiment_file}: workload {workload.name}"
            raise type(exc)(f"{where}: {exc.message}", code=exc.code, hint=exc.hint, detail=exc.detail) from exc
    return facts


def _facts(workload: Workload, folder: Path) -> DatasetFacts:
    dataset, options = read_options(workload.dataset)
    count = None if workload.num_requests is None else workload.num_requests + workload.warmup
    try:
        return facts_of(dataset, options, folder, workload.max_tokens, count)
    except DatasetError:
        try:
            return facts_of(dataset, options, shipped_dir(), workload.max_tokens, count)
        except DatasetError:
            pass  # the error has to name the user's own folder
        raise


def read_own_script(path: Path, pack: int) -> str:
    """Return the text of a user's own batch script. Raises SpecError when it cannot be submitted."""
    text = read_text(path)
    if pack != 1:
        raise SpecError(
            f"--script {path} is submitted once per run; --runs-per-job {pack} cannot be used with it",
            code="own_script_packed",
        )
    if not text.startswith("#!"):
        raise SpecError(f"--script {path} is not a batch script: missing #! line", code="not_a_batch_script")
    if not starts_agent(text):
        starts = server_starts(text) or [start for start in [read_script(text).start] if start is not None]
        raise SpecError(
            f"--script {path} does not run hpcsweep-node",
            code="script_without_agent",
            hint=(
                f"{replacement(starts, text)}; `hpcsweep adopt {path}` converts the script to an experiment"
                if starts
                else "end the script with the line: exec hpcsweep-node"
            ),
        )
    return text


def find_simulation_profile(experiment: Experiment, experiment_file: Path) -> Path:
    """Return the profile of the simulated engine: of the experiment, or the default one. Raises SpecError."""
    name = experiment.simulated.profile if experiment.simulated else DEFAULT_PROFILE
    folders = [experiment_file.resolve().parent, shipped_dir(), shipped_dir() / "simulated"]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    shipped = sorted(path.name for path in (shipped_dir() / "simulated").glob("*.yaml"))
    raise SpecError(
        f"simulated.profile not found: {name!r}", code="simulation_profile_not_found", hint=nearest(name, shipped)
    )


def find_engine(
    engine: str,
    cluster: Cluster,
    variables: Mapping[str, str] = os.environ,
    container: Container | None = None,
) -> str | None:
    """Return the engine's executable on this machine: profile, $HPCSWEEP_<ENGINE>, PATH. None: not installed.

    `container`: of the experiment. For an engine in a container it is the command of the container's runtime.
    """
    resolved = resolve_container(cluster.container_of(engine), container)
    if resolved is not None:
        return shutil.which(get_runtime(str(resolved.runtime)).executable)
    named = cluster.executables.get(engine) or variables.get(f"HPCSWEEP_{engine.upper()}")
    if named:
        return shutil.which(named)
    return shutil.which(get_engine(engine).executable)

"""Finding and reading what the user names: experiments, cluster profiles, simulation profiles, data files."""

import importlib.resources
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from hpcsweep.adopt.script import read_script
from hpcsweep.adopt.servers import replacement, server_starts
from hpcsweep.engines.registry import get_engine
from hpcsweep.errors import DatasetError, SpecError
from hpcsweep.foreign_files import read_regular
from hpcsweep.load.datasets.registry import facts_of, read_options
from hpcsweep.schedulers.registry import with_scheduler_options
from hpcsweep.schedulers.user_script import starts_agent
from hpcsweep.spec.base import nearest
from hpcsweep.spec.cluster import Cluster, ConfigFile, Ssh
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
    """The folder of the experiments that ship with hpcsweep."""
    return Path(str(importlib.resources.files("hpcsweep.experiments")))


def shipped_experiments() -> list[str]:
    """Names of the experiments that ship with hpcsweep."""
    return sorted(path.stem for path in shipped_dir().glob("*.yaml"))


def find_experiment(name: str) -> Path:
    """The file of an experiment: a path, then ./experiments/NAME.yaml, then a shipped one. Raises SpecError."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        if path.is_file():
            return path
        raise SpecError(f"experiment file {name} is not there", hint=nearest(path.stem, known_experiments()))
    for candidate in (path, Path("experiments") / f"{name}.yaml", shipped_dir() / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    raise SpecError(f"unknown experiment {name!r}", hint=nearest(name, known_experiments()))


def known_experiments() -> list[str]:
    """Names that `find_experiment` knows without a path."""
    own = {path.stem for path in Path("experiments").glob("*.yaml")}
    return sorted(own | set(shipped_experiments()))


def read_experiment(path: Path) -> Experiment:
    """The experiment in a file, with `$NAME` in `model.path` taken from the environment. Raises SpecError.

    A variable that is not set stays as it is: the node then names it as the path that it cannot read.
    """
    experiment = parse_experiment(read_text(path), str(path), path.stem)
    model = experiment.model
    if model.path is None:
        return experiment
    return experiment.model_copy(update={"model": model.model_copy(update={"path": os.path.expandvars(model.path)})})


def read_cluster(name: str | None) -> tuple[str, Cluster]:
    """The cluster profile of this name (None: the default one), and its name. Raises SpecError.

    A profile that connects over SSH must be the user's own: see `own_settings`.
    """
    name, cluster = choose_cluster(name, read_settings())
    require_own_connection(name, cluster)
    return name, with_scheduler_options(cluster, f"cluster profile {name!r}")


def read_settings() -> list[tuple[str, ConfigFile]]:
    """(file, its settings) of every configuration file that is there, the one that wins first."""
    return [(str(path), _settings(path)) for path in config_files() if path.exists()]


def own_settings() -> list[tuple[str, ConfigFile]]:
    """As `read_settings`, without the file of a project folder that the user has not trusted.

    Only these say where a connection goes, with which key, and whose host key is believed.
    """
    files = config_files()
    if not os.environ.get(CONFIG_VARIABLE) and not is_trusted(look_at(Path(), CONFIG_FILE)):
        files = files[1:]
    return [(str(path), _settings(path)) for path in files if path.exists()]


def require_own_connection(name: str, cluster: Cluster) -> None:
    """Raise SpecError unless the profile's SSH connection, if it has one, is of the user's own configuration."""
    if cluster.ssh is None:
        return
    own = [found.clusters[name].ssh for _, found in own_settings() if name in found.clusters]
    if cluster.ssh not in own:
        raise SpecError(
            f"./{CONFIG_FILE} has the cluster profile {name}, which connects to {_shown(cluster.ssh)}: "
            "a folder does not say to whom hpcsweep connects until you trust it",
            hint=f"`hpcsweep trust` shows and accepts it; or put the profile into {config_dir() / CONFIG_FILE}",
        )


def own_connection(name: str, ssh: Ssh, sweep: str) -> Ssh:
    """How to reach the cluster `name` of a sweep, by the user's own configuration, never by the sweep's folder.

    `ssh`: what the sweep's folder says. Raises SpecError: no profile of that name, or one that leads elsewhere.
    """
    for _, found in own_settings():
        if name not in found.clusters:
            continue
        own = found.clusters[name].ssh
        if own is not None and (own.host, own.home) == (ssh.host, ssh.home):
            return own
        leads = f"{own.host}:{own.home}" if own is not None else "this machine"
        raise SpecError(
            f"{sweep} says that it was submitted to {ssh.host}:{ssh.home}; your profile {name} leads to {leads}",
            hint="nothing was asked or fetched over SSH; is the folder yours, or was the profile changed since?",
        )
    raise SpecError(
        f"{sweep} says that it was submitted to {_shown(ssh)}, by a profile {name} that is not in your configuration",
        hint=f"nothing was asked or fetched over SSH; if the sweep is yours, put {name} into "
        f"{config_dir() / CONFIG_FILE}, or trust ./{CONFIG_FILE} by `hpcsweep trust`",
    )


def configured_templates() -> list[Path]:
    """Folders of templates that the user's own configuration names. Raises SpecError."""
    found = []
    for path, settings in own_settings():
        if settings.templates is not None:
            folder = Path(path).absolute().parent / Path(settings.templates).expanduser()
            if not folder.is_dir():
                raise SpecError(f"{path}: templates: there is no folder {folder}")
            found.append(folder)
    return found


def config_files() -> list[Path]:
    """Where profiles are looked for: $HPCSWEEP_CONFIG alone, or ./hpcsweep.yaml and the user's config folder."""
    given = os.environ.get(CONFIG_VARIABLE)
    if given:
        path = Path(given)
        if not path.is_file():
            raise SpecError(f"{CONFIG_VARIABLE}={given}: there is no such file")
        return [path]
    return [Path(CONFIG_FILE), config_dir() / CONFIG_FILE]


def _settings(path: Path) -> ConfigFile:
    return parse_model(ConfigFile, read_text(path), str(path))


def _shown(ssh: Ssh) -> str:
    return f"{f'{ssh.user}@' if ssh.user else ''}{ssh.host}{f':{ssh.port}' if ssh.port else ''}"


def read_facts(experiment: Experiment, experiment_file: Path) -> dict[str, DatasetFacts]:
    """Workload name -> what is known of its dataset. Files are looked for beside the experiment, then shipped ones.

    Raises DatasetError: a file that is missing or damaged; SpecError: an unknown kind or option.
    """
    found: dict[str, DatasetFacts] = {}
    for workload in experiment.workloads:
        try:
            found[workload.name] = _facts(workload, experiment_file.resolve().parent)
        except (DatasetError, SpecError) as exc:
            place = f"{experiment_file}: workload {workload.name}"
            raise type(exc)(f"{place}: {exc.message}", hint=exc.hint, detail=exc.detail) from exc
    return found


def _facts(workload: Workload, folder: Path) -> DatasetFacts:
    dataset, options = read_options(workload.dataset)
    count = None if workload.num_requests is None else workload.num_requests + workload.warmup
    try:
        return facts_of(dataset, options, folder, workload.max_tokens, count)
    except DatasetError:
        try:
            return facts_of(dataset, options, shipped_dir(), workload.max_tokens, count)
        except DatasetError:
            pass  # the user's own folder is what the error must name
        raise


def read_own_script(path: Path, pack: int) -> str:
    """The text of a user's own batch script. Raises SpecError when it cannot do the job."""
    text = read_text(path)
    if pack != 1:
        raise SpecError(f"--script {path} is submitted once per run, so --runs-per-job {pack} cannot hold")
    if not text.startswith("#!"):
        raise SpecError(f"--script {path}: no batch script: its first line is no #!")
    if not starts_agent(text):
        starts = server_starts(text) or [start for start in [read_script(text).start] if start is not None]
        raise SpecError(
            f"--script {path} never starts hpcsweep-node: nothing would be measured",
            hint=(
                f"{replacement(starts, text)}; `hpcsweep adopt {path}` makes an experiment of the script"
                if starts
                else "end the script with the line: exec hpcsweep-node"
            ),
        )
    return text


def find_simulation_profile(experiment: Experiment, experiment_file: Path) -> Path:
    """The profile that the simulated engine plays; the default one when the experiment names none. Raises SpecError."""
    name = experiment.simulated.profile if experiment.simulated else DEFAULT_PROFILE
    folders = [experiment_file.resolve().parent, shipped_dir(), shipped_dir() / "simulated"]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    shipped = sorted(path.name for path in (shipped_dir() / "simulated").glob("*.yaml"))
    raise SpecError(f"simulated.profile {name!r} is not there", hint=nearest(name, shipped))


def find_engine(engine: str, cluster: Cluster, variables: Mapping[str, str] = os.environ) -> str | None:
    """The engine's executable on this machine: profile, $HPCSWEEP_<ENGINE>, PATH. None: not installed."""
    named = cluster.engines.get(engine) or variables.get(f"HPCSWEEP_{engine.upper()}")
    if named:
        return shutil.which(named)
    return shutil.which(get_engine(engine).executable)

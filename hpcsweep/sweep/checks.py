"""Check variants on the login side, before submission."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hpcsweep.containers.registry import get_runtime
from hpcsweep.engines.access import ALLOW_HINT, exposed
from hpcsweep.engines.registry import get_engine
from hpcsweep.engines.simulated import SimulatedEngine
from hpcsweep.errors import SpecError
from hpcsweep.foreign_files import DOCUMENT_LIMIT_BYTES, parse_json, read_regular
from hpcsweep.plan.feasibility import check, nodes_spanned, refusals
from hpcsweep.plan.known_models import known_model
from hpcsweep.plan.model_size import ModelFacts, read_facts
from hpcsweep.plan.preparations import key_warnings, unneeded
from hpcsweep.plan.runs import PlannedRun
from hpcsweep.schedulers.registry import get_scheduler
from hpcsweep.simulator.profile import read_profile
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.container import Container, read_bind, resolve_container
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.job import Resources
from hpcsweep.spec.server import ServerConfig
from hpcsweep.units import counted


def login_checks(server: ServerConfig, resources: Resources) -> tuple[list[str], list[str]]:
    """Return (reasons why the variant cannot be served with these resources, warnings).

    Raises EngineError, SpecError.
    """
    problems = check(server, resources, get_engine(server.engine), model_facts(server))
    warnings = [problem.text for problem in problems if problem.severity == "warning"]
    return refusals(problems), warnings


def exposure_errors(server: ServerConfig, resources: Resources, cluster: Cluster) -> list[str]:
    """Return why the server must not run where other users of the node could use it; empty: it may run."""
    engine = get_engine(server.engine)
    exposure = exposed(engine, server, nodes=nodes_spanned(engine.settings(server).gpus, resources))
    if exposure is None or cluster.unprotected_server_allowed:
        return []
    return [f"{exposure} ({ALLOW_HINT})"]


def container_of(server: ServerConfig, cluster: Cluster, experiment: Experiment) -> Container | None:
    """Return the container of a variant; None: it runs without one."""
    return resolve_container(cluster.container_of(server.engine), experiment.container, server.image)


def check_container(server: ServerConfig, cluster: Cluster, experiment: Experiment, *, simulated: bool) -> None:
    """Raise SpecError or ContainerError when the container of a variant is not complete or cannot be used."""
    container = container_of(server, cluster, experiment)
    if container is None:
        if server.image is not None and not simulated:
            raise SpecError(
                f"image {server.image}: {server.engine} does not run in a container",
                code="image_without_container",
                hint="set container: {runtime: apptainer} in the cluster profile or in the experiment",
            )
        return
    if container.image is None:
        raise SpecError(
            f"container of {server.engine}: {container.runtime} without an image",
            code="container_without_image",
            hint="set `image` in `container:` of the cluster profile or the experiment, or the axis `image`; without a "
            f"container: `container: {{runtime: none}}` of {server.engine} under `engines` of the profile",
        )
    runtime = get_runtime(str(container.runtime))
    if runtime.schedulers is not None and cluster.scheduler not in runtime.schedulers:
        raise SpecError(
            f"container runtime {runtime.name} works only under {', '.join(sorted(runtime.schedulers))}; this profile "
            f"is for {cluster.scheduler}",
            code="container_runtime_of_other_scheduler",
        )
    problems = runtime.problems(container.image, [read_bind(bind) for bind in container.binds], container.options)
    if problems:
        raise SpecError(f"container of {server.engine}: {'; '.join(problems)}", code="container_invalid")


def network_errors(server: ServerConfig, resources: Resources, cluster: Cluster) -> list[str]:
    """Return why the nodes of a server could not reach each other; empty: they can, as far as is known."""
    ranks = get_engine(server.engine).settings(server).gpus
    if not cluster.private_network or nodes_spanned(ranks, resources) == 1:
        return []
    return ["a server on several nodes cannot run in a private network (remove `private_network` from the profile)"]


def mpi_errors(server: ServerConfig, resources: Resources, cluster: Cluster, experiment: Experiment) -> list[str]:
    """Return why a server whose parts on several nodes are one MPI job cannot be started; empty: it can, or is none."""
    engine = get_engine(server.engine)
    if not engine.one_mpi_job or nodes_spanned(engine.settings(server).gpus, resources) == 1:
        return []
    if container_of(server, cluster, experiment) is None:
        return []
    return [
        f"{engine.title or engine.name} on several nodes is one MPI job, whose ranks are not started in a container "
        f"(install it on the nodes, and set `engines: {{{engine.name}: {{container: {{runtime: none}}}}}}`)"
    ]


def cpu_warnings(resources: Resources, cluster: Cluster) -> list[str]:
    """Return a warning for a job that requests GPUs from a scheduler without requesting CPUs."""
    if cluster.scheduler == "local" or not resources.gpus or resources.cpus is not None or cluster.exclusive:
        return []
    return [
        f"the job requests {counted(resources.gpus, 'GPU')} without `cpus`: by default it gets one CPU, with which "
        "engines are slow (set cpus: 8 per GPU, in the profile or in resources)"
    ]


def check_simulation(profile: Path, runs: Iterable[PlannedRun]) -> None:
    """Raise SpecError when a simulation profile is invalid, or has a rule on an axis that no run has."""
    behaviour = read_profile(profile)
    for run in runs:
        engine = SimulatedEngine(get_engine(run.server.engine), str(profile), 1.0, run.axes, run.repeat)
        behaviour.resolve(engine.variant(run.server), run.repeat)


def model_facts(server: ServerConfig) -> ModelFacts | None:
    """Return size and shape of the model, from its folder or from its name. None: not known."""
    folder = Path(server.model)
    if not (folder / "config.json").is_file():
        return known_model(server.model) or known_model(server.served_name)
    index = folder / "model.safetensors.index.json"
    return read_facts(server.model, _read(folder / "config.json"), _read(index) if index.is_file() else None)


def _read(path: Path) -> Any:
    try:
        return parse_json(read_regular(path, DOCUMENT_LIMIT_BYTES, follow=True))
    except (OSError, ValueError) as exc:
        raise SpecError(
            f"{path} cannot be read: {exc}",
            code="model_file_unreadable",
            hint="check that the download of the model is complete",
        ) from exc


def check_preparations(
    experiment: Experiment, runs: Sequence[PlannedRun], cluster: Cluster, *, running: bool
) -> list[str]:
    """Return warnings about `prepare:`. Raises SpecError for a scheduler without dependencies between jobs.

    `running`: the job runs already, so that nothing can be prepared for it.
    """
    if running:
        return ["`prepare` of the experiment is not executed for a job that you submit yourself"]
    warnings: list[str] = []
    if cluster.scheduler != "local":
        scheduler = get_scheduler(cluster.scheduler)
        if not scheduler.has_dependencies:
            raise SpecError(
                f"{scheduler.name}: jobs that start after another job are not supported",
                code="dependencies_unsupported",
                hint="remove `prepare` from the experiment, and run its commands before you submit",
            )
        warnings += key_warnings(experiment, scheduler.name, scheduler.queue_key)
    names = unneeded(experiment, runs)
    return [*warnings, *(f"preparation {name}: no run of this sweep needs it; it is not submitted" for name in names)]

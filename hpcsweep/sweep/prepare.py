"""Prepare a sweep in memory: read, expand, check, pack, render. Nothing is written."""

import contextlib
import importlib.metadata
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hpcsweep
from hpcsweep.adopt.servers import server_starts
from hpcsweep.errors import SpecError
from hpcsweep.plan.bound.deploy import bound_model
from hpcsweep.plan.grid import Grid, Selection, expand
from hpcsweep.plan.jobs import Packing, gpu_hours, pack_jobs, parallel_shares, shape
from hpcsweep.plan.preparations import needed, plan_preparations, profile_of
from hpcsweep.plan.request_check import check_request
from hpcsweep.plan.runs import PlannedRun, plan_runs
from hpcsweep.render.environment import TemplateEnvironment, make_environment
from hpcsweep.render.job import RenderedJob, job_files, render_job
from hpcsweep.render.own_script import own_environment, with_values
from hpcsweep.schedulers.registry import get_scheduler, scheduler_templates
from hpcsweep.schedulers.user_script import ScriptRequest, check_agents
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.job import JobSpec, Simulation
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.spec.server import ServerConfig
from hpcsweep.spec.sweep import NotRunEntry, SweepFile, SweepRunEntry
from hpcsweep.spec.unfilled import unfilled_keys
from hpcsweep.spec.workload import DatasetFacts
from hpcsweep.sweep.checks import (
    check_container,
    check_preparations,
    check_simulation,
    cpu_warnings,
    exposure_errors,
    login_checks,
    model_facts,
    mpi_errors,
    network_errors,
)
from hpcsweep.sweep.inputs import (
    CONFIG_FILE,
    configured_templates,
    find_engine,
    find_experiment,
    find_simulation_profile,
    read_cluster,
    read_experiment,
    read_facts,
    read_own_script,
    read_settings,
)
from hpcsweep.sweep.trust import template_folders


@dataclass(frozen=True)
class Request:
    """The options of `submit`."""

    experiment: str
    cluster: str | None = None
    selection: Selection = field(default_factory=Selection)
    pack: int = 1
    parallel: int | None = None
    template_dir: Path | None = None
    script: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """A sweep that is planned and checked, without a name and a folder."""

    experiment_file: Path
    experiment: Experiment
    cluster_name: str
    cluster: Cluster
    grid: Grid
    runs: tuple[PlannedRun, ...]
    facts: Mapping[str, DatasetFacts]
    simulated: Mapping[str, Path]  # engine -> profile of the simulated engine that replaces it
    pack: int
    parallel: int | None
    environment: TemplateEnvironment
    warnings: tuple[str, ...] = ()
    script: str | None = None  # text of the user's own script, which is submitted once per run
    script_request: ScriptRequest | None = None  # its directives; None: no script, or no scheduler
    group: str | None = None  # Unix group that shares the home folder

    @property
    def data_files(self) -> list[tuple[Path, str]]:
        """(file on this machine, its name in the sweep's data folder) of all datasets and simulation profiles."""
        named: dict[Path, str] = {}
        for facts in self.facts.values():
            for path, sha in facts.files.items():
                named[Path(path)] = f"{sha[:12]}-{Path(path).name}"
        for profile in self.simulated.values():
            named[profile] = f"simulated-{profile.name}"
        return list(named.items())


@dataclass(frozen=True)
class Rendered:
    """All files of a sweep, ready to be written. `sweep_dir`: the path on the nodes."""

    name: str
    sweep_dir: str
    jobs: tuple[JobSpec, ...]
    files: tuple[RenderedJob, ...]
    document: SweepFile

    @property
    def gpu_hours(self) -> float:
        """Upper bound of the GPU-hours."""
        return gpu_hours(self.jobs)


def prepare(request: Request) -> Prepared:
    """Read and check all inputs. Raises HpcsweepError before anything is written."""
    script = read_own_script(request.script, request.pack) if request.script is not None else None
    return prepare_on(request, read_cluster(request.cluster), script)


def prepare_on(request: Request, target: tuple[str, Cluster], script: str | None, *, running: bool = False) -> Prepared:
    """Prepare a sweep on the given cluster profile. `script`: the text of a user's own script.

    `running`: it is the script of the current job, so it may be an array, and nothing is submitted.
    """
    cluster_name, cluster = target
    path = find_experiment(request.experiment)
    experiment = read_experiment(path)
    grid = expand(experiment, request.selection)
    facts = read_facts(experiment, path)
    engines = {experiment.engine.name} | {
        level.engine for point in grid.points for level in point.values() if level.engine
    }
    simulated = _simulated(experiment, path, cluster_name, cluster, sorted(engines))
    request_of_script = None if script is None else user_request(cluster, script, running)
    notes = dict.fromkeys((*experiment.deprecation_notes, *request.selection.deprecation_notes))
    warnings = [str(note) for note in notes]
    warnings += [f"cluster profile {cluster_name}: {key} is not filled in" for key in unfilled_keys(cluster)]
    warnings += [] if request_of_script is None else request_of_script.warnings
    if script is not None:
        warnings += [
            f"line {start.line.first} of the script starts a server; hpcsweep-node starts its own on the same GPUs"
            for start in server_starts(script)
        ]

    environment = make_environment(own_templates(request.template_dir), scheduler_templates(cluster.scheduler))
    own_template = cluster.scheduler != "local" and environment.is_own(get_scheduler(cluster.scheduler).template)

    def check(server: ServerConfig) -> Sequence[str]:
        resources = shape(server, experiment.resources, cluster, request.pack)
        check_container(server, cluster, experiment, simulated=server.engine in simulated)
        errors, more = login_checks(server, resources)
        if script is None and not running:  # otherwise the directives of the user's own script are the request
            more += check_request(resources, cluster, own_template=own_template)
        errors += network_errors(server, resources, cluster)
        if server.engine not in simulated:
            errors += exposure_errors(server, resources, cluster)
            errors += mpi_errors(server, resources, cluster, experiment)
        if script is None:
            more += cpu_warnings(resources, cluster)
        elif request_of_script is not None:
            more += request_of_script.differences(resources)
        warnings.extend(w for w in more if w not in warnings)
        return errors

    runs = plan_runs(experiment, grid, facts, check, request.selection.repeats)
    if experiment.prepare:
        warnings += check_preparations(experiment, runs, cluster, running=running)
    for engine, profile in simulated.items():
        check_simulation(profile, [run for run in runs if run.server.engine == engine])
    return Prepared(
        path,
        experiment,
        cluster_name,
        cluster,
        grid,
        tuple(runs),
        facts,
        simulated,
        request.pack,
        request.parallel or cluster.parallel,
        environment,
        tuple(warnings),
        script,
        request_of_script,
        next((config.group for _, config in read_settings() if config.group), None),
    )


def render_sweep(
    prepared: Prepared,
    name: str,
    sweep_dir: str,
    cache_dir: str,
    template: str,
    *,
    max_array_size: int | None = None,
    provenance: Mapping[str, str] | None = None,
) -> Rendered:
    """Return the files of a sweep with this name and folder. `provenance`: git revision and command line."""
    jobs = plan_jobs(prepared, name, sweep_dir, cache_dir, max_array_size)
    files = render_jobs(prepared.environment, template, jobs, prepared.cluster, prepared.parallel, prepared.script)
    return Rendered(name, sweep_dir, tuple(jobs), tuple(files), sweep_document(prepared, name, jobs, provenance or {}))


def plan_jobs(
    prepared: Prepared,
    name: str,
    sweep_dir: str,
    cache_dir: str,
    max_array_size: int | None = None,
    *,
    preparations: bool = True,
) -> list[JobSpec]:
    """Return the jobs of a sweep with this name and folder, its preparations first.

    `preparations` False: for a job that is already running, so that nothing can be prepared for it.
    """
    data = {str(path): f"{sweep_dir}/data/{target}" for path, target in prepared.data_files}
    scale = prepared.experiment.simulated.time_scale if prepared.experiment.simulated else 1.0
    packing = Packing(
        sweep=name,
        sweep_dir=sweep_dir,
        cache_dir=cache_dir,
        pack=prepared.pack,
        max_array_size=1 if prepared.script is not None else max_array_size or prepared.cluster.max_array_size,
        own_script=prepared.script is not None,
        simulations={
            engine: Simulation(profile=data[str(profile)], time_scale=scale)
            for engine, profile in prepared.simulated.items()
        },
        data_files=data,
    )
    experiment, runs, cluster = prepared.experiment, prepared.runs, prepared.cluster
    steps = plan_preparations(experiment, runs, cluster, packing) if preparations else []
    numbers = {step.preparation.name: step.job for step in steps if step.preparation is not None}

    def needs_of(run: PlannedRun) -> dict[str, int]:
        return {name: numbers[name] for name in needed(experiment, run) if name in numbers}

    jobs = pack_jobs(experiment, runs, cluster, packing, needs_of, len(steps))
    if prepared.script_request is not None:  # the directives of the script determine the resources
        request = prepared.script_request
        jobs = [job.model_copy(update={"resources": request.resources(job.resources)}) for job in jobs]
    return [*steps, *jobs]


def render_jobs(
    environment: TemplateEnvironment,
    template: str,
    jobs: Sequence[JobSpec],
    cluster: Cluster,
    parallel: int | None,
    script: str | None = None,
) -> list[RenderedJob]:
    """Return the files of each job. `script`: a user's own, in place of the template."""
    python = cluster.python or sys.executable
    arrays = [job for job in jobs if job.preparation is None]
    limits = parallel_shares([len(job.array_tasks) for job in arrays], parallel)
    shares = {job.job: limit for job, limit in zip(arrays, limits, strict=True)}
    return [
        job_files(job, with_values(script), own_environment(python))
        if script is not None and job.preparation is None
        else render_job(
            environment, template, job, profile_of(cluster, job), python=python, parallel=shares.get(job.job)
        )
        for job in jobs
    ]


def sweep_document(prepared: Prepared, name: str, jobs: Sequence[JobSpec], provenance: Mapping[str, str]) -> SweepFile:
    """Return the content of sweep.json: what was planned, and why something is not run."""
    tasks = {run.label: (job.job, task.index) for job in jobs for task in job.array_tasks for run in task.runs}
    experiment = prepared.experiment
    return SweepFile(
        sweep=name,
        experiment=experiment.model_dump(mode="json"),
        experiment_file=str(prepared.experiment_file),
        title=experiment.title or experiment.name,
        cluster=prepared.cluster_name,
        profile=prepared.cluster.model_dump(mode="json"),
        submitted_at=time.time(),
        axes={axis: [level.label for level in levels] for axis, levels in prepared.grid.axes.items()},
        baseline={axis: level.label for axis, level in prepared.grid.baseline.items()},
        versions=versions(),
        provenance=dict(provenance),
        simulated=bool(prepared.simulated),
        pack=prepared.pack,
        parallel=prepared.parallel,
        own_script=prepared.script is not None,
        facts=dict(prepared.facts),
        models=_models(prepared.runs),
        runs=[_run_entry(prepared, run, tasks.get(run.label)) for run in prepared.runs],
        not_run=[
            NotRunEntry(
                title=entry.title, axes={axis: str(value) for axis, value in entry.levels.items()}, reason=entry.reason
            )
            for entry in experiment.not_run
        ]
        + [
            NotRunEntry(
                title=", ".join(f"{axis}={level.label}" for axis, level in point.items()),
                axes={axis: level.label for axis, level in point.items()},
                reason=reason,
            )
            for point, reason in prepared.grid.excluded
        ],
    )


def _models(runs: Sequence[PlannedRun]) -> dict[str, Any]:
    """Return what the bound of the speed needs of each model whose architecture is known."""
    models = {}
    for server in {run.server.model: run.server for run in runs}.values():
        facts = model_facts(server)
        if facts is not None and (model := bound_model(facts)) is not None:
            models[server.model] = model.as_json()
    return models


def _run_entry(prepared: Prepared, run: PlannedRun, task: tuple[int, int] | None) -> SweepRunEntry:
    """Return the entry of a run in sweep.json. `task`: (job number, index of the array task)."""
    job, index = task or (None, None)
    refused = run.refused is not None
    return SweepRunEntry(
        label=run.label,
        variant_id=run.variant_id,
        repeat=run.repeat,
        axes=dict(run.axes),
        engine=run.server.engine,
        model=run.server.served_name,
        gpus=run.gpus,
        job=job,
        index=index,
        not_submitted=refused,
        outcome=OutcomeKind.UNSUPPORTED if refused else None,
        state_reason=run.refused or "",
        simulated=run.server.engine in prepared.simulated,
        workloads={planned.workload.name: planned.left_out and str(planned.left_out) for planned in run.workloads},
        server=run.server.model_dump(mode="json"),
    )


def versions() -> dict[str, str]:
    """Return the versions of hpcsweep, Python and installed packages that planned and rendered the sweep."""
    installed = {"hpcsweep": hpcsweep.__version__, "python": platform.python_version()}
    for package in ("jinja2", "pydantic", "submitit"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[package] = importlib.metadata.version(package)
    return installed


def user_request(cluster: Cluster, script: str, running: bool = False) -> ScriptRequest | None:
    """Return what a user's own script requests; None: `local` has no directives.

    Raises SpecError when the script cannot be submitted once per run; not of one that is `running`.
    """
    request = None
    if cluster.scheduler != "local":
        try:
            request = get_scheduler(cluster.scheduler).read_user_script(script, array_allowed=running)
        except SpecError:
            if not running:  # the scheduler has accepted the script of a running job
                raise
    if not running:
        check_agents(script, request.tasks if request is not None else None)
    return request


def _simulated(
    experiment: Experiment, path: Path, cluster_name: str, cluster: Cluster, engines: Sequence[str]
) -> dict[str, Path]:
    if cluster.simulate == "never":
        return {}
    profiles: dict[str, Path] = {}
    for engine in engines:
        if cluster.simulate == "always" or find_engine(engine, cluster, container=experiment.container) is None:
            profiles[engine] = find_simulation_profile(experiment, path)
    return profiles


def own_templates(given: Path | None) -> list[Path]:
    """Return the folders whose templates precede the shipped ones; see `trust.template_folders`. Raises SpecError."""
    return template_folders(given, [] if given is not None else configured_templates(), CONFIG_FILE)

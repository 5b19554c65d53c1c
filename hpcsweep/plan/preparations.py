"""Plan the jobs that prepare a sweep: which are needed, by which runs, with which resources. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from hpcsweep.errors import PlanError
from hpcsweep.plan.grid import read_rule
from hpcsweep.plan.jobs import Packing, check_walltime, of_profile, run_spec, shape
from hpcsweep.plan.runs import PlannedRun
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.job import ArrayTask, JobSpec, PreparationJob, Resources
from hpcsweep.spec.preparation import Preparation

_WALLTIME_S = 3600.0


def needed(experiment: Experiment, run: PlannedRun) -> tuple[str, ...]:
    """Return the names of the preparations that a run needs, and those before them, in the order of the file."""
    names = {step.name for step in experiment.prepare if _needs(experiment, step, run)}
    for step in reversed(experiment.prepare):
        if step.name in names:
            names |= set(step.after or ())
    return tuple(step.name for step in experiment.prepare if step.name in names)


def _needs(experiment: Experiment, step: Preparation, run: PlannedRun) -> bool:
    rule = read_rule(experiment, step.needed_by)
    return all(run.axes.get(axis) in labels for axis, labels in rule.items())


def unneeded(experiment: Experiment, runs: Sequence[PlannedRun]) -> list[str]:
    """Return the names of the preparations that no run of the sweep needs; they are not submitted."""
    wanted = {name for run in runs if run.refused is None for name in needed(experiment, run)}
    return [step.name for step in experiment.prepare if step.name not in wanted]


def plan_preparations(
    experiment: Experiment, runs: Sequence[PlannedRun], cluster: Cluster, packing: Packing
) -> list[JobSpec]:
    """Return a job for each preparation that a run needs, numbered from 0. Raises PlanError as `shape`."""
    jobs: list[JobSpec] = []
    numbers: dict[str, int] = {}
    for step in experiment.prepare:
        users = [run for run in runs if run.refused is None and step.name in needed(experiment, run)]
        if not users:
            continue
        first_of_variant = {run.variant_id: run for run in reversed(users)}
        variants = [run for run in users if first_of_variant[run.variant_id] is run]
        warm = variants if step.warm_compile_cache else []
        number = numbers[step.name] = len(jobs)
        before = step.after
        if before is None:
            before = [name for run in warm for name in needed(experiment, run)]
        resources = _resources(experiment, step, warm, cluster)
        jobs.append(
            JobSpec(
                sweep=packing.sweep,
                job=number,
                sweep_dir=packing.sweep_dir,
                name=f"{packing.sweep}-{number}",
                scheduler=cluster.scheduler,
                resources=resources,
                preparation=PreparationJob(
                    name=step.name,
                    commands=step.commands,
                    variables=_variables(experiment, step, packing) if step.commands else {},
                    creates=step.creates,
                    warm_runs=[
                        run_spec(experiment, run, packing, resources).model_copy(update={"workloads": []})
                        for run in warm
                    ],
                    partition=step.partition,
                    queue=step.queue,
                ),
                needs={name: numbers[name] for name in numbers if name in before and name != step.name},
                array_tasks=[ArrayTask(index=0, runs=[])],
                cache_dir=packing.cache_dir,
                compile_cache=experiment.compile_cache,
                env_from=experiment.env_from,
                secrets_file=experiment.secrets_file or cluster.secrets_file,
                **of_profile(cluster),
            )
        )
    return jobs


def profile_of(cluster: Cluster, job: JobSpec) -> Cluster:
    """Return the cluster profile of a job: for a preparation with its own partition or queue, without the rest.

    What selects nodes within the partition of the runs does not apply to another one, and a job without GPUs does not
    need whole nodes.
    """
    step = job.preparation
    if step is None:
        return cluster
    changed: dict[str, object] = {}
    if not job.resources.gpus:
        changed["exclusive"] = False
    if step.partition or step.queue:
        changed |= dict.fromkeys(("constraint", "nodelist", "reservation", "exclude", "place"))
        changed |= {"partition": step.partition or cluster.partition, "queue": step.queue or cluster.queue}
    return cluster.model_copy(update=changed)


def key_warnings(experiment: Experiment, scheduler: str, queue_key: str) -> Iterable[str]:
    """Yield a warning for each preparation whose partition or queue has no effect on this scheduler."""
    for step in experiment.prepare:
        keys: Mapping[str, str | None] = {"partition": step.partition, "queue": step.queue}
        if scheduler != "local" and not keys.get(queue_key) and any(keys.values()):
            key = next(name for name, value in keys.items() if value)
            yield f"preparation {step.name}: `{key}` has no effect on {scheduler}; use `{queue_key}`"


def _resources(experiment: Experiment, step: Preparation, warm: Sequence[PlannedRun], cluster: Cluster) -> Resources:
    asked = step.resources
    shapes = [shape(run.server, experiment.resources, cluster) for run in warm]
    gpus = asked.gpus if asked.gpus is not None else max((each.gpus for each in shapes), default=0)
    walltime_s = asked.walltime or (
        len(warm) * experiment.budgets.startup + experiment.budgets.walltime_margin if warm else _WALLTIME_S
    )
    if not (step.partition or step.queue):  # the maximum of the profile is that of its partition or queue
        check_walltime(cluster, walltime_s, f"preparation {step.name} requests", "lower its resources.walltime")
    if any(each.nodes > 1 for each in shapes):
        raise PlanError(
            f"preparation {step.name}: a warm-up of the compile cache runs on one node, and its runs need several",
            code="warm_up_of_several_nodes",
            hint="remove it: the first run on several nodes fills the cache",
        )
    return Resources(
        gpus=gpus,
        gpu_type=(experiment.resources.gpu_type or cluster.gpu_type) if gpus else None,
        cpus=asked.cpus or max((each.cpus or 0 for each in shapes), default=0) or None,
        memory_bytes=asked.memory or max((each.memory_bytes or 0 for each in shapes), default=0) or None,
        walltime_s=walltime_s,
    )


def _variables(experiment: Experiment, step: Preparation, packing: Packing) -> dict[str, str]:
    model = experiment.model
    ours = {
        "HPCSWEEP_SWEEP": packing.sweep,
        "HPCSWEEP_PREPARATION": step.name,
        "HPCSWEEP_MODEL": model.name,
        "HPCSWEEP_MODEL_REVISION": model.revision or "",
    }
    return {**experiment.env, **step.env, **ours}

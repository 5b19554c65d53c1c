"""The schedulers: built-in ones and those of installed packages."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hpcsweep.errors import SpecError, nearest
from hpcsweep.registry import Registry
from hpcsweep.schedulers.base import Scheduler

if TYPE_CHECKING:  # pydantic is not needed to query a scheduler
    from hpcsweep.spec.cluster import Cluster

SCHEDULERS: Registry[Scheduler] = Registry(
    "hpcsweep.schedulers",
    "scheduler",
    {
        "slurm": "hpcsweep.schedulers.slurm.scheduler:SlurmScheduler",
        "pbs": "hpcsweep.schedulers.pbs.scheduler:PbsScheduler",
    },
    SpecError,
)


def scheduler_names() -> list[str]:
    """Return the names of all schedulers, without importing any plugin."""
    return SCHEDULERS.names()


def get_scheduler(name: str) -> Scheduler:
    """Return the scheduler of this name. Raises SpecError with the known names."""
    try:
        return SCHEDULERS.get(name)
    except SpecError as exc:
        if exc.code != "unknown_scheduler":
            raise
        raise SpecError(exc.message, code=exc.code, hint=nearest(name, ["local", *scheduler_names()])) from None


def scheduler_of(env: Mapping[str, str]) -> Scheduler | None:
    """Return the scheduler whose job this environment belongs to. None: no scheduler started the process."""
    for name in SCHEDULERS.builtin:
        if env.get(SCHEDULERS.get(name).environment.job_id):
            return SCHEDULERS.get(name)
    return next((plugin for plugin in SCHEDULERS.all().values() if env.get(plugin.environment.job_id)), None)


def scheduler_templates(name: str) -> dict[str, str]:
    """Return name -> text of the templates that the scheduler itself brings; none for `local` and built-in ones."""
    if name == "local":
        return {}
    scheduler = get_scheduler(name)
    return {scheduler.template: scheduler.template_text} if scheduler.template_text else {}


def with_scheduler_options(cluster: "Cluster", where: str) -> "Cluster":
    """Return the profile with `scheduler_options` checked, and completed, by the scheduler's model.

    `where`: the profile, for messages. Raises SpecError.
    """
    if not cluster.scheduler_options and cluster.scheduler in ("local", *SCHEDULERS.builtin):
        return cluster
    model = None if cluster.scheduler == "local" else get_scheduler(cluster.scheduler).options_model
    if model is None:
        if cluster.scheduler_options:
            raise SpecError(
                f"{where}: scheduler_options: {cluster.scheduler} has none",
                code="scheduler_options_unsupported",
                hint="remove scheduler_options, or set `scheduler`",
            )
        return cluster
    from pydantic import ValidationError

    from hpcsweep.spec.base import spec_error

    try:
        options = model.model_validate(cluster.scheduler_options)
    except ValidationError as exc:
        raise spec_error(exc, model, f"{where}: scheduler_options", {}) from exc
    return cluster.model_copy(update={"scheduler_options": options.model_dump()})


def array_task_id(scheduler: str, job_id: str, index: int) -> str:
    """Return the id of an array task as the scheduler prints it; `12[3]` if it is local, or not installed."""
    try:
        return get_scheduler(scheduler).array_task_id(job_id, index)
    except SpecError:
        return f"{job_id}[{index}]"


def log_index(file_name: str) -> int | None:
    """Return the array index in the name of a job's output file, in the form of any scheduler. None: none."""
    indexes = (scheduler.log_index(file_name) for scheduler in SCHEDULERS.all().values())
    return next((index for index in indexes if index is not None), None)

"""job.json: written on the login node, read by the node agent."""

from pydantic import AliasChoices, Field

from hpcsweep.spec.base import EnvironmentName, Model, Record, Seconds
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.container import Container
from hpcsweep.spec.left_out import LeftOut
from hpcsweep.spec.preflight import Preflight
from hpcsweep.spec.server import ServerConfig
from hpcsweep.spec.workload import DatasetFacts, Workload

JOB_SCHEMA = 1


class Resources(Model):
    """Resources that one job requests from the scheduler."""

    nodes: int = Field(1, ge=1)
    gpus: int = Field(0, ge=0, description="per node")
    gpu_type: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="h200, h100, a100 ...")
    gpu_memory_bytes: int | None = Field(None, description="of one GPU; None: not known")
    cpus: int | None = Field(None, ge=1, description="per node; None: the cluster's default")
    memory_bytes: int | None = Field(None, ge=1, description="per node; None: the cluster's default")
    walltime_s: Seconds = Field(3600, gt=0)


class Simulation(Model):
    """Settings of the simulated engine, which the node starts in place of the real one."""

    profile: str = Field(description="path of the profile on the node")
    time_scale: float = Field(1.0, gt=0, description="simulated seconds per real second")


class PlannedWorkload(Record):
    """A workload of one run, with facts of its dataset, or the reason why it is not sent."""

    workload: Workload
    facts: DatasetFacts
    left_out: LeftOut | None = Field(None, description="why it is not sent; None: it is sent")


class RunSpec(Record):
    """One run: a variant that is measured once."""

    run_id: str = Field(description="SWEEP/LABEL, unique in a store")
    label: str = Field(description="name of the run's folder, such as ep-on_eager-yes_len-32k")
    variant_id: str
    repeat: int = Field(1, ge=1)
    axes: dict[str, str] = Field(description="axis -> label of its level, for every axis of the experiment")
    server: ServerConfig
    workloads: list[PlannedWorkload]
    budgets: Budgets
    run_dir: str = Field(description="absolute path of runs/LABEL on the node")
    exports: dict[EnvironmentName, str] = Field(
        {}, description="HPCSWEEP_AXIS_EP=on ... and EXP_NAME, ENFORCE_EAGER ..."
    )
    simulation: Simulation | None = Field(None, description="None: the real engine")
    gpus: int = Field(0, ge=0, description="GPUs of this server on one node")
    nodes: int = Field(1, ge=1, description="nodes that this server spans")
    attempt_offset: int = Field(
        0, ge=0, description="attempts known at submission; the next attempt has a higher number"
    )


class ArrayTask(Record):
    """One allocation: a task of a job array, or a single job."""

    index: int = Field(ge=0)
    runs: list[RunSpec]


class PreparationJob(Record):
    """What makes a job a preparation: it executes commands, or starts servers once, in place of runs."""

    name: str
    commands: list[str] = Field([], description="lines of bash")
    variables: dict[EnvironmentName, str] = Field({}, description="exported before the commands")
    creates: str | None = Field(None, description="path on the node; where it exists, the commands are not run")
    warm_runs: list[RunSpec] = Field([], description="variants to start once, without workloads")
    partition: str | None = Field(None, description="Slurm; None: that of the profile")
    queue: str | None = Field(None, description="PBS; None: that of the profile")


class JobSpec(Record):
    """jobs/N/job.json: one submission, a single job or a job array."""

    schema_version: int = JOB_SCHEMA
    sweep: str
    job: int = Field(ge=0, description="number of the folder below jobs/")
    sweep_dir: str
    name: str = Field(description="name of the job in the queue")
    scheduler: str = Field(description="local, slurm, pbs")
    resources: Resources
    preparation: PreparationJob | None = Field(None, description="None: the job executes the runs of `array_tasks`")
    needs: dict[str, int] = Field({}, description="preparation -> number of its job, which must have completed")
    array_tasks: list[ArrayTask] = Field(validation_alias=AliasChoices("array_tasks", "elements"))
    engines: dict[str, str] = Field(
        {}, description="engine -> executable; other engines: $HPCSWEEP_<ENGINE>, then PATH"
    )
    containers: dict[str, Container] = Field({}, description="engine -> its container in the cluster profile")
    container: Container | None = Field(None, description="what the experiment overrides in them")
    cache_dir: str = Field(description="root folder of the compile caches")
    own_script: bool = Field(False, description="job.sh is a user's own script; the job then has one array task")
    compile_cache: str = Field("shared", description="shared, node_local or off")
    engine_setup: list[str] = Field([], description="shell lines whose environment only the engine gets")
    profile_variables: list[str] = Field([], description="variables that the cluster profile sets")
    env_from: list[str] = Field([], description="variables of the server, read on the node and never stored")
    secrets_file: str | None = Field(None, description="file on the node that is searched for them first")
    launcher: str | None = Field(None, description="of the parts of a server on other nodes; None: the scheduler's own")
    preflight: Preflight = Preflight()
    private_network: bool = Field(False, description="run the server in a network namespace of its own")
    unprotected_server_allowed: bool = Field(
        False, description="allow a server that every user of the node can connect to"
    )

    @property
    def elements(self) -> list[ArrayTask]:
        """Return `array_tasks`: the old name, for templates that users wrote."""
        return self.array_tasks

    def array_task(self, index: int) -> ArrayTask:
        """Return the array task with this index. Raises KeyError."""
        for task in self.array_tasks:
            if task.index == index:
                return task
        raise KeyError(index)

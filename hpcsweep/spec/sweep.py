"""sweep.json: one sweep of an experiment, with everything needed to repeat it."""

from functools import cached_property
from typing import Any

from pydantic import AliasChoices, Field

from hpcsweep.spec.base import Record
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.experiment import ResourceRequest
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.spec.workload import DatasetFacts

SWEEP_SCHEMA = 1

IMPORTED_FROM = "imported_from"
"""Key in the provenance of an imported sweep: the files from which it was read."""


class SweepRunEntry(Record):
    """One run of a sweep and its array task."""

    label: str = Field(description="name of the folder below runs/")
    variant_id: str = ""
    repeat: int = 1
    axes: dict[str, str] = {}
    engine: str = ""
    model: str = ""
    gpus: int = Field(0, description="of the whole run")
    job: int | None = Field(None, description="number of the folder below jobs/ at submission; None: not submitted")
    index: int | None = Field(None, description="index of the array task in job.json; None: not submitted")
    not_submitted: bool = Field(
        False,
        validation_alias=AliasChoices("not_submitted", "planned_only"),
        description="the run is part of the sweep, but no job executes it",
    )
    outcome: OutcomeKind | None = Field(None, description="known before submission: unsupported, not_run")
    state_reason: str = ""
    simulated: bool = False
    workloads: dict[str, Any] = Field({}, description="workload -> why it is not sent; None: it is sent")
    server: dict[str, Any] = Field({}, description="the `ServerConfig`, as JSON; empty: not known")


class NotRunEntry(Record):
    """A variant that is documented in the experiment, or excluded from the grid, with the reason why it is not run."""

    label: str | None = None
    title: str | None = None
    axes: dict[str, str] = {}
    reason: str = ""
    outcome: OutcomeKind = OutcomeKind.NOT_RUN


class SweepFile(Record):
    """Content of sweep.json. It is written by `submit`, or by the node when a job joins a sweep, and by `import`."""

    schema_version: int = SWEEP_SCHEMA
    sweep: str
    experiment: dict[str, Any] = Field(description="the resolved `Experiment`, as JSON")
    experiment_file: str = ""
    title: str = ""
    cluster: str = Field("local", description="name of the cluster profile")
    profile: dict[str, Any] = Field({}, description="the `Cluster` profile, as JSON; see `cluster_profile`")
    submitted_at: float = Field(description="Unix seconds")
    axes: dict[str, list[str]] = Field({}, description="axis -> labels of its levels in this sweep")
    baseline: dict[str, str] = {}
    versions: dict[str, str] = Field({}, description="package -> version that planned and rendered the sweep")
    provenance: dict[str, Any] = Field({}, description="git revision, command line")
    simulated: bool = False
    pack: int = Field(1, description="runs per job")
    parallel: int | None = Field(None, description="array tasks that run at the same time; None: no limit")
    own_script: bool = Field(False, description="the jobs run a batch script of the user")
    facts: dict[str, DatasetFacts] = Field({}, description="workload -> what is known of its dataset")
    models: dict[str, Any] = Field({}, description="model -> what the bound of its speed needs, where it is known")
    runs: list[SweepRunEntry] = []
    not_run: list[NotRunEntry] = []

    @cached_property
    def cluster_profile(self) -> Cluster:
        """The cluster profile at submission. Raises pydantic.ValidationError when this version cannot read it."""
        return Cluster.model_validate(self.profile)

    @cached_property
    def resource_request(self) -> ResourceRequest:
        """The resources that the experiment requests. Raises pydantic.ValidationError."""
        return ResourceRequest.model_validate(self.experiment.get("resources") or {})

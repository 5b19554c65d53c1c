"""sweep.json: one submission of an experiment, enough to repeat it."""

from typing import Any

from pydantic import Field, model_validator

from hpcsweep.spec.base import Record, renamed
from hpcsweep.spec.phases import OutcomeKind

SWEEP_SCHEMA = 1

IMPORTED_FROM = "imported_from"
"""In the provenance of a sweep that others measured and wrote down: the files it was read from."""


class SweepRunEntry(Record):
    """One run of a sweep, and the allocation that carries it."""

    label: str
    variant_id: str = ""
    repeat: int = 1
    axes: dict[str, str] = {}
    engine: str = ""
    model: str = ""
    gpus: int = Field(0, description="of the whole run")
    simulated: bool = False
    server: dict[str, Any] = Field({}, description="the `ServerConfig`, as JSON; empty: not known")
    job: int | None = Field(None, description="number of the folder below jobs/ at submission; None: it has no job")
    index: int | None = Field(None, description="index of the element in job.json; None: it has no job")
    not_submitted: bool = Field(False, description="stands in the sweep, and is not to be run")
    outcome: OutcomeKind | None = Field(None, description="known before anything was queued: unsupported, not_run")
    state_reason: str = ""

    @model_validator(mode="before")
    @classmethod
    def _read_old_names(cls, data: Any) -> Any:
        """Read `planned_only`, the name of `not_submitted` before version 0.2."""
        return renamed(data, planned_only="not_submitted")


class NotRunEntry(Record):
    """A variant or an idea that is not run, and why."""

    label: str | None = None
    title: str | None = None
    axes: dict[str, str] = {}
    reason: str = ""
    outcome: OutcomeKind = OutcomeKind.NOT_RUN


class SweepFile(Record):
    """sweep.json: enough to repeat the sweep. Written beside and renamed, so never seen half."""

    schema_version: int = SWEEP_SCHEMA
    sweep: str
    experiment: dict[str, Any] = Field(description="the resolved `Experiment`, as JSON")
    title: str = ""
    cluster: str = "local"
    profile: dict[str, Any] = Field({}, description="the `Cluster` profile, as JSON")
    submitted_at: float = Field(description="Unix seconds")
    axes: dict[str, list[str]] = Field({}, description="axis -> labels of its levels in this sweep")
    baseline: dict[str, str] = {}
    versions: dict[str, str] = {}
    provenance: dict[str, Any] = Field({}, description="git revision and such")
    simulated: bool = False
    runs: list[SweepRunEntry] = []
    not_run: list[NotRunEntry] = []

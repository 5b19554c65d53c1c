"""sweep.json: one sweep of an experiment, with everything needed to repeat it."""

from typing import Any

from pydantic import Field

from hpcsweep.spec.base import Record
from hpcsweep.spec.phases import OutcomeKind

SWEEP_SCHEMA = 1

IMPORTED_FROM = "imported_from"
"""Key in the provenance of an imported sweep: the files from which it was read."""


class SweepRunEntry(Record):
    """One run of a sweep and its array task."""

    label: str
    variant_id: str = ""
    repeat: int = 1
    axes: dict[str, str] = {}
    engine: str = ""
    model: str = ""
    gpus: int = Field(0, description="of the run, on all nodes")
    simulated: bool = False
    server: dict[str, Any] = Field({}, description="the `ServerConfig` as JSON; empty: unknown")
    job: int | None = Field(None, description="number of the folder below jobs/ at submission; None: not submitted")
    index: int | None = Field(None, description="index of the array task in job.json; None: not submitted")
    planned_only: bool = Field(False, description="listed in the sweep, but not submitted")
    outcome: OutcomeKind | None = Field(None, description="known before submission: unsupported, not_run")
    state_reason: str = ""


class NotRunEntry(Record):
    """A variant or an idea that is not run, and the reason."""

    label: str | None = None
    title: str | None = None
    axes: dict[str, str] = {}
    reason: str = ""
    outcome: OutcomeKind = OutcomeKind.NOT_RUN


class SweepFile(Record):
    """sweep.json. It is replaced atomically, so readers never see a part of it."""

    schema_version: int = SWEEP_SCHEMA
    sweep: str
    experiment: dict[str, Any] = Field(description="the resolved `Experiment` as JSON")
    title: str = ""
    cluster: str = "local"
    profile: dict[str, Any] = Field({}, description="the `Cluster` profile as JSON")
    submitted_at: float = Field(description="Unix seconds")
    axes: dict[str, list[str]] = Field({}, description="axis -> labels of its levels in this sweep")
    baseline: dict[str, str] = {}
    versions: dict[str, str] = {}
    provenance: dict[str, Any] = Field({}, description="git revision and similar facts")
    simulated: bool = False
    runs: list[SweepRunEntry] = []
    not_run: list[NotRunEntry] = []

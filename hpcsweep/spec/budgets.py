"""Time limits of one attempt."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from hpcsweep.spec.base import Seconds, nearest
from hpcsweep.spec.phases import STARTUP_PHASES
from hpcsweep.spec.renamed import RenamedModel


class Budgets(RenamedModel):
    """Budgets of one attempt, in seconds. An outcome names the budget that was exceeded."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"margin": "walltime_margin"}

    startup: Seconds = Field(3600, gt=0, description="from launch to ready")
    phases: dict[str, Seconds] = Field({}, description="budgets of single phases; other phases: the rest of `startup`")
    stall: Seconds = Field(
        600, gt=0, description="without a progress signal; CPU time and GPU utilization alone do not count"
    )
    busy_stall: Seconds | None = Field(
        None,
        gt=0,
        description="added once to `stall` while the stacks of a busy server change; None: as long as `stall`",
    )
    request: Seconds = Field(1800, gt=0, description="one request, from its sending to the last token")
    token: Seconds = Field(300, gt=0, description="between two chunks of one response")
    teardown: Seconds = Field(60, gt=0, description="from SIGTERM to SIGKILL of the server")
    walltime_margin: Seconds = Field(
        120, ge=0, description="left at the end of the job's walltime, to stop the server and write the records"
    )
    on_stall: Literal["record", "retry", "retry_warm"] = Field(
        "record", description="record: keep the outcome; retry: start again; retry_warm: with the filled compile cache"
    )
    on_startup_timeout: Literal["record", "retry", "retry_warm"] = Field("record", description="as `on_stall`")
    retry_factor: float = Field(2.0, ge=1, description="factor by which the budgets of a retry are multiplied")

    @property
    def busy_stall_s(self) -> float:
        """Return the seconds added once to the stall budget of a server whose stacks still change."""
        return self.stall if self.busy_stall is None else self.busy_stall

    @field_validator("phases")
    @classmethod
    def _known_phases(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value:
            if name not in STARTUP_PHASES:
                raise ValueError(f"unknown phase {name!r}; {nearest(name, STARTUP_PHASES)}")
        return value

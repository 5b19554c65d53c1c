"""How long anything may take. Every budget names itself when it fires."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from hpcsweep.spec.base import Seconds, nearest
from hpcsweep.spec.phases import STARTUP_PHASES
from hpcsweep.spec.renamed import RenamedModel


class Budgets(RenamedModel):
    """Budgets of one attempt, in seconds."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"margin": "walltime_margin"}

    startup: Seconds = Field(3600, gt=0, description="launch to ready")
    phases: dict[str, Seconds] = Field({}, description="budget of single phases; a phase not named: startup's rest")
    stall: Seconds = Field(600, gt=0, description="without progress; CPU time and GPU utilization alone are none")
    busy_stall: Seconds | None = Field(
        None, gt=0, description="added once to stall while a busy server's stacks change; default: as long as stall"
    )
    request: Seconds = Field(1800, gt=0, description="one request, sent to last token")
    token: Seconds = Field(300, gt=0, description="between two chunks of one answer")
    teardown: Seconds = Field(60, gt=0, description="from SIGTERM to SIGKILL of the server")
    walltime_margin: Seconds = Field(120, ge=0, description="kept free at the end of the job's walltime")
    on_stall: Literal["record", "retry", "retry_warm"] = "record"
    on_startup_timeout: Literal["record", "retry", "retry_warm"] = "record"
    retry_factor: float = Field(2.0, ge=1, description="budgets of a retry are multiplied by this")

    @property
    def busy_stall_s(self) -> float:
        """Seconds added once to the stall budget of a server whose stacks still change."""
        return self.stall if self.busy_stall is None else self.busy_stall

    @field_validator("phases")
    @classmethod
    def _known_phases(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value:
            if name not in STARTUP_PHASES:
                raise ValueError(f"unknown phase {name!r}; {nearest(name, STARTUP_PHASES)}")
        return value

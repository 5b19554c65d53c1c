"""Preparations: steps that run once per sweep as jobs of their own, before the runs that need them."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from hpcsweep.spec.axes import AxisLevels
from hpcsweep.spec.base import Bytes, EnvironmentName, Misplaced, Model, Seconds
from hpcsweep.spec.cluster import Directive


class PreparationResources(Model):
    """Resources of a preparation's job, on one node. What is left out is the scheduler's default."""

    gpus: int | None = Field(None, ge=0, description="None: 0, and for a warm-up the most that one of its runs needs")
    cpus: int | None = Field(None, ge=1)
    memory: Bytes | None = Field(None, ge=1)
    walltime: Seconds | None = Field(
        None, gt=0, description="None: one hour, and for a warm-up the startup budget of each variant"
    )


class Preparation(Model):
    """One preparation of an experiment: commands, or a warm-up of the compile cache."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)
    commands: list[str] = Field([], description="lines of bash; the first command that fails ends them")
    warm_compile_cache: bool = Field(False, description="start the server of each variant once, without a load")
    after: list[str] | None = Field(
        None, description="earlier preparations that must have completed; None: for a warm-up, those of its runs"
    )
    needed_by: AxisLevels = Field({}, description="axis -> level or levels of the runs that need it; empty: all runs")
    resources: PreparationResources = PreparationResources()
    partition: Directive | None = Field(None, description="Slurm; None: that of the profile")
    queue: Directive | None = Field(None, description="PBS; None: that of the profile")
    creates: str | None = Field(
        None, description="path on the nodes that the commands create; where it exists, they are not run"
    )
    env: dict[EnvironmentName, str] = Field({}, description="environment of the commands; never a secret")

    @field_validator("env", mode="before")
    @classmethod
    def _env_as_text(cls, value: Any) -> Any:
        return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else value

    @field_validator("commands", mode="before")
    @classmethod
    def _one_command(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("commands")
    @classmethod
    def _lines_of_bash(cls, value: list[str]) -> list[str]:
        for line in value:
            if "\0" in line or "\r" in line or not line.strip():
                raise ValueError(f"{line!r} is empty or has a control character")
        return value

    @field_validator("creates")
    @classmethod
    def _path_on_the_node(cls, value: str | None) -> str | None:
        if value is not None and (not value.startswith(("/", "~/", "$")) or not value.isprintable()):
            raise ValueError(f"{value!r} is not an absolute path; it may start with `~/` or `$NAME`")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> "Preparation":
        if bool(self.commands) == self.warm_compile_cache:
            raise Misplaced(
                f"preparation {self.name}: write either `commands` or `warm_compile_cache: true`",
                code="preparation_kind",
            )
        if self.warm_compile_cache and (self.creates or self.env):
            key = "creates" if self.creates else "env"
            raise Misplaced(
                f"preparation {self.name}: `{key}` belongs to `commands`; a warm-up uses the environment of its runs",
                key,
                code="preparation_kind",
            )
        return self


def read_preparations(value: Any) -> Any:
    """Return `prepare:` of an experiment file as a list: one step may be written without a list."""
    return [value] if isinstance(value, Mapping) else value

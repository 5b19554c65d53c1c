"""The experiment file as a frozen model."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from hpcsweep.errors import SpecError
from hpcsweep.spec.axes import BUILTIN_AXES, AxisLevels, CustomAxis, read_level
from hpcsweep.spec.base import Bytes, EnvironmentName, Misplaced, Model, Seconds, nearest
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.container import Container
from hpcsweep.spec.preparation import Preparation, read_preparations
from hpcsweep.spec.renamed import DeprecationNote, RenamedModel, rename_axes
from hpcsweep.spec.server import FlagValue
from hpcsweep.spec.workload import Workload

_FLAG_KEY = re.compile(r"^(?:--)?[A-Za-z0-9][A-Za-z0-9._-]*$")


class ModelRef(Model):
    """The model to serve. `path`: its path on the nodes, in which `$NAME` is expanded; None: the engine gets `name`."""

    name: str = Field(min_length=1)
    revision: str | None = None
    path: str | None = None
    served_name: str | None = None


class EngineRef(Model):
    """The engine and its acceptable versions."""

    name: str = "vllm"
    version: str | None = Field(None, description="a constraint such as '>=0.11,<0.12'")


class ResourceRequest(Model):
    """Resources of one run; the cluster profile supplies what is left out."""

    nodes: int | None = Field(
        None, ge=1, description="None: as many as the variant needs with the GPUs of a node of the cluster"
    )
    gpus: int | None = Field(None, ge=0, description="per node; None: tp x pp x dp of the variant")
    gpu_type: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    gpu_memory: Bytes | None = Field(None, description="of one GPU")
    cpus: int | None = Field(None, ge=1)
    memory: Bytes | None = Field(None, ge=1)
    walltime: Seconds = Field(4 * 3600, gt=0)


class NotRun(RenamedModel):
    """A variant or an idea that is not run, with its reason. The report lists it."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"set": "levels"}

    title: str
    levels: AxisLevels = Field({}, description="axis -> level; empty: not a variant of the grid")
    reason: str


class SimulatedRef(Model):
    """The profile of the simulated engine for this experiment."""

    profile: str = Field(description="a file next to the experiment file, or one that ships with hpcsweep")
    time_scale: float = Field(100.0, gt=0, description="simulated seconds per real second")


class Objective(Model):
    """The metric by which variants are ranked."""

    metric: Literal["output_tps_per_gpu", "total_tps_per_gpu", "tps", "ttft", "goodput", "startup", "weighted"] = "tps"
    workload: str | None = Field(None, description="None: all workloads of the experiment")
    weights: dict[str, float] = Field({}, description="metric -> weight, for `weighted`")
    samples: Literal["warm", "all"] = "warm"


class Experiment(RenamedModel):
    """One experiment file. Its keys are these fields; unknown keys are errors."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"serve": "engine_args"}

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)
    title: str = ""
    model: ModelRef
    engine: EngineRef = EngineRef()
    engine_args: dict[str, FlagValue] = Field({}, description="engine flags of all variants, in the engine's own names")
    env: dict[EnvironmentName, str] = Field({}, description="environment of every server; never a secret")
    env_from: list[EnvironmentName] = Field(
        [], description="variables that every server gets from the job's environment or the secrets file"
    )
    secrets_file: str | None = Field(None, description="file on the nodes with NAME=VALUE lines, mode 0600")
    container: Container | None = Field(None, description="overrides the container of the cluster profile")
    axes: Annotated[dict[str, list[Any] | CustomAxis], BeforeValidator(rename_axes)] = Field(min_length=1)
    baseline: AxisLevels = {}
    workloads: list[Workload] = Field(min_length=1)
    prepare: Annotated[list[Preparation], BeforeValidator(read_preparations)] = Field(
        [], description="steps that run once per sweep, as jobs before the runs that need them"
    )
    resources: ResourceRequest = ResourceRequest()
    budgets: Budgets = Budgets()
    across_nodes: Literal["native", "ray"] | None = Field(
        None, description="how servers span nodes; None: the engine's own way, or Ray for versions without one"
    )
    compile_cache: Literal["shared", "node_local", "off"] = "shared"
    repeats: int = Field(1, ge=1)
    exclude: list[AxisLevels] = []
    only: list[AxisLevels] = []
    not_run: list[NotRun] = []
    notes: list[str] = []
    objective: Objective = Objective()
    simulated: SimulatedRef | None = None

    _deprecation_notes: tuple[DeprecationNote, ...] = PrivateAttr(())

    @property
    def deprecation_notes(self) -> tuple[DeprecationNote, ...]:
        """Return the old names that the file uses, each once; empty unless read by `parse_experiment`."""
        return self._deprecation_notes

    @field_validator("model", mode="before")
    @classmethod
    def _model_by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("engine", mode="before")
    @classmethod
    def _engine_by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("workloads", mode="before")
    @classmethod
    def _workloads_by_name(cls, value: Any) -> Any:
        """Turn `{8k: {…}}` into `[{name: 8k, …}]`."""
        if isinstance(value, dict):
            return [{"name": str(name), **body} if isinstance(body, dict) else body for name, body in value.items()]
        return value

    @field_validator("engine_args")
    @classmethod
    def _flags_with_dashes(cls, value: dict[str, FlagValue]) -> dict[str, FlagValue]:
        flags: dict[str, FlagValue] = {}
        for key, setting in value.items():
            if not _FLAG_KEY.match(key):
                raise ValueError(f"{key!r} is not the long name of a flag, such as max-num-seqs")
            flags["--" + key.removeprefix("--")] = setting
        return flags

    @model_validator(mode="after")
    def _axes_fit(self) -> "Experiment":
        for axis, levels in self.axes.items():
            if isinstance(levels, list):
                if axis not in BUILTIN_AXES:
                    raise Misplaced(
                        f"unknown axis {axis!r}; {nearest(axis, BUILTIN_AXES)}; a custom axis is written as "
                        "{flag: --name, levels: [...]}",
                        *("axes", axis),
                        code="unknown_axis",
                    )
                if not levels:
                    raise Misplaced(f"axis {axis} has no levels", "axes", axis, code="no_levels")
                for index, raw in enumerate(levels):
                    self._read(axis, raw, "axes", axis, index)
            elif axis in BUILTIN_AXES:
                raise Misplaced(
                    f"{axis} is a built-in axis: write a plain list of levels, or choose another name",
                    *("axes", axis),
                    code="builtin_axis",
                )
            elif isinstance(levels.levels, dict):
                for label in levels.levels:
                    self._read(axis, label, "axes", axis, "levels", label)
        return self

    @model_validator(mode="after")
    def _points_fit(self) -> "Experiment":
        known = self.axes.keys() | BUILTIN_AXES.keys()
        points: list[tuple[tuple[str | int, ...], dict[str, Any]]] = [(("baseline",), self.baseline)]
        points += [(("exclude", index), point) for index, point in enumerate(self.exclude)]
        points += [(("only", index), point) for index, point in enumerate(self.only)]
        points += [(("prepare", index, "needed_by"), step.needed_by) for index, step in enumerate(self.prepare)]
        for path, point in points:
            for axis, raws in point.items():
                if axis not in known:
                    raise Misplaced(
                        f"{path[0]}: unknown axis {axis!r}; {nearest(axis, self.axes)}",
                        *path,
                        axis,
                        code="unknown_axis",
                    )
                for raw in raws if isinstance(raws, list) and path[0] != "baseline" else [raws]:
                    self._read(axis, raw, *path, axis)
        return self

    @model_validator(mode="after")
    def _preparations_fit(self) -> "Experiment":
        names: list[str] = []
        for index, step in enumerate(self.prepare):
            if step.name in names:
                raise Misplaced(f"duplicate preparation name {step.name!r}", "prepare", index, code="duplicate_name")
            unknown = next((name for name in step.after or () if name not in names), None)
            if unknown is not None:
                raise Misplaced(
                    f"preparation {step.name}: {unknown!r} is not an earlier preparation of this file",
                    *("prepare", index, "after"),
                    code="unknown_preparation",
                )
            if step.warm_compile_cache and self.compile_cache == "off":
                raise Misplaced(
                    f"preparation {step.name}: a warm-up has no effect with `compile_cache: off`",
                    *("prepare", index, "warm_compile_cache"),
                    code="warm_up_without_cache",
                )
            names.append(step.name)
        return self

    @model_validator(mode="after")
    def _workloads_fit(self) -> "Experiment":
        names = [w.name for w in self.workloads]
        twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
        if twice is not None:
            raise Misplaced(f"duplicate workload name {twice!r}", "workloads", code="duplicate_name")
        wanted = self.objective.workload
        if wanted is not None and wanted not in names:
            raise Misplaced(
                f"objective: unknown workload {wanted!r}; {nearest(wanted, names)}",
                *("objective", "workload"),
                code="unknown_workload",
            )
        return self

    def _read(self, axis: str, raw: Any, *path: str | int) -> None:
        try:
            read_level(self.axes, axis, raw)
        except SpecError as exc:
            raise Misplaced(f"{exc.message}; {exc.hint}" if exc.hint else exc.message, *path, code=exc.code) from exc

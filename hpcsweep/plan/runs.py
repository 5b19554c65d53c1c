"""Turn points of the grid into runs: the server of each, its workloads, and the reasons for what is left out."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpcsweep.engines.registry import get_engine
from hpcsweep.plan.grid import Grid, Point
from hpcsweep.plan.variables import axis_variable
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.job import PlannedWorkload
from hpcsweep.spec.left_out import LeftOut, LeftOutKind
from hpcsweep.spec.server import EngineSettings, ServerConfig
from hpcsweep.spec.workload import DatasetFacts, Workload

_LABEL_MAX = 120  # a folder name; file systems stop at 255 bytes
_UNSAFE = re.compile(r"[^A-Za-z0-9.+-]+")

Check = Callable[[ServerConfig], Sequence[str]]
"""Return the reasons why a variant cannot be served as requested, one sentence each."""


@dataclass(frozen=True)
class PlannedRun:
    """One variant to be measured once. `refused`: why it is not submitted; reports list it with this reason."""

    label: str
    repeat: int
    axes: Mapping[str, str]
    server: ServerConfig
    workloads: tuple[PlannedWorkload, ...]
    gpus: int
    exports: Mapping[str, str]
    refused: str | None = None

    @property
    def variant_id(self) -> str:
        """Return the identifier of the settings, the same in every sweep."""
        return self.server.variant_id


def plan_runs(
    experiment: Experiment, grid: Grid, facts: Mapping[str, DatasetFacts], check: Check, repeats: int | None = None
) -> list[PlannedRun]:
    """Return the runs of a grid, all variants of repeat 1 first. `facts`: workload name -> facts of its dataset."""
    runs: list[PlannedRun] = []
    variants = [_variant(experiment, point, facts, check) for point in grid.points]
    for repeat in range(1, (repeats or experiment.repeats) + 1):
        for variant in variants:
            label = variant.label + (f"_rep-{repeat}" if repeat > 1 else "")
            exports = {**variant.exports, "EXP_NAME": label, "HPCSWEEP_RUN": label, "HPCSWEEP_REPEAT": str(repeat)}
            runs.append(replace(variant, label=label, repeat=repeat, exports=exports))
    return runs


def build_server(experiment: Experiment, point: Point) -> ServerConfig:
    """Return the server configuration of a point. Later axes override earlier ones, and axes override `engine_args`."""
    settings: dict[str, Any] = {}
    flags = dict(experiment.engine_args)
    env = dict(experiment.env)
    model, engine, image = None, experiment.engine.name, None
    for level in point.values():
        settings |= level.settings
        flags |= level.flags
        env |= level.env
        model, engine, image = level.model or model, level.engine or engine, level.image or image
    ref = experiment.model
    own = model is None or model == ref.name
    return ServerConfig(
        engine=engine,
        engine_version=experiment.engine.version if engine == experiment.engine.name else None,
        model=(ref.path or ref.name) if own else str(model),
        revision=ref.revision if own else None,
        served_model_name=(ref.served_name or (ref.name if ref.path else None)) if own else None,
        settings=EngineSettings(**settings),
        flags=flags,
        env=env,
        image=image,
        across_nodes=experiment.across_nodes,
    )


def run_label(point: Mapping[str, str]) -> str:
    """Return a folder name such as `ep-on_eager-yes_len-32k`; a shortened or altered one ends in a hash."""
    text = "_".join(f"{axis}-{label}" for axis, label in point.items())
    safe = "_".join(f"{_UNSAFE.sub('-', axis)}-{_UNSAFE.sub('-', label)}" for axis, label in point.items())
    if safe == text and len(text) <= _LABEL_MAX:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{safe[: _LABEL_MAX - 9]}_{digest}"


def does_not_fit(workload: Workload, facts: DatasetFacts, max_model_len: int | None) -> LeftOut | None:
    """Return why the workload does not fit the context length of the server. None: it fits, or this is not known."""
    completion = workload.max_tokens or facts.completion_tokens_max
    if max_model_len is None or facts.prompt_tokens_max is None or completion is None:
        return None
    need = facts.prompt_tokens_max + completion
    if need <= max_model_len:
        return None
    arithmetic = f"{facts.prompt_tokens_max} prompt + {completion} completion tokens = {need}"
    return LeftOut(kind=LeftOutKind.DOES_NOT_FIT, detail=f"{arithmetic} > max-model-len {max_model_len}")


def _variant(experiment: Experiment, point: Point, facts: Mapping[str, DatasetFacts], check: Check) -> PlannedRun:
    server = build_server(experiment, point)
    settings = get_engine(server.engine).settings(server)  # includes the values of the engine's own flags
    workloads = tuple(
        PlannedWorkload(
            workload=w, facts=facts[w.name], left_out=does_not_fit(w, facts[w.name], settings.max_model_len)
        )
        for w in experiment.workloads
    )
    reasons = list(check(server))
    if not reasons and all(planned.left_out is not None for planned in workloads):
        reasons = ["no workload fits this variant"]
    axes = {axis: level.label for axis, level in point.items()}
    return PlannedRun(
        label=run_label(axes),
        repeat=1,
        axes=axes,
        server=server,
        workloads=workloads,
        gpus=0 if experiment.resources.gpus == 0 else settings.gpus,  # no GPU was requested
        exports=_exports(axes, settings),
        refused="; ".join(reasons) or None,
    )


def _exports(axes: Mapping[str, str], settings: EngineSettings) -> dict[str, str]:
    """Return the values of the axes for the job's environment, also under the names that the study's script used."""
    exports = {axis_variable(axis): label for axis, label in axes.items()}
    if settings.enforce_eager is not None:
        exports["ENFORCE_EAGER"] = "yes" if settings.enforce_eager else "no"
    if settings.expert_parallel is not None:
        exports["ENABLE_EP"] = "yes" if settings.expert_parallel else "no"
    if settings.max_model_len is not None:
        exports["MAX_MODEL_LEN"] = str(settings.max_model_len)
    return exports

"""From points to runs: the server of each, the workloads that fit it, and why a variant or workload is left out."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcsweep.engines.registry import get_engine
from hpcsweep.plan.grid import Grid, Point
from hpcsweep.plan.variables import axis_variable
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.job import PlannedWorkload
from hpcsweep.spec.server import EngineSettings, ServerConfig
from hpcsweep.spec.workload import DatasetFacts, Workload

_LABEL_MAX = 120  # a folder name; file systems stop at 255 bytes
_UNSAFE = re.compile(r"[^A-Za-z0-9.+-]+")

Check = Callable[[ServerConfig], Sequence[str]]
"""Why a variant cannot be served as asked, a sentence each; empty: nothing known against it."""


@dataclass(frozen=True)
class PlannedRun:
    """One variant to be measured once. `refused`: why it is not submitted; it stands in the report all the same."""

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
        """Name of the settings: the same in every sweep."""
        return self.server.variant_id


def plan_runs(
    experiment: Experiment, grid: Grid, facts: Mapping[str, DatasetFacts], check: Check, repeats: int | None = None
) -> list[PlannedRun]:
    """The runs of a grid, all variants of repeat 1 first. `facts`: workload name -> what is known of its dataset."""
    runs: list[PlannedRun] = []
    variants = [_variant(experiment, point, facts, check) for point in grid.points]
    for repeat in range(1, (repeats or experiment.repeats) + 1):
        for variant in variants:
            suffix = f"_rep-{repeat}" if repeat > 1 else ""
            label = variant.label + suffix
            exports = {**variant.exports, "EXP_NAME": label, "HPCSWEEP_RUN": label, "HPCSWEEP_REPEAT": str(repeat)}
            runs.append(
                PlannedRun(
                    label,
                    repeat,
                    variant.axes,
                    variant.server,
                    variant.workloads,
                    variant.gpus,
                    exports,
                    variant.refused,
                )
            )
    return runs


def build_server(experiment: Experiment, point: Point) -> ServerConfig:
    """The server configuration of a point. Later axes win over earlier ones, axes over `engine_args`."""
    settings: dict[str, Any] = {}
    flags = dict(experiment.engine_args)
    env = dict(experiment.env)
    model, engine = None, experiment.engine.name
    for level in point.values():
        settings |= level.settings
        flags |= level.flags
        env |= level.env
        model, engine = level.model or model, level.engine or engine
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
    )


def run_label(point: Mapping[str, str]) -> str:
    """A folder name such as `ep-on_eager-yes_len-32k`; long or lossy ones end in a hash, so no two are the same."""
    text = "_".join(f"{axis}-{label}" for axis, label in point.items())
    safe = "_".join(f"{_UNSAFE.sub('-', axis)}-{_UNSAFE.sub('-', label)}" for axis, label in point.items())
    if safe == text and len(text) <= _LABEL_MAX:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{safe[: _LABEL_MAX - 9]}_{digest}"


def does_not_fit(workload: Workload, facts: DatasetFacts, max_model_len: int | None) -> str | None:
    """Why the workload cannot be sent to a server of this context length; None: it can, or it is not known."""
    completion = workload.max_tokens or facts.completion_tokens_max
    if max_model_len is None or facts.prompt_tokens_max is None or completion is None:
        return None
    need = facts.prompt_tokens_max + completion
    if need <= max_model_len:
        return None
    return (
        f"does not fit: {facts.prompt_tokens_max} prompt + {completion} completion tokens = {need}"
        f" > max-model-len {max_model_len}"
    )


def _variant(experiment: Experiment, point: Point, facts: Mapping[str, DatasetFacts], check: Check) -> PlannedRun:
    server = build_server(experiment, point)
    settings = get_engine(server.engine).settings(server)  # what the engine's own flags say counts as well
    workloads = tuple(
        PlannedWorkload(
            workload=w, facts=facts[w.name], left_out=does_not_fit(w, facts[w.name], settings.max_model_len)
        )
        for w in experiment.workloads
    )
    reasons = list(check(server))
    if not reasons and all(planned.left_out for planned in workloads):
        reasons = ["no workload fits this variant"]
    axes = {axis: level.label for axis, level in point.items()}
    return PlannedRun(
        run_label(axes),
        1,
        axes,
        server,
        workloads,
        0 if experiment.resources.gpus == 0 else settings.gpus,  # a run that asks for no GPU has none
        _exports(axes, settings),
        "; ".join(reasons) or None,
    )


def _exports(axes: Mapping[str, str], settings: EngineSettings) -> dict[str, str]:
    """The values of the axes for the job's environment, also by the names that the study's own script used."""
    exports = {axis_variable(axis): label for axis, label in axes.items()}
    if settings.enforce_eager is not None:
        exports["ENFORCE_EAGER"] = "yes" if settings.enforce_eager else "no"
    if settings.expert_parallel is not None:
        exports["ENABLE_EP"] = "yes" if settings.expert_parallel else "no"
    if settings.max_model_len is not None:
        exports["MAX_MODEL_LEN"] = str(settings.max_model_len)
    return exports

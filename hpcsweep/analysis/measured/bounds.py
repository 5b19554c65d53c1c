"""How far a result is from what its GPUs allow: the bound of its load, and the share that was reached."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from pydantic import ValidationError

from hpcsweep.analysis.findings.measured import Bound, Cell
from hpcsweep.analysis.rows import RunRow
from hpcsweep.engines.registry import get_engine
from hpcsweep.errors import EngineError
from hpcsweep.plan.bound.deploy import BoundModel, deployment
from hpcsweep.plan.bound.formulas import decode_step, decode_tps, prefill_s
from hpcsweep.plan.bound.gpu_specs import gpu_spec
from hpcsweep.spec.server import EngineSettings, ServerConfig


def with_bounds(cells: Iterable[Cell], runs: Iterable[RunRow], models: Mapping[str, BoundModel]) -> tuple[Cell, ...]:
    """Return the cells with their bounds. `models`: by the name or path that a server was started with."""
    if not models:
        return tuple(cells)
    served = {run.run: _served(run, models) for run in runs}
    return tuple(replace(cell, bound=_bound(cell, served[cell.run])) for cell in cells)


def _served(run: RunRow, models: Mapping[str, BoundModel]) -> tuple[BoundModel, EngineSettings] | None:
    """Return the model and the settings of a run's server; None: either is unknown."""
    try:
        server = ServerConfig.model_validate(run.server)
        settings = get_engine(server.engine).settings(server)  # sizes may be flags in the engine's own names
    except (ValidationError, EngineError):  # an import without settings; an engine of a plugin that is not installed
        return None
    model = models.get(server.model)
    return None if model is None else (model, settings)


def _bound(cell: Cell, served: tuple[BoundModel, EngineSettings] | None) -> Bound | None:
    """Return the bound of what a cell measured; None: model, GPU, lengths or settings are not known."""
    spec = gpu_spec(cell.gpu_name) if cell.gpu_name else None
    prompt, completion = cell.prompt_tokens, cell.completion_tokens
    if served is None or spec is None or not prompt or not completion or completion < 1:
        return None
    model, settings = served
    on = deployment(model, spec, settings)
    if on is None:
        return None
    sequences = max(1.0, _under_way(cell) or 1.0)
    context = prompt + completion / 2
    step = decode_step(on, sequences, context)
    ttft_s = prefill_s(on, prompt)
    return Bound(
        tps=completion / (ttft_s + (completion - 1) * step.least_s),
        tpot_s=step.least_s,
        ttft_s=ttft_s,
        output_throughput=decode_tps(on, sequences, context),
        limiter=step.limiter,
        sequences=sequences,
        context_tokens=context,
        gpu=spec.name,
    )


def _under_way(cell: Cell) -> float | None:
    """Return the mean number of requests under way, by Little's law: their rate times their mean duration."""
    rate = cell.throughput.get("request_throughput")
    duration = cell.samples.e2e_s[np.isfinite(cell.samples.e2e_s)] if len(cell.samples) else None
    if rate is None or rate.value is None or duration is None or not len(duration):
        return None
    return float(rate.value * duration.mean())

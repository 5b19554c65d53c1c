"""How far a result is from what its GPUs allow: the bound of its load, and the share that was reached."""

from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from hpcsweep.analysis.findings.measured import Cell
from hpcsweep.analysis.rows import RunRow
from hpcsweep.plan.bound.deploy import BoundModel, deployment
from hpcsweep.plan.bound.formulas import Limiter, decode_step, decode_tps, prefill_s
from hpcsweep.plan.bound.gpu_specs import gpu_spec
from hpcsweep.spec.server import ServerConfig


@dataclass(frozen=True)
class Bound:
    """The bound of one load on one server; see docs/bounds.md.

    `tps`: tokens per second of one request with the least TTFT and TPOT. `output_throughput`: tokens per second of all
    requests together. `sequences`: mean number of requests under way; `context_tokens`: their mean length.
    `limiter`: what bounds a decode step. `gpu`: the data sheet's name of the GPU.
    """

    tps: float
    tpot_s: float
    ttft_s: float
    output_throughput: float
    limiter: Limiter
    sequences: float
    context_tokens: float
    gpu: str

    def share(self, metric: str, value: float) -> float | None:
        """Return the part of the bound that a measured value reaches, 0 to about 1; None: no bound of this metric."""
        if metric in ("tpot_s", "ttft_s"):
            return float(getattr(self, metric)) / value if value > 0 else None
        if metric in ("tps", "output_throughput"):
            return value / float(getattr(self, metric))
        return None


def bound_of(run: RunRow, cell: Cell, model: BoundModel | None) -> Bound | None:
    """Return the bound of what a cell measured; None: model, GPU, lengths or settings are not known."""
    spec = gpu_spec(cell.gpu_name) if cell.gpu_name else None
    prompt, completion = cell.prompt_tokens, cell.completion_tokens
    if model is None or spec is None or not prompt or not completion or completion < 1:
        return None
    try:
        settings = ServerConfig.model_validate(run.server).settings
    except ValidationError:  # of an import, which has no settings
        return None
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

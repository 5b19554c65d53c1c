"""The deployment that a server's settings amount to, where model and GPU are known. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hpcsweep.plan.architecture import Architecture
from hpcsweep.plan.bound.formulas import Deployment
from hpcsweep.plan.bound.gpu_specs import GpuSpec
from hpcsweep.plan.model_size import WIDTH_OF_METHOD, ModelFacts
from hpcsweep.spec.server import EngineSettings


@dataclass(frozen=True)
class BoundModel:
    """What the bound needs of a model: its architecture, bytes per stored weight, and its own quantization method."""

    architecture: Architecture
    bytes_per_parameter: float
    quantization: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the model as plain values, for sweep.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "BoundModel | None":
        """Return the model that `as_json` wrote; None: it is not one (written by another version)."""
        if not isinstance(value, Mapping) or not isinstance(value.get("architecture"), Mapping):
            return None
        parts = {field.name: value["architecture"].get(field.name) for field in fields(Architecture)}
        numbers = [part for name, part in parts.items() if name != "kv_heads"]
        width = value.get("bytes_per_parameter")
        if not all(isinstance(number, int | float) for number in [*numbers, width]):
            return None
        method = value.get("quantization")
        return cls(Architecture(**parts), float(width or 0), method if isinstance(method, str) else None)


def bound_model(facts: ModelFacts) -> BoundModel | None:
    """Return what the bound needs of a model; None: its architecture is unknown."""
    if facts.architecture is None:
        return None
    return BoundModel(facts.architecture, facts.bytes_per_parameter, facts.quantization)


_FP8_METHODS = ("fp8", "modelopt", "mxfp8")


def deployment(model: BoundModel, gpu: GpuSpec, settings: EngineSettings) -> Deployment | None:
    """Return the deployment of a server with these settings; None: its weights have a width that is not known.

    A `quantization` of the settings that the model does not have itself quantizes its weights on loading.
    """
    width, method = model.bytes_per_parameter, model.quantization
    if settings.quantization is not None and method is None:
        method = settings.quantization
        known = WIDTH_OF_METHOD.get(method)
        if known is None:
            return None
        width = known
    kv = settings.kv_cache_dtype or "auto"
    return Deployment(
        model.architecture,
        gpu,
        tensor_parallel=settings.tensor_parallel_size or 1,
        pipeline_parallel=settings.pipeline_parallel_size or 1,
        data_parallel=settings.data_parallel_size or 1,
        expert_parallel=bool(settings.expert_parallel),
        weight_bytes=width,
        kv_bytes=1.0 if kv.startswith(("fp8", "int8")) else 4.0 if kv == "float32" else 2.0,
        fp8_arithmetic=method in _FP8_METHODS,
    )

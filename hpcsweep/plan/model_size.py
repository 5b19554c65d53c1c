"""Compute the size of a model: bytes of its weights and of its KV cache. Pure.

The caller reads the files: `config.json` and `model.safetensors.index.json` as parsed JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hpcsweep.plan.architecture import Architecture, kv_shape, kv_share, read_architecture, whole

_DTYPE_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "float8_e4m3fn": 1.0, "float8_e5m2": 1.0}
WIDTH_OF_METHOD = {
    "fp8": 1.0,
    "modelopt": 1.0,
    "mxfp8": 1.03,
    "bitsandbytes": 0.5,
    "mxfp4": 0.53,
    "nvfp4": 0.56,
    "modelopt_fp4": 0.56,
}
"""Bytes per weight of quantization methods that state no number of bits; four-bit ones with their block scales."""


@dataclass(frozen=True)
class ModelFacts:
    """Size and shape of a model. None: unknown.

    `weight_bytes`: exact, from the safetensors index; without it, `parameters` times `bytes_per_parameter` is used.
    `kv_values_per_token_layer`: numbers stored per token in one layer. `kv_heads`: None if the KV cache is not split by
    heads (MLA). `uniform_attention`: every layer stores every token. `architecture`: for the bound of the speed;
    None: of an unknown kind.
    """

    name: str
    source: str
    parameters: float | None = None
    bytes_per_parameter: float = 2.0
    weight_bytes: int | None = None
    quantization: str | None = None
    layers: int | None = None
    kv_values_per_token_layer: int | None = None
    kv_heads: int | None = None
    uniform_attention: bool = True
    max_position: int | None = None
    architecture: Architecture | None = None

    @property
    def total_weight_bytes(self) -> float | None:
        """Return the bytes of all weights, exact with the safetensors index. None: unknown."""
        if self.weight_bytes is not None:
            return float(self.weight_bytes)
        return None if self.parameters is None else self.parameters * self.bytes_per_parameter

    def weight_arithmetic(self) -> str:
        """Return how `total_weight_bytes` was computed, such as `354.8e9 × 2 B = 709.6 GB`."""
        total = (self.total_weight_bytes or 0.0) / 1e9
        if self.weight_bytes is not None or self.parameters is None:
            return f"{total:.1f} GB of weights ({self.source})"
        return f"{self.parameters / 1e9:.1f}e9 × {self.bytes_per_parameter:g} B = {total:.1f} GB"

    def kv_bytes_per_token(self, tensor_parallel: int, pipeline_parallel: int, value_bytes: float) -> float | None:
        """Return the bytes of KV cache for one token on one GPU. None: unknown.

        Heads are split over the tensor-parallel GPUs, down to one head; layers over the pipeline.
        """
        if self.layers is None or self.kv_values_per_token_layer is None:
            return None
        return (
            self.layers
            / pipeline_parallel
            * self.kv_values_per_token_layer
            * kv_share(self.kv_heads, tensor_parallel)
            * value_bytes
        )


def read_facts(name: str, config: Mapping[str, Any], index: Mapping[str, Any] | None = None) -> ModelFacts:
    """Return the facts in a model's `config.json` and, if given, its safetensors index.

    Values that the files do not contain are None; an unknown architecture is not an error.
    """
    text = {**config, **(config.get("text_config") or {})}
    dtype = str(text.get("torch_dtype") or text.get("dtype") or "bfloat16")
    method, width = _quantization(config)
    architecture = read_architecture(config)
    kv_values, kv_heads = kv_shape(text) or (None, None)
    facts = ModelFacts(
        name,
        source="config.json",
        parameters=None if architecture is None else architecture.parameters,
        bytes_per_parameter=width or _DTYPE_BYTES.get(dtype, 2.0),
        quantization=method,
        layers=whole(text, "num_hidden_layers"),
        kv_values_per_token_layer=kv_values,
        kv_heads=kv_heads,
        uniform_attention=not (
            text.get("sliding_window") or text.get("layer_types") or text.get("linear_num_key_heads")
        ),
        max_position=whole(text, "max_position_embeddings"),
        architecture=architecture,
    )
    total = ((index or {}).get("metadata") or {}).get("total_size")
    if isinstance(total, (int, float)) and total > 0:
        facts = replace(facts, weight_bytes=int(total), source="safetensors index")
    return facts


def _quantization(config: Mapping[str, Any]) -> tuple[str | None, float | None]:
    """Return (method, bytes per weight). None: not quantized, or the width is not stated."""
    described = config.get("quantization_config")
    if not isinstance(described, Mapping):
        return None, None
    method = str(described.get("quant_method") or described.get("quant_algo") or "unknown").lower()
    bits = described.get("bits") or described.get("w_bit")
    if isinstance(bits, (int, float)):
        return method, bits / 8
    groups = described.get("config_groups")
    if method == "compressed-tensors" and isinstance(groups, Mapping):
        weights = next((g.get("weights") or {} for g in groups.values() if isinstance(g, Mapping)), {})
        if isinstance(weights.get("num_bits"), int):
            kind = "fp8" if weights.get("type") == "float" and weights["num_bits"] == 8 else method
            return kind, weights["num_bits"] / 8
    return method, WIDTH_OF_METHOD.get(method)

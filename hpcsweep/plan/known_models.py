"""Sizes of some well-known models, to check a sweep without the files of its model."""

from hpcsweep.plan.model_size import ModelFacts


def _facts(
    name: str, parameters: float, layers: int, kv_heads: int, max_position: int, source: str = "model card, config.json"
) -> ModelFacts:
    """Return a model in bfloat16 with a head dimension of 128, which all models of this table with heads have."""
    return ModelFacts(
        name,
        source,
        parameters=parameters,
        layers=layers,
        kv_values_per_token_layer=2 * kv_heads * 128,
        kv_heads=kv_heads,
        max_position=max_position,
    )


def _fp8(of: ModelFacts) -> ModelFacts:
    return ModelFacts(
        f"{of.name}-FP8",
        of.source,
        parameters=of.parameters,
        bytes_per_parameter=1.0,
        quantization="fp8",
        layers=of.layers,
        kv_values_per_token_layer=of.kv_values_per_token_layer,
        kv_heads=of.kv_heads,
        max_position=of.max_position,
    )


# The model card states 355B; config.json gives 352.8e9, and 356.8e9 with the layer for multi-token prediction.
_GLM_46 = _facts("zai-org/GLM-4.6", 354.8e9, 92, 8, 202752)
_GLM_45 = _facts("zai-org/GLM-4.5", 354.8e9, 92, 8, 131072)
_GLM_45_AIR = _facts("zai-org/GLM-4.5-Air", 106e9, 46, 8, 131072)
_DEEPSEEK = ModelFacts(
    "deepseek-ai/DeepSeek-V3",
    "model card, config.json",
    parameters=671e9,
    bytes_per_parameter=1.0,
    quantization="fp8",
    layers=61,
    kv_values_per_token_layer=512 + 64,
    max_position=163840,
)

_MODELS = (
    _GLM_46,
    _fp8(_GLM_46),
    _GLM_45,
    _fp8(_GLM_45),
    _GLM_45_AIR,
    _fp8(_GLM_45_AIR),
    _DEEPSEEK,
    _facts("Qwen/Qwen3-235B-A22B", 235.1e9, 94, 4, 40960),
    _facts("Qwen/Qwen3-30B-A3B", 30.5e9, 48, 4, 40960),
    _facts("meta-llama/Llama-3.1-8B-Instruct", 8.03e9, 32, 8, 131072),
    _facts("meta-llama/Llama-3.3-70B-Instruct", 70.6e9, 80, 8, 131072),
)
_BY_NAME = {facts.name.lower(): facts for facts in _MODELS}


def known_model(name: str) -> ModelFacts | None:
    """Return the facts of a model by its name on the hub, ignoring case. None: it is not in the table."""
    return _BY_NAME.get(name.lower())

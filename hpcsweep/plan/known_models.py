"""Shapes of a few well-known models, so that a sweep is checked and bounded without their files at hand.

The numbers are those of each model's config.json on the hub; the parameter counts are those of its model card.
"""

from collections.abc import Mapping
from dataclasses import replace

from hpcsweep.plan.model_size import ModelFacts, read_facts


def _gqa(hidden: int, layers: int, heads: int, kv_heads: int, wide: int, vocab: int, positions: int) -> dict[str, int]:
    """Return the keys of a config.json with grouped-query attention of 128 numbers per head."""
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": 128,
        "intermediate_size": wide,
        "vocab_size": vocab,
        "max_position_embeddings": positions,
    }


def _moe(experts: int, per_token: int, wide: int, shared: int = 0, dense_layers: int = 0) -> dict[str, int]:
    """Return the keys of a config.json that describe its experts."""
    return {
        "n_routed_experts": experts,
        "num_experts_per_tok": per_token,
        "moe_intermediate_size": wide,
        "n_shared_experts": shared,
        "first_k_dense_replace": dense_layers,
    }


_GLM_45 = {**_gqa(5120, 92, 96, 8, 12288, 151552, 131072), **_moe(160, 8, 1536, 1, 3)}
_GLM_46 = {**_GLM_45, "max_position_embeddings": 202752}
_GLM_45_AIR = {**_gqa(4096, 46, 96, 8, 10944, 151552, 131072), **_moe(128, 8, 1408, 1, 1)}
_GLM_45V = {**_GLM_45_AIR, "max_position_embeddings": 65536}
_DEEPSEEK_V3 = {
    **_gqa(7168, 61, 128, 128, 18432, 129280, 163840),
    **_moe(256, 8, 2048, 1, 3),
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}


def _known(name: str, parameters: float, config: Mapping[str, int]) -> ModelFacts:
    """Return a model in bfloat16 with the parameter count of its card."""
    return replace(read_facts(name, config), source="model card, config.json", parameters=parameters)


def _fp8(of: ModelFacts, name: str | None = None) -> ModelFacts:
    return replace(of, name=name or f"{of.name}-FP8", bytes_per_parameter=1.0, quantization="fp8")


# The model card says 355B; config.json gives 352.8e9, and 356.8e9 with the layer for multi-token prediction.
_MODELS = (
    glm_46 := _known("zai-org/GLM-4.6", 354.8e9, _GLM_46),
    _fp8(glm_46),
    glm_45 := _known("zai-org/GLM-4.5", 354.8e9, _GLM_45),
    _fp8(glm_45),
    glm_45_air := _known("zai-org/GLM-4.5-Air", 106e9, _GLM_45_AIR),
    _fp8(glm_45_air),
    glm_45v := _known("zai-org/GLM-4.5V", 106e9, _GLM_45V),
    _fp8(glm_45v),
    _fp8(_known("deepseek-ai/DeepSeek-V3", 671e9, _DEEPSEEK_V3), "deepseek-ai/DeepSeek-V3"),
    _known("Qwen/Qwen3-235B-A22B", 235.1e9, {**_gqa(4096, 94, 64, 4, 12288, 151936, 40960), **_moe(128, 8, 1536)}),
    _known("Qwen/Qwen3-30B-A3B", 30.5e9, {**_gqa(2048, 48, 32, 4, 6144, 151936, 40960), **_moe(128, 8, 768)}),
    _known("meta-llama/Llama-3.1-8B-Instruct", 8.03e9, _gqa(4096, 32, 32, 8, 14336, 128256, 131072)),
    _known("meta-llama/Llama-3.3-70B-Instruct", 70.6e9, _gqa(8192, 80, 64, 8, 28672, 128256, 131072)),
)
_BY_NAME = {facts.name.lower(): facts for facts in _MODELS}


def known_model(name: str) -> ModelFacts | None:
    """Return the facts of a model by its name on the hub, in any case; None: it is not in the table."""
    return _BY_NAME.get(name.lower())

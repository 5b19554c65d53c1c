"""The parts of a decoder-only transformer that decide what a token costs, read from `config.json`. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """Counts of parameters by how often a token uses them, and the size of its attention.

    `attention`, `dense_mlp`, `shared_expert`, `router`, `head`: parameters of the whole model that every token uses.
    `embedding`: parameters of the input embedding, of which a token reads one row; 0 when tied to the head.
    `expert`: parameters of one routed expert in one layer; `moe_layers` layers have `experts` of them, of which a token
    uses `experts_per_token`. `kv_values`: numbers that one layer keeps of one token; `kv_heads`: None for latent
    attention, which is not split by heads. `attention_flops`: operations that one token needs per token of context.
    """

    layers: int
    attention: float
    dense_mlp: float
    shared_expert: float
    router: float
    head: float
    embedding: float
    moe_layers: int
    experts: int
    experts_per_token: int
    expert: float
    kv_values: int
    kv_heads: int | None
    attention_flops: float

    @property
    def parameters(self) -> float:
        """All parameters; norms and biases, below 0.1 %, are not counted."""
        return self.always_used + self.embedding + self.moe_layers * self.experts * self.expert

    @property
    def always_used(self) -> float:
        """Parameters that every token uses."""
        return self.attention + self.dense_mlp + self.shared_expert + self.router + self.head

    @property
    def active_parameters(self) -> float:
        """Parameters that one token uses; of the input embedding it reads one row, which is not counted."""
        return self.always_used + self.moe_layers * self.experts_per_token * self.expert

    def experts_read(self, tokens: float) -> float:
        """Return the expected number of different experts of one layer that `tokens` tokens use.

        E (1 - (1 - k/E)^tokens): each token chooses k of E experts, independently and with equal chance. Real routing
        is less even, so that fewer experts are read.
        """
        if not self.experts:
            return 0.0
        missed: float = (1.0 - self.experts_per_token / self.experts) ** tokens
        return self.experts * (1.0 - missed)

    def parameters_read(self, tokens: float) -> float:
        """Return the parameters that one step over `tokens` tokens reads from memory, in expectation."""
        return self.always_used + self.moe_layers * self.experts_read(tokens) * self.expert


_GATED = ("silu", "swish", "swiglu")
"""Activations of MLPs that are gated, with three matrices. Of others, only Gemma's are."""

_UNKNOWN_PARTS = ("linear_num_key_heads", "ssm_cfg", "mamba_d_state", "attn_layer_period")
"""Keys of models whose layers differ in kind: their attention is not described by the formulas here."""


def read_architecture(config: Mapping[str, Any]) -> Architecture | None:
    """Return the architecture that a `config.json` describes; None: a key is missing, or it is of an unknown kind.

    Known: Llama-like models, Mixtral, Qwen MoE, DeepSeek's latent attention, GLM-4.5 and 4.6. Of a model that also
    reads images (`text_config`, such as GLM-4.5V) the text part is described.
    """
    nested = config.get("text_config")
    text = {**config, **(nested if isinstance(nested, Mapping) else {})}
    if any(kind != "full_attention" for kind in text.get("layer_types") or ()):
        return None
    gated = str(text.get("hidden_act", "silu")) in _GATED or str(text.get("model_type")).startswith("gemma")
    if any(text.get(key) for key in _UNKNOWN_PARTS) or not gated:
        return None
    sizes = [whole(text, key) for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")]
    hidden, layers, heads, vocab = sizes
    if hidden is None or layers is None or heads is None or vocab is None:
        return None
    attention = _attention(text, hidden, heads)
    mlp = _mlp(text, hidden, layers)
    if attention is None or mlp is None:
        return None
    per_layer, kv_values, kv_heads, flops = attention
    dense_mlp, moe_layers, experts, per_token, expert, shared = mlp
    tied = bool(text.get("tie_word_embeddings"))
    return Architecture(
        layers=layers,
        attention=float(layers * per_layer),
        dense_mlp=dense_mlp,
        shared_expert=moe_layers * shared,
        router=float(moe_layers * hidden * experts),
        head=float(vocab * hidden),
        embedding=0.0 if tied else float(vocab * hidden),
        moe_layers=moe_layers,
        experts=experts,
        experts_per_token=per_token,
        expert=expert,
        kv_values=kv_values,
        kv_heads=kv_heads,
        attention_flops=layers * flops,
    )


def kv_shape(text: Mapping[str, Any]) -> tuple[int, int | None] | None:
    """Return the numbers that one layer keeps of one token, and the KV heads (None: latent attention); None: unknown.

    Keys and values of each KV head; latent attention keeps one compressed vector for all heads (DeepSeek-V2 report,
    section 2.1).
    """
    rank, rope = whole(text, "kv_lora_rank"), whole(text, "qk_rope_head_dim")
    if rank is not None and rope is not None:
        return rank + rope, None
    hidden, heads = whole(text, "hidden_size"), whole(text, "num_attention_heads")
    kv_heads = whole(text, "num_key_value_heads") or heads
    dim = whole(text, "head_dim") or (hidden // heads if hidden and heads else None)
    return None if kv_heads is None or dim is None else (2 * kv_heads * dim, kv_heads)


def _attention(text: Mapping[str, Any], hidden: int, heads: int) -> tuple[float, int, int | None, float] | None:
    """Return (parameters, KV values of a token, KV heads, operations per token of context) of one layer.

    Operations per token of context: two products of a query with a key and of a weight with a value, 2 each, per head.
    Latent attention (DeepSeek-V2 report, section 2.1) keeps one vector for all heads and computes with it directly.
    """
    cache = kv_shape(text)
    if cache is None:
        return None
    kv_values, kv_heads = cache
    if kv_heads is None:
        rank, rope = text["kv_lora_rank"], text["qk_rope_head_dim"]
        plain, value = whole(text, "qk_nope_head_dim"), whole(text, "v_head_dim")
        if plain is None or value is None:
            return None
        q_rank = whole(text, "q_lora_rank")
        width = heads * (plain + rope)
        query = hidden * q_rank + q_rank * width if q_rank else hidden * width
        parameters = query + hidden * (rank + rope) + rank * heads * (plain + value) + heads * value * hidden
        return float(parameters), kv_values, None, 2.0 * heads * (2 * rank + rope)
    dim = kv_values // (2 * kv_heads)
    return float(2 * hidden * dim * (heads + kv_heads)), kv_values, kv_heads, 4.0 * heads * dim


def _mlp(text: Mapping[str, Any], hidden: int, layers: int) -> tuple[float, int, int, int, float, float] | None:
    """Return (dense parameters, MoE layers, experts, experts per token, one expert, shared experts of one layer)."""
    wide = whole(text, "intermediate_size")
    experts = whole(text, "n_routed_experts", "num_experts", "num_local_experts") or 0
    if not experts:
        return None if wide is None else (float(layers * 3 * hidden * wide), 0, 0, 0, 0.0, 0.0)
    per_token = whole(text, "num_experts_per_tok", "num_experts_per_token", "moe_topk")
    expert_wide = whole(text, "moe_intermediate_size") or wide
    if per_token is None or expert_wide is None:
        return None
    first = whole(text, "first_k_dense_replace") or 0
    step = whole(text, "decoder_sparse_step", "moe_layer_freq") or 1
    dense_only = set(text.get("mlp_only_layers") or ())
    moe_layers = sum(1 for n in range(first, layers) if (n + 1) % step == 0 and n not in dense_only)
    if layers > moe_layers and wide is None:
        return None
    dense = float((layers - moe_layers) * 3 * hidden * (wide or 0))
    shared_wide = whole(text, "shared_expert_intermediate_size")
    shared = (
        3 * hidden * shared_wide if shared_wide else (whole(text, "n_shared_experts") or 0) * 3 * hidden * expert_wide
    )
    return dense, moe_layers, experts, per_token, float(3 * hidden * expert_wide), float(shared)


def kv_share(kv_heads: int | None, tensor_parallel: int) -> float:
    """Return the share of a token's KV values that one GPU keeps: at least one head; latent attention is not split."""
    return 1.0 if kv_heads is None else max(1.0 / tensor_parallel, 1.0 / kv_heads)


def whole(config: Mapping[str, Any], *keys: str) -> int | None:
    """Return the positive whole number of the first of these keys that has one; None: none has."""
    return next((config[key] for key in keys if type(config.get(key)) is int and config[key] > 0), None)
